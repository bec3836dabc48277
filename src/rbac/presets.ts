/** The roles that every cluster has from its first day. */
import { parseRole, type Role } from "./role.ts";

const LABELS = { "teleport.internal/resource-type": "preset" };

const preset = (name: string, description: string, allow: unknown): Role =>
  parseRole({ kind: "role", version: "v8", metadata: { name, description, labels: LABELS }, spec: { allow } });

/** `mcp-user` is the original's, word for word: all apps, all their tools. `admin` and `auditor` reach no app. */
export const PRESET_ROLES: readonly Role[] = [
  preset("mcp-user", "Access to MCP servers", {
    app_labels: { "teleport.internal/app-sub-kind": "mcp" },
    mcp: { tools: ["*"] },
  }),
  preset("admin", "Everything in the admin API", { rules: [{ resources: ["*"], verbs: ["*"] }] }),
  preset("auditor", "Reads the audit log and the list of sessions", {
    rules: [{ resources: ["event", "session"], verbs: ["list", "read"] }],
  }),
];
