/** Locks: who or what is shut out, and until when. The document is the original's (`kind: lock`, `version: v2`), read strictly. */
import * as v from "valibot";
import { Failure } from "../errors.ts";

export const LOCK_TARGETS = ["user", "role", "app", "agent"] as const;
export type LockTarget = (typeof LOCK_TARGETS)[number];

export interface Lock {
  name: string;
  /** What kind of thing is locked, and its name. */
  kind: LockTarget;
  target: string;
  /** What those hear whom it shuts out; may be empty. */
  message: string;
  /** Milliseconds since the epoch; undefined: until it is removed. */
  expiresAt: number | undefined;
}

/** As it is written; what a document leaves out is undefined. */
export type LockSpec = Omit<Lock, "name"> & { name: string | undefined };

const text = (max: number) =>
  v.pipe(v.string("must be a string"), v.maxLength(max, `is longer than ${max} characters`));
const name = v.pipe(
  text(64),
  v.regex(/^[a-z0-9][a-z0-9._-]*$/i, "must be letters, digits and . _ -, a letter or digit first"),
);
const target = v.optional(v.pipe(text(253), v.minLength(1, "is empty")));

export const lockShape = v.strictObject({
  kind: v.literal("lock", "must be lock"),
  version: v.literal("v2", "must be v2"),
  metadata: v.optional(v.strictObject({ name: v.optional(name) }), {}),
  spec: v.strictObject({
    target: v.strictObject({ user: target, role: target, app: target, agent: target }),
    message: v.optional(text(512)),
    expires: v.optional(
      v.pipe(
        v.string("must be a time like 2026-11-23T05:24:00Z"),
        v.check((value) => !Number.isNaN(Date.parse(value)), "must be a time like 2026-11-23T05:24:00Z"),
      ),
    ),
    // the same, counted from the moment that the lock is stored: a laptop's clock may be wrong
    ttl_seconds: v.optional(
      v.pipe(v.number("must be a number"), v.safeInteger("must be whole"), v.minValue(1, "at least 1")),
    ),
    // as `get lock` prints them; who made a lock, and when, is the store's to say
    created_at: v.optional(v.string()),
    created_by: v.optional(v.string()),
  }),
});

/** A lock from its parsed YAML or JSON, as of `now` (milliseconds since the epoch). Throws a `Failure("invalid")` that says where and what. */
export function parseLock(value: unknown, now: number): LockSpec {
  const parsed = v.safeParse(lockShape, value);
  if (!parsed.success) {
    const [issue] = parsed.issues;
    const path = v.getDotPath(issue);
    const unknown = issue.expected === "never";
    const what = unknown ? "unknown key" : issue.input === undefined ? "is missing" : issue.message;
    throw new Failure("invalid", `${path === null ? "" : `${path}: `}${what}`);
  }
  const { metadata, spec } = parsed.output;
  const named = LOCK_TARGETS.flatMap((kind) => {
    const value = spec.target[kind];
    return value === undefined ? [] : [{ kind, target: value }];
  });
  const [locked, more] = named;
  if (locked === undefined || more !== undefined) {
    throw new Failure("invalid", `spec.target: takes one of ${LOCK_TARGETS.join(", ")}`);
  }
  const message = spec.message ?? "";
  if (spec.expires !== undefined && spec.ttl_seconds !== undefined) {
    throw new Failure("invalid", "spec.ttl_seconds: takes either this or expires");
  }
  const ttl = spec.ttl_seconds === undefined ? undefined : now + spec.ttl_seconds * 1000;
  const expiresAt = spec.expires === undefined ? ttl : Date.parse(spec.expires);
  if (expiresAt !== undefined && expiresAt <= now) throw new Failure("invalid", "spec.expires: is over already");
  return { name: metadata.name, ...locked, message, expiresAt };
}

/** A lock as its document. */
export function lockDocument(lock: Lock & { createdAt: number; createdBy: string }): unknown {
  return {
    kind: "lock",
    version: "v2",
    metadata: { name: lock.name },
    spec: {
      target: { [lock.kind]: lock.target },
      ...(lock.message === "" ? {} : { message: lock.message }),
      ...(lock.expiresAt === undefined ? {} : { expires: new Date(lock.expiresAt).toISOString() }),
      created_at: new Date(lock.createdAt).toISOString(),
      created_by: lock.createdBy,
    },
  };
}

/** Who wants in, or is in; what is not known yet is left out. `agent`: its name. */
export interface Lockable {
  user?: string;
  /** The names of the user's roles. */
  roles?: readonly string[];
  app?: string;
  agent?: string;
}

/** The first lock that shuts this out. The locks given are those that are in force. */
export function lockOn<L extends Lock>(locks: readonly L[], { user, roles, app, agent }: Lockable): L | undefined {
  const held: Record<LockTarget, readonly (string | undefined)[]> = {
    user: [user],
    role: roles ?? [],
    app: [app],
    agent: [agent],
  };
  return locks.find(({ kind, target }) => held[kind].includes(target));
}

/** Why somebody is shut out, in words for the person. */
export function lockedText({ kind, target, message, expiresAt }: Lock): string {
  const until = expiresAt === undefined ? "" : ` until ${new Date(expiresAt).toISOString()}`;
  return `the ${kind} ${target} is locked${until}${message === "" ? "" : `: ${message}`}`;
}

/** The failure of whoever is shut out. */
export const locked = (lock: Lock): Failure =>
  new Failure("locked", lockedText(lock), { hint: "ask your mcpgate admin" });
