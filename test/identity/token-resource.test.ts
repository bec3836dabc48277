import { describe, expect, test } from "bun:test";
import { parse } from "yaml";
import { allowsCaller, allowsInstance, hingesOnSession, matchesArn } from "../../src/identity/allow-rules.ts";
import { parseTokenDocument, type TokenResource, tokenDocument } from "../../src/identity/token-resource.ts";

/** The original's guides have these, but for the system role. */
const IAM = `
kind: token
version: v2
metadata:
  # the token name is not a secret because instances must prove that they are
  # running in your AWS account to use this token
  name: iam-token
spec:
  roles: [App]
  join_method: iam
  allow:
    - aws_account: "111111111111"
    - aws_account: "333333333333"
      aws_arn: "arn:aws:sts::333333333333:assumed-role/teleport-node-role/i-*"
`;
const EC2 = `
kind: token
version: v2
metadata: { name: ec2-token, expires: "2050-01-01T00:00:00Z" }
spec:
  roles: [Node, App]
  aws_iid_ttl: 8760h0m0s
  allow:
    - aws_account: "222222222222"
      aws_regions: [us-west-1, us-west-2]
`;
const named = (text: string): TokenResource => {
  const token = parseTokenDocument(parse(text));
  if (token.method === "token") throw new Error("a secret one");
  return token;
};

test("the original's documents load, and come out as they went in", () => {
  expect(named(IAM)).toEqual({
    name: "iam-token",
    method: "iam",
    description: "",
    allow: [
      { account: "111111111111" },
      { account: "333333333333", arn: "arn:aws:sts::333333333333:assumed-role/teleport-node-role/i-*" },
    ],
    iidTtl: 300,
    expiresAt: undefined,
  });
  expect(named(EC2)).toEqual({
    name: "ec2-token",
    method: "ec2",
    description: "",
    allow: [{ account: "222222222222", regions: ["us-west-1", "us-west-2"] }],
    iidTtl: 8760 * 3600,
    expiresAt: Date.UTC(2050, 0, 1),
  });
  for (const text of [IAM, EC2]) expect(parseTokenDocument(tokenDocument(named(text)))).toEqual(named(text));
});

test("a token of the method token is its name, which is a secret", () => {
  const name = "0123456789abcdef0123456789abcdef";
  const document = { kind: "token", version: "v2", metadata: { name }, spec: { roles: ["App"] } };
  expect(parseTokenDocument(document)).toEqual({ method: "token", secret: name, expiresAt: undefined });
  const guessable = { ...document, metadata: { name: "abcd123-insecure-do-not-use-this" } };
  expect(() => parseTokenDocument(guessable)).toThrow("metadata.name: is the secret itself");
  try {
    parseTokenDocument(guessable);
  } catch (error) {
    expect((error as Error).message).not.toContain("abcd123");
  }
});

