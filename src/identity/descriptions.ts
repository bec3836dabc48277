/** What each key of a token resource means, for editors; by its path, `[]` for the entries of a list. */
const TOKEN: Record<string, string> = {
  kind: "token",
  version: "v2",
  metadata: "What the token is called",
  "metadata.name": "Its name, which hosts say when they join; no secret",
  "metadata.description": "What it is for",
  "metadata.expires": "When it ends, like 2026-11-23T05:24:00Z; never unless told",
  "metadata.labels": "For whoever keeps tokens in order",
  "metadata.id": "Of documents that the original printed; not read",
  "metadata.revision": "Of documents that the original printed; not read",
  spec: "Who may join with it",
  "spec.roles": "As what: App",
  "spec.join_method": "iam: AWS says who asks; ec2: AWS has signed what instance it is",
  "spec.allow": "Who may join: what matches one of these rules in all that it says",
  "spec.allow[].aws_account": "The account, twelve digits in quotes",
  "spec.allow[].aws_arn": "iam: the caller's ARN; * any text, ? one character",
  "spec.allow[].aws_regions": "ec2: the instance's region is one of these",
  "spec.allow[].aws_role": "Not taken: the proxy does not ask EC2",
  "spec.aws_iid_ttl": "ec2: how long after its start an instance may join, like 5m",
};

export const describeToken = (path: string): string | undefined => TOKEN[path];
