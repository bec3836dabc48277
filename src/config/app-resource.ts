/**
 * App resources: apps that an admin writes down at the proxy, and agents pick up (`kind: app`, `version: v3`, the
 * original's). They hold what an app of an agent's own file may hold, without what is that file's alone: secrets, and who
 * may come in. What of it runs on a host is for that host's file to say (`command-rule.ts`).
 */
import { resolve } from "node:path/posix";
import * as v from "valibot";
import { Failure } from "../errors.ts";
import { MAX_ARGUMENT_CHARS, MAX_ARGUMENTS } from "./command-rule.ts";
import type { AppConfig } from "./config.ts";
import { toApp } from "./parse.ts";
import { appName, pinning, server } from "./schema-app.ts";
import { exactly, filled, isMapping, mapping, oneOf, shown, text, texts } from "./schema-values.ts";
import { sharingFaults } from "./together.ts";

/** Characters of a resource as JSON. */
export const MAX_RESOURCE_CHARS = 16 * 1024;

const OWN_FILE = "stands in the agent's own file only: what the proxy holds must not reach a host's secrets";
const STDIO = "is not for mcpgate, which offers stdio MCP servers: spec.mcp says how one is started";
/** What other releases and the original know, and why it isn't taken: more than "unknown key". */
const BARRED: Record<string, string> = {
  "spec.mcp.env": OWN_FILE,
  "spec.mcp.secrets": OWN_FILE,
  "spec.shared": "is not needed: every agent that picks the resource up offers it",
  "spec.dynamic_labels": "is not taken: labels decide who gets in, and no host's command may change them",
  ...Object.fromEntries(
    [
      ...["uri", "public_addr", "rewrite", "insecure_skip_verify", "cors", "tcp_ports", "cloud", "aws", "integration"],
      ...["required_app_names", "use_any_proxy_public_addr", "user_groups", "identity_center", "tls", "gcp", "azure"],
    ].map((key) => [`spec.${key}`, STDIO]),
  ),
};

/** Labels that only the proxy gives. */
export const RESERVED_LABEL = /^(mcpgate|teleport)\.internal\//;

const bounded = v.pipe(text, v.maxLength(MAX_ARGUMENT_CHARS, `is longer than ${MAX_ARGUMENT_CHARS} characters`));
const { env: _, secrets: __, ...allowed } = server;

export const appShape = mapping({
  kind: oneOf(["app"], exactly),
  sub_kind: v.nullish(oneOf(["mcp"], exactly)),
  version: oneOf(["v3"], exactly),
  metadata: mapping({
    name: appName,
    description: v.nullish(v.pipe(text, v.maxLength(1024, "is longer than 1024 characters")), ""),
    labels: v.nullish(
      v.pipe(
        texts,
        v.check((labels) => Object.keys(labels).length <= 100, "has more than 100 labels"),
        v.check(
          (labels) => Object.entries(labels).every(([key, value]) => key.length <= 256 && value.length <= 1024),
          "holds a name over 256 or a value over 1024 characters",
        ),
        v.check(
          (labels) => !Object.keys(labels).some((key) => RESERVED_LABEL.test(key)),
          "holds a label of the proxy's",
        ),
      ),
    ),
  }),
  spec: mapping({
    tool_pinning: v.nullish(pinning),
    mcp: mapping({
      ...allowed,
      command: v.pipe(filled, v.maxLength(MAX_ARGUMENT_CHARS, `is longer than ${MAX_ARGUMENT_CHARS} characters`)),
      args: v.nullish(
        v.pipe(
          v.array(bounded, "expected a list"),
          v.maxLength(MAX_ARGUMENTS - 1, `has more than ${MAX_ARGUMENTS - 1} arguments`),
        ),
      ),
      run_as_host_user: v.pipe(
        v.unknown(),
        v.check((value) => value !== null, "is empty"),
        server.run_as_host_user,
      ),
    }),
  }),
});

/** An app resource from its parsed YAML or JSON. Throws a `Failure("invalid")` that says where and what. */
export function parseAppResource(value: unknown): AppConfig {
  // First of all: what is wrong with a large one takes long to say.
  if (String(JSON.stringify(value)).length > MAX_RESOURCE_CHARS) {
    throw new Failure("invalid", `an app resource has at most ${MAX_RESOURCE_CHARS / 1024} KiB`);
  }
  for (const [path, why] of Object.entries(BARRED)) if (has(value, path.split("."))) throw refused(path, why);
  const parsed = v.safeParse(appShape, value);
  if (!parsed.success) throw issueOf(parsed.issues);
  const { metadata, spec } = parsed.output;
  const [fault] = sharingFaults(spec.mcp as Parameters<typeof sharingFaults>[0]);
  if (fault !== undefined) throw refused(`spec.mcp.${fault.key}`, fault.message, fault.hint);
  // More about them only the host can say (`agent/sandbox.ts`).
  for (const key of ["read", "write"] as const) {
    const crooked = spec.mcp.sandbox?.[key]?.find((path) => resolve(path) !== path);
    if (crooked !== undefined) {
      throw refused(`spec.mcp.sandbox.${key}`, `${shown(crooked)} is another way to write ${shown(resolve(crooked))}`);
    }
  }
  const { name, labels, description } = metadata;
  const file = { name, labels, description, shared: true, ...spec } as Parameters<typeof toApp>[0];
  return { ...toApp(file), resource: true };
}

function has(value: unknown, [key = "", ...rest]: string[]): boolean {
  if (!isMapping(value) || !Object.hasOwn(value as object, key)) return false;
  return rest.length === 0 || has((value as Record<string, unknown>)[key], rest);
}

function issueOf(issues: readonly v.BaseIssue<unknown>[]): Failure {
  // A misspelt key is also a missing one; the misspelling is what to tell.
  const issue = issues.find(({ message }) => message.startsWith("unknown key")) ?? issues[0];
  const path = (issue?.path ?? []).map((item) => String(item.key)).join(".");
  const [message = "is no app resource", hint] = issue?.message.split("\n") ?? [];
  return refused(path, message, hint);
}

const refused = (path: string, message: string, hint?: string): Failure =>
  new Failure("invalid", path === "" ? message : `${path}: ${message}`, hint === undefined ? {} : { hint });