describe("refused", () => {
  const rule = '- aws_account: "111111111111"';
  const wrong: [string, string, string, string][] = [
    [IAM, "kind: token", "kind: role", "kind: must be token"],
    [IAM, "v2", "v1", "version: must be v2"],
    [IAM, "[App]", "[Node]", "spec.roles: must hold App"],
    [IAM, "[App]", "[App, Wizard]", "spec.roles.1: is no system role"],
    [IAM, "join_method: iam", "join_method: gcp", "spec.join_method: must be one of token, iam, ec2"],
    [IAM, "join_method: iam", "join_method: token", "spec.allow: is for the methods iam and ec2"],
    [IAM, "name: iam-token", "name: ../x", "metadata.name: must be letters"],
    [IAM, "name: iam-token", "name: 0123456789abcdef0123456789abcdef", "metadata.name: has the form of a secret token"],
    [IAM, "name: iam-token", 'name: "0123456789abcdef"', "metadata.name: has the form of a secret token"],
    [IAM, "join_method: iam", "join_method: iam\n  aws_iid_ttl: 5m", "spec.aws_iid_ttl: is for the method ec2"],
    [IAM, rule, "- aws_account: 111111111111", "spec.allow.0.aws_account: must be in quotes"],
    [IAM, rule, '- aws_account: "1111"', "spec.allow.0.aws_account: must be twelve digits"],
    [IAM, rule, "- {}", "spec.allow.0: needs aws_account"],
    [IAM, rule, '- aws_arn: "*"', "spec.allow.0.aws_arn: must be an ARN"],
    [IAM, rule, '- aws_arn: "arn:aws:sts::*:assumed-role/r/*"', "spec.allow.0: needs aws_account"],
    [IAM, rule, '- aws_arn: "arn:aws:sts::11111111111?:assumed-role/r/*"', "spec.allow.0: needs aws_account"],
    [IAM, rule, '- {aws_account: "111111111111", aws_arn: "arn:aws:iam::222222222222:user/u"}', "of another account"],
    [
      IAM,
      rule,
      `${rule}\n      aws_arn: "arn:aws:sts::111111111111:assumed-role/*-prod*"`,
      "spec.allow.0.aws_arn: a session's name alone could match it",
    ],
    [IAM, rule, `${rule}\n      aws_regions: [us-west-1]`, "spec.allow.0.aws_regions: is for the method ec2"],
    [IAM, rule, `${rule}\n      aws_role: arn:aws:iam::1:role/r`, "spec.allow.0.aws_role: mcpgate does not ask EC2"],
    [IAM, rule, `${rule}\n      aws_organization_id: o-1`, "spec.allow.0.aws_organization_id: unknown key"],
    [EC2, "aws_regions: [us-west-1, us-west-2]", "aws_arn: arn:aws:x", "spec.allow.0.aws_arn: is for the method iam"],
    [EC2, "aws_regions: [us-west-1, us-west-2]", "aws_regions: []", "spec.allow.0.aws_regions: is empty"],
    [EC2, "8760h0m0s", "soon", "spec.aws_iid_ttl: must be a duration like 5m"],
    [EC2, "2050-01-01T00:00:00Z", "tomorrow", "metadata.expires: must be a time"],
  ];
  for (const [text, from, to, why] of wrong) {
    test(to, () => {
      expect(text).toContain(from);
      expect(() => parseTokenDocument(parse(text.replace(from, to)))).toThrow(why);
    });
  }
  test("no rules", () => {
    const document = parse(IAM);
    document.spec.allow = [];
    expect(() => parseTokenDocument(document)).toThrow("spec.allow: must hold a rule");
  });
});

