/** The file's shape: one app of `app_service.apps`. */
import * as v from "valibot";
import {
  absolute,
  age,
  count,
  duration,
  exactly,
  filled,
  flag,
  grace,
  isMapping,
  linger,
  mapping,
  number,
  oneOf,
  says,
  shown,
  size,
  text,
  texts,
  words,
} from "./schema-values.ts";
import { parseVariable } from "./variable.ts";

/** The person's own account: a trait of the user, alone. The spellings that roles know. */
export const HOST_USER_TEMPLATE =
  /^\{\{\s*(internal|external|user\.traits)(\.[A-Za-z][A-Za-z0-9_.-]{0,63}|\["[^"{}]{1,64}"\])\s*\}\}$/;

/** One variable of `mcp.env`: its text, or where to read it when the server starts. */
const variable = v.pipe(
  v.unknown(),
  says({
    anyOf: [
      { type: "string" },
      {
        type: "object",
        properties: {
          value: { type: "string", description: "the text itself, whatever it begins with" },
          file: { type: "string", pattern: "^/", description: "what stands in that file" },
          env: { type: "string", description: "a variable of the agent's own environment" },
          command: { type: "array", items: { type: "string" }, minItems: 1, description: "what that command prints" },
        },
        additionalProperties: false,
        minProperties: 1,
        maxProperties: 1,
      },
    ],
  }),
  v.rawTransform(({ dataset, addIssue, NEVER }) => {
    const parsed = parseVariable(dataset.value);
    if (typeof parsed !== "string") return parsed;
    addIssue({ message: parsed });
    return NEVER;
  }),
);
const variables = v.pipe(
  v.custom<Record<string, unknown>>(isMapping, "expected a mapping (key: value)"),
  v.record(v.string(), variable),
  v.check((env) => Object.keys(env).every((name) => /^[^=\0]+$/.test(name)), "holds a name that is empty or has a ="),
);

/** `off` in YAML 1.1 is false. */
export const pinning = v.pipe(
  v.any(),
  says({ enum: ["off", "warn", "enforce", false] }),
  v.transform((value): unknown => (value === false ? "off" : value)),
  oneOf(["off", "warn", "enforce"], (value) => value),
);

export const appName = v.pipe(
  text,
  v.regex(
    /^[a-z0-9][a-z0-9_-]{0,62}$/,
    (issue) => `${shown(issue.input)} is no app name\n1 to 63 of a-z 0-9 _ -, beginning with a letter or digit`,
  ),
);

export const server = {
  command: filled,
  args: v.nullish(words),
  run_as_host_user: v.nullish(
    v.pipe(
      filled,
      v.check(
        (value) => !value.includes("{{") || HOST_USER_TEMPLATE.test(value),
        (issue) => `${shown(issue.input)} is neither a name nor a template for one\nlike "{{user.traits.unix_login}}"`,
      ),
    ),
  ),
  env: v.nullish(variables),
  cwd: v.nullish(absolute),
  secrets: v.nullish(oneOf(["mask", "block", "allow"], exactly)),
  share: v.nullish(oneOf(["session", "user", "app"], exactly)),
  linger: v.nullish(linger),
  warm: v.nullish(number(0, 100, true)),
  stop_grace: v.nullish(mapping({ stdin: v.nullish(grace), term: v.nullish(grace) })),
  limits: v.nullish(
    mapping({
      memory: v.nullish(size),
      cpu: v.nullish(number(0.01, 1024)),
      processes: v.nullish(count),
      open_files: v.nullish(count),
      start_timeout: v.nullish(duration),
      idle_timeout: v.nullish(duration),
      session_timeout: v.nullish(age),
      sessions_per_user: v.nullish(count),
      sessions_per_app: v.nullish(count),
    }),
  ),
  sandbox: v.nullish(
    mapping({
      network: v.nullish(oneOf(["none", "host"], exactly), "none"),
      read: v.nullish(v.array(absolute, (issue) => `expected a list, got ${shown(issue.input)}`)),
      write: v.nullish(v.array(absolute, (issue) => `expected a list, got ${shown(issue.input)}`)),
    }),
  ),
};

export const app = mapping({
  name: appName,
  labels: v.nullish(texts),
  description: v.nullish(text, ""),
  shared: v.nullish(flag, false),
  tool_pinning: v.nullish(pinning),
  mcp: mapping(server),
});

export type FileApp = v.InferOutput<typeof app>;
