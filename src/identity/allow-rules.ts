/** The `allow` rules of a join token: which of AWS's accounts, identities and instances may join with it. */

export interface AllowRule {
  /** Twelve digits. */
  account: string;
  /** `iam`: a glob. */
  arn?: string;
  /** `ec2`. */
  regions?: string[];
}

/** By `method: iam`: some rule allows the account, and the ARN where it names one. */
export function allowsCaller(rules: readonly AllowRule[], caller: { account: string; arn: string }): boolean {
  return rules.some(
    ({ account, arn }) => account === caller.account && (arn === undefined || matchesArn(arn, caller.arn)),
  );
}

/**
 * Whether all that a glob asks for could be in a session's name: the last part of an assumed role's ARN
 * (`assumed-role/ROLE/SESSION`), which whoever assumes the role chooses. It looks like a rule for some roles, and is one for
 * all of the account's.
 */
export function hingesOnSession(glob: string): boolean {
  const fields = glob.split(":");
  if (fields[2] === "iam") return false; // users, and the account itself
  const resource = fields.length > 5 ? fields.slice(5).join(":") : (fields.at(-1) ?? "");
  const wild = resource.search(/[*?]/);
  if (wild === -1) return false;
  const asks = (part: string): boolean => /[^*?]/.test(part);
  const [, role = "", ...session] = resource.split("/");
  if (session.length > 0) return !asks(role) && asks(session.join("/"));
  // no second slash: a wildcard may stand for one, and what follows it for the session's name
  return asks(resource.slice(wild));
}

/** By `method: ec2`: some rule allows the account, and the region where it names any. */
export function allowsInstance(rules: readonly AllowRule[], on: { account: string; region: string }): boolean {
  return rules.some(
    ({ account, regions }) => account === on.account && (regions === undefined || regions.includes(on.region)),
  );
}

/**
 * `*` stands for any text, also none, also with `:` and `/` in it; `?` for one character; everything else for itself, as in
 * IAM's own policies and the original. The whole ARN has to match. No regular expression: both may be 2 KiB long, and the
 * time is at most their product.
 */
export function matchesArn(pattern: string, arn: string): boolean {
  let [at, in_] = [0, 0];
  let star = -1;
  let resume = 0;
  while (at < arn.length) {
    const wanted = pattern[in_];
    if (wanted === "*") {
      star = in_++;
      resume = at;
    } else if (wanted === "?" || wanted === arn[at]) {
      at += 1;
      in_ += 1;
    } else if (star !== -1) {
      // the last star takes one character more
      in_ = star + 1;
      at = ++resume;
    } else {
      return false;
    }
  }
  while (pattern[in_] === "*") in_ += 1;
  return in_ === pattern.length;
}