describe("rules", () => {
  const arn = "arn:aws:sts::333333333333:assumed-role/teleport-node-role/i-0123";
  const globs: [pattern: string, arn: string, matches: boolean][] = [
    [arn, arn, true],
    ["arn:aws:sts::333333333333:assumed-role/teleport-node-role/i-*", arn, true],
    ["arn:aws:sts::333333333333:assumed-role/*", arn, true],
    ["arn:aws:sts::333333333333:assumed-role/*/i-012?", arn, true],
    ["arn:aws:sts::333333333333:assumed-role/*/i-01?", arn, false],
    ["arn:*i-0123", arn, true],
    ["arn:*", arn, true],
    // the whole of it, not a part
    ["arn:aws:sts::333333333333:assumed-role/teleport-node-role", arn, false],
    ["arn:aws:sts::333333333333:assumed-role/teleport-node-role/i-*", `x${arn}`, false],
    ["arn:aws:sts::333333333333:assumed-role/teleport-node-role/i-*", arn.replace("node-role/", "node-role-x/"), false],
    ["arn:aws:iam::333333333333:user/a", "arn:aws:iam::333333333333:user/A", false],
    // no regular expression
    ["arn:aws:sts::3333333333.3:assumed-role/*", arn, false],
    ["^arn:.*$", arn, false],
    ["arn:aws:sts::333333333333:assumed-role/(teleport-node-role|x)/*", arn, false],
    ["arn:aws:iam::333333333333:user/a+", "arn:aws:iam::333333333333:user/aaa", false],
    ["arn:aws:iam::333333333333:user/*b", "arn:aws:iam::333333333333:user/aab\n", false],
    ["arn:a*b*c", "arn:abxbc", true],
    ["arn:a*bc*c", "arn:abcbc", true],
    ["arn:a*bc*cc", "arn:abcbc", false],
  ];
  for (const [pattern, text, matches] of globs) {
    test(`${pattern} ${matches ? "is" : "is not"} ${text.replace("\n", "\\n")}`, () => {
      expect(matchesArn(pattern, text)).toBe(matches);
    });
  }

  test("a glob that would go back and forth takes no time", () => {
    const began = performance.now();
    expect(matchesArn(`arn:${"a*".repeat(1000)}b`, `arn:${"a".repeat(2000)}`)).toBe(false);
    expect(performance.now() - began).toBeLessThan(500);
  });

  const hinging: [glob: string, chosen: string | undefined][] = [
    ["arn:aws:sts::333333333333:assumed-role/*-prod*", "assumed-role/dev/x-prod"],
    ["arn:aws:sts::333333333333:assumed-role/team-*-prod*", "assumed-role/team-dev/x-prod"],
    ["arn:aws:sts::333333333333:assumed-role/dev?prod", "assumed-role/dev/prod"],
    ["arn:aws:sts::333333333333:assumed-role/*/mcp-host", "assumed-role/dev/mcp-host"],
    ["arn:aws:sts::333333333333:assumed-role/*/i-*", "assumed-role/dev/i-0123"],
    ["arn:aws:sts::333333333333:*/mcp-host", "assumed-role/dev/mcp-host"],
    ["arn:aws:sts::333333333333:*host", "assumed-role/dev/host"],
    ["arn:*-prod", "assumed-role/dev/x-prod"],
    ["arn:aws:*:333333333333:*prod", "assumed-role/dev/prod"],
    ["arn:aws:sts::333333333333:federated-user/*-prod", "federated-user/x-prod"],
    ["arn:aws:sts::333333333333:assumed-role/mcp-host/i-*", undefined],
    ["arn:aws:sts::333333333333:assumed-role/mcp-host/prod", undefined],
    ["arn:aws:sts::333333333333:assumed-role/mcp-*/i-*", undefined],
    ["arn:aws:sts::333333333333:assumed-role/*-prod/*", undefined],
    ["arn:aws:sts::333333333333:assumed-role/mcp-*", undefined],
    ["arn:aws:sts::333333333333:*/mcp-host/*", undefined],
    ["arn:aws:sts::333333333333:assumed-role/*", undefined],
    ["arn:aws:sts::333333333333:*", undefined],
    ["arn:*", undefined],
    ["arn:*:assumed-role/mcp-host/*", undefined],
    ["arn:aws:iam::333333333333:user/*-prod", undefined],
    ["arn:aws:iam::333333333333:root", undefined],
  ];
  for (const [glob, chosen] of hinging) {
    test(`${glob} ${chosen === undefined ? "asks for more than" : "could be met by"} a session's name`, () => {
      if (chosen !== undefined) expect(matchesArn(glob, `arn:aws:sts::333333333333:${chosen}`)).toBe(true);
      expect(hingesOnSession(glob)).toBe(chosen !== undefined);
    });
  }

  test("the account always counts, whatever the ARN says", () => {
    const rules = [{ account: "333333333333", arn: "arn:*:assumed-role/teleport-node-role/*" }];
    expect(allowsCaller(rules, { account: "333333333333", arn })).toBe(true);
    const foreign = arn.replace("333333333333", "444444444444");
    expect(allowsCaller(rules, { account: "444444444444", arn: foreign })).toBe(false);
    expect(allowsCaller([], { account: "333333333333", arn })).toBe(false);
  });

  test("an instance needs its account, and its region where the rule names any", () => {
    const rules = [{ account: "111111111111", regions: ["us-west-1"] }, { account: "222222222222" }];
    expect(allowsInstance(rules, { account: "111111111111", region: "us-west-1" })).toBe(true);
    expect(allowsInstance(rules, { account: "111111111111", region: "us-west-2" })).toBe(false);
    expect(allowsInstance(rules, { account: "222222222222", region: "eu-west-3" })).toBe(true);
    expect(allowsInstance(rules, { account: "333333333333", region: "us-west-1" })).toBe(false);
  });
});
