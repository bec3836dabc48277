/** What each key of a role and of a lock means, for editors; by its path, `[]` for the entries of a list. */
const ENTRIES = "literals, globs (*), or regular expressions (^…$)";
const CONDITIONS: Record<string, string> = {
  app_labels: "Which apps: every label with one of its values, * for any",
  app_labels_expression: "Which apps, in the original's language of predicates",
  mcp: "What may be done with an app's server",
  "mcp.tools": `Tools: ${ENTRIES}; or {name, where} with a condition on the arguments`,
  "mcp.tools[].name": `Tools: one of ${ENTRIES}`,
  "mcp.tools[].where": "A condition in CEL on arguments, user and app. An error in it denies",
  "mcp.prompts": `Prompts: ${ENTRIES}; or {name, where}`,
  "mcp.prompts[].name": `Prompts: one of ${ENTRIES}`,
  "mcp.prompts[].where": "A condition in CEL on arguments, user and app. An error in it denies",
  "mcp.resources": `Resources, by their URIs: ${ENTRIES}`,
  "mcp.methods": `Methods that clients call: ${ENTRIES}`,
  "mcp.server_methods": `Methods that servers call: ${ENTRIES}`,
  rules: "What may be done in the admin API",
  "rules[].resources": "With what",
  "rules[].verbs": "And what",
};

const OTHERS: Record<string, string> = {
  kind: "role",
  version: "v8",
  metadata: "What the role is called",
  "metadata.name": "What users are given",
  "metadata.description": "What it is for",
  "metadata.labels": "For whoever keeps roles in order",
  spec: "Nothing is allowed unless allow says so, and deny wins",
  "spec.allow": "What is allowed in apps of these labels",
  "spec.deny": "What is denied, whether or not the labels match",
  "spec.options": "Empty; the original's documents have it",
  tests: "What the role is to allow and to deny to a user who has no other: a role whose tests fail is not stored",
  "tests[].name": "What the test is called",
  "tests[].user": "The user's name, or {name, traits}",
  "tests[].user.name": "The user's name",
  "tests[].user.traits": "Lists of words by their names",
  "tests[].app": "The app's name, or {name, labels}",
  "tests[].app.name": "The app's name",
  "tests[].app.labels": "Its labels",
  "tests[].method": "A method that clients call",
  "tests[].tool": "A tool",
  "tests[].prompt": "A prompt",
  "tests[].resource": "A resource's URI",
  "tests[].server_method": "A method that servers call",
  "tests[].arguments": "Of the tool or prompt",
  "tests[].expect": "What is to come of it",
};

const LOCK: Record<string, string> = {
  kind: "lock",
  version: "v2",
  metadata: "What the lock is called",
  "metadata.name": "Its name; one is made up unless told",
  spec: "Who or what is shut out",
  "spec.target": "One of these",
  "spec.target.user": "No login, no session, no admin operation",
  "spec.target.role": "Everybody who holds it",
  "spec.target.app": "Nobody reaches it",
  "spec.target.agent": "It offers nothing",
  "spec.message": "What those hear whom it shuts out",
  "spec.expires": "Until when, like 2026-11-23T05:24:00Z; until it is removed unless told",
  "spec.ttl_seconds": "The same, counted from the moment that the lock is stored",
  "spec.created_at": "As `mcpgate get lock` prints it; not read",
  "spec.created_by": "As `mcpgate get lock` prints it; not read",
};

export const describeLock = (path: string): string | undefined => LOCK[path];

export const describeRole = (path: string): string | undefined =>
  OTHERS[path] ?? CONDITIONS[path.replace(/^spec\.(allow|deny)\./, "")];
