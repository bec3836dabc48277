/**
 * Join tokens as documents: the original's form (`kind: token`, `version: v2`), read strictly. A token of `method: token`
 * is a secret, and its document's name is that secret. One of the methods `iam` and `ec2` is a name and rules, and no secret.
 */
import * as v from "valibot";
import { parseDuration } from "../config/duration.ts";
import { Failure } from "../errors.ts";
import { type AllowRule, hingesOnSession } from "./allow-rules.ts";

export const JOIN_METHODS = ["token", "iam", "ec2"] as const;
export type JoinMethod = (typeof JOIN_METHODS)[number];

/** A token that is no secret. */
export interface TokenResource {
  name: string;
  method: "iam" | "ec2";
  description: string;
  allow: AllowRule[];
  /** `ec2`: seconds from an instance's start within which it may join. */
  iidTtl: number;
  /** Milliseconds since the epoch; undefined: until it is removed. */
  expiresAt: number | undefined;
}

export type TokenSpec = TokenResource | { method: "token"; secret: string; expiresAt: number | undefined };

const IID_TTL_S = 5 * 60;
const MAX_RULES = 100;
/** The services of the original: what it calls system roles. Only one of them is here. */
const ROLES = "app|auth|bot|db|discovery|instance|kube|mdm|node|okta|proxy|signup|trusted_cluster|windowsdesktop";

const text = (max: number) =>
  v.pipe(v.string("must be a string"), v.maxLength(max, `is longer than ${max} characters`));
const time = v.pipe(
  v.string("must be a time like 2026-11-23T05:24:00Z"),
  v.check((value) => !Number.isNaN(Date.parse(value)), "must be a time like 2026-11-23T05:24:00Z"),
);
/** Whether a token's name is the secret itself: 128 bits, hexadecimal. */
export const isSecretName = (name: string): boolean => /^[0-9a-f]{32}$/.test(name);

/** The name of a token that is no secret; those, and their ids, have another form. */
const resourceName = v.pipe(
  text(64),
  v.regex(/^[a-z0-9][a-z0-9._-]*$/i, "must be letters, digits and . _ -, a letter or digit first"),
  v.check((value) => !/^([0-9a-f]{16}|[0-9a-f]{32})$/.test(value), "has the form of a secret token"),
);

const rule = v.strictObject({
  aws_account: v.optional(
    v.pipe(v.string("must be in quotes: its zeros count"), v.regex(/^\d{12}$/, "must be twelve digits")),
  ),
  aws_arn: v.optional(
    v.pipe(
      text(2048),
      v.regex(/^arn:[\x21-\x7e]+$/, "must be an ARN, like arn:aws:sts::111111111111:assumed-role/r/*"),
    ),
  ),
  aws_regions: v.optional(v.pipe(v.array(text(32), "must be a list"), v.minLength(1, "is empty"))),
  aws_role: v.optional(
    v.custom<never>(
      () => false,
      "mcpgate does not ask EC2 whether an instance runs, so it assumes no role: leave it out",
    ),
  ),
});

export const tokenShape = v.strictObject({
  kind: v.literal("token", "must be token"),
  version: v.literal("v2", "must be v2"),
  metadata: v.strictObject({
    name: text(64),
    description: v.optional(text(512)),
    expires: v.optional(time),
    // of no meaning here, but in what the original prints
    labels: v.optional(v.record(v.string(), v.string())),
    id: v.optional(v.number()),
    revision: v.optional(v.string()),
  }),
  spec: v.strictObject({
    roles: v.pipe(
      v.array(v.pipe(text(32), v.regex(new RegExp(`^(${ROLES})$`, "i"), "is no system role")), "must be a list"),
      v.check((roles) => roles.some((role) => role.toLowerCase() === "app"), "must hold App: agents are app services"),
    ),
    join_method: v.optional(v.picklist(JOIN_METHODS, `must be one of ${JOIN_METHODS.join(", ")}`)),
    allow: v.optional(v.pipe(v.array(rule, "must be a list"), v.maxLength(MAX_RULES, `at most ${MAX_RULES} rules`))),
    aws_iid_ttl: v.optional(
      v.pipe(
        v.string("must be a duration like 5m"),
        v.transform((value) => parseDuration(value) ?? 0),
        v.minValue(1, "must be a duration like 5m"),
      ),
    ),
  }),
});

/** A token from its parsed YAML or JSON. Throws a `Failure("invalid")` that says where and what, and never the name. */
export function parseTokenDocument(value: unknown): TokenSpec {
  const parsed = v.safeParse(tokenShape, value);
  if (!parsed.success) throw wrong(parsed.issues[0]);
  const { metadata, spec } = parsed.output;
  // without a method, the original takes one that has rules for ec2
  const method = spec.join_method ?? (spec.allow === undefined ? "token" : "ec2");
  const expiresAt = metadata.expires === undefined ? undefined : Date.parse(metadata.expires);
  if (method === "token") {
    if (spec.allow !== undefined) throw invalid("spec.allow", "is for the methods iam and ec2");
    if (spec.aws_iid_ttl !== undefined) throw invalid("spec.aws_iid_ttl", "is for the method ec2");
    if (!isSecretName(metadata.name)) {
      const why = "is the secret itself for this method: 32 random hex digits (openssl rand -hex 16)";
      throw new Failure("invalid", `metadata.name: ${why}`, { hint: "or let mcpgate make one: mcpgate tokens add" });
    }
    return { method, secret: metadata.name, expiresAt };
  }
  const named = v.safeParse(resourceName, metadata.name);
  if (!named.success) throw invalid("metadata.name", named.issues[0].message);
  if (spec.allow === undefined || spec.allow.length === 0) throw invalid("spec.allow", "must hold a rule");
  if (method === "iam" && spec.aws_iid_ttl !== undefined) throw invalid("spec.aws_iid_ttl", "is for the method ec2");
  return {
    name: metadata.name,
    method,
    description: metadata.description ?? "",
    allow: spec.allow.map((each, index) => toRule(each, method, `spec.allow.${index}`)),
    iidTtl: spec.aws_iid_ttl ?? IID_TTL_S,
    expiresAt,
  };
}

/** Everybody on AWS has credentials of some account: a rule without an account would let all of them in. */
function toRule(given: v.InferOutput<typeof rule>, method: "iam" | "ec2", path: string): AllowRule {
  const { aws_account, aws_arn, aws_regions } = given;
  const named = aws_arn?.split(":")[4] ?? "";
  const account = aws_account ?? (/^\d{12}$/.test(named) ? named : undefined);
  if (account === undefined) throw invalid(path, "needs aws_account");
  if (method === "ec2") {
    if (aws_arn !== undefined) throw invalid(`${path}.aws_arn`, "is for the method iam");
    return { account, ...(aws_regions === undefined ? {} : { regions: aws_regions }) };
  }
  if (aws_regions !== undefined) throw invalid(`${path}.aws_regions`, "is for the method ec2");
  if (/^\d+$/.test(named) && named !== account)
    throw invalid(`${path}.aws_arn`, "is of another account than aws_account");
  if (aws_arn !== undefined && hingesOnSession(aws_arn)) {
    const why = "a session's name alone could match it, and whoever assumes a role chooses that: name the role";
    throw invalid(`${path}.aws_arn`, `${why}, like arn:aws:sts::${account}:assumed-role/ROLE/*`);
  }
  return { account, ...(aws_arn === undefined ? {} : { arn: aws_arn }) };
}

/** A token as its document. */
export function tokenDocument(token: TokenResource): unknown {
  const { name, method, description, allow, iidTtl, expiresAt } = token;
  return {
    kind: "token",
    version: "v2",
    metadata: {
      name,
      ...(description === "" ? {} : { description }),
      ...(expiresAt === undefined ? {} : { expires: new Date(expiresAt).toISOString() }),
    },
    spec: {
      roles: ["App"],
      join_method: method,
      ...(method === "ec2" ? { aws_iid_ttl: `${iidTtl}s` } : {}),
      allow: allow.map(({ account, arn, regions }) => ({
        aws_account: account,
        ...(arn === undefined ? {} : { aws_arn: arn }),
        ...(regions === undefined ? {} : { aws_regions: regions }),
      })),
    },
  };
}

function wrong(issue: v.BaseIssue<unknown>): Failure {
  const path = v.getDotPath(issue);
  const unknown = issue.expected === "never";
  const what = unknown ? "unknown key" : issue.input === undefined ? "is missing" : issue.message;
  return new Failure("invalid", `${path === null ? "" : `${path}: `}${what}`);
}

const invalid = (path: string, why: string): Failure => new Failure("invalid", `${path}: ${why}`);
