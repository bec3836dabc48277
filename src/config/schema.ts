/**
 * The file's shape, strictly: unknown keys are errors. Messages are the end of a sentence that begins with the dotted
 * path; a second line, where there is one, is the hint. A key without a value (`description:`) counts as absent.
 */
import { isIP } from "node:net";
import * as v from "valibot";
import { parseDuration } from "./duration.ts";
import { parseHostPort } from "./host-port.ts";
import { nearest } from "./nearest.ts";
import { parseSize } from "./size.ts";
import { parseVariable } from "./variable.ts";

/** Sections of a Teleport file that mcpgate has no use for; they load when they say `enabled: false`. */
const FOREIGN_SERVICES = [
  ...["auth_service", "ssh_service", "kubernetes_service", "db_service", "windows_desktop_service"],
  ...["linux_desktop_service", "discovery_service", "okta_service", "jamf_service", "debug_service"],
  ...["metrics_service", "tracing_service", "relay_service"],
] as const;

/** The person's own account: a trait of the user, alone. The spellings that roles know. */
export const HOST_USER_TEMPLATE =
  /^\{\{\s*(internal|external|user\.traits)(\.[A-Za-z][A-Za-z0-9_.-]{0,63}|\["[^"{}]{1,64}"\])\s*\}\}$/;

const isMapping = (input: unknown): boolean => typeof input === "object" && input !== null && !Array.isArray(input);

// valibot's strictObject takes an empty list for an object, hence the check before it
function mapping<const E extends v.ObjectEntries>(entries: E) {
  return v.pipe(
    v.custom<Record<string, unknown>>(
      isMapping,
      (issue) => `expected a mapping (key: value), got ${shown(issue.input)}`,
    ),
    v.strictObject(entries, (issue) => {
      if (issue.expected !== "never") return `is required\nadd there: ${issue.expected?.replaceAll('"', "")}: VALUE`;
      const keys = Object.keys(entries).filter((key) => !(FOREIGN_SERVICES as readonly string[]).includes(key));
      const near = nearest(String(issue.input), Object.keys(entries));
      return `unknown key\n${near === undefined ? `keys here: ${keys.join(", ")}` : `did you mean: ${near}`}`;
    }),
  );
}

const text = v.pipe(
  v.string((issue) => `expected a string, got ${shown(issue.input)}`),
  v.check((value) => !value.includes("\0"), "holds a NUL character"),
);
const filled = v.pipe(text, v.nonEmpty("is empty"));
const words = v.array(text, (issue) => `expected a list, got ${shown(issue.input)}`);
const texts = v.pipe(
  v.custom<Record<string, unknown>>(isMapping, (issue) => `expected a mapping (key: value), got ${shown(issue.input)}`),
  v.record(v.string(), text),
);

/** YAML 1.1 spellings too: files written for Teleport use them. */
const flag = v.pipe(
  v.union(
    [v.boolean(), v.picklist(["yes", "no", "on", "off", "true", "false"])],
    (issue) => `expected true or false, got ${shown(issue.input)}`,
  ),
  v.transform((value) => value === true || value === "yes" || value === "on" || value === "true"),
);

function oneOf<const T extends string>(choices: readonly T[], fold: (value: string) => string) {
  return v.pipe(
    text,
    v.transform(fold),
    v.picklist(choices, (issue) => {
      const near = nearest(String(issue.input), choices);
      const hint = near === undefined ? "" : `\ndid you mean: ${near}`;
      return `expected ${choices.join(", ")}, got ${shown(issue.input)}${hint}`;
    }),
  );
}

function address(o: { defaultHost?: string; defaultPort?: number; zero?: boolean }) {
  return v.pipe(
    text,
    v.rawTransform(({ dataset, addIssue, NEVER }) => {
      const parsed = parseHostPort(dataset.value, o);
      const wrong =
        typeof parsed === "string"
          ? parsed
          : parsed.port === 0 && !o.zero
            ? `"${dataset.value}" has port 0`
            : undefined;
      if (typeof parsed !== "string" && wrong === undefined) return parsed;
      addIssue({ message: `${wrong}\nlike mcpgate.example.com:443` });
      return NEVER;
    }),
  );
}

/** Seconds, up to ten years. */
const age = v.pipe(
  text,
  v.rawTransform(({ dataset, addIssue, NEVER }) => {
    const seconds = parseDuration(dataset.value);
    if (seconds !== undefined) return seconds;
    addIssue({ message: `${shown(dataset.value)} is no duration\nlike 12h, 30d or 365d` });
    return NEVER;
  }),
);

/** Bytes. */
const size = v.pipe(
  text,
  v.rawTransform(({ dataset, addIssue, NEVER }) => {
    const bytes = parseSize(dataset.value);
    if (bytes !== undefined && bytes >= 1024 * 1024) return bytes;
    addIssue({ message: `${shown(dataset.value)} is no size from 1MiB\nlike 256MiB or 10GiB` });
    return NEVER;
  }),
);

const exactly = (value: string): string => value;

const duration = v.pipe(
  text,
  v.rawTransform(({ dataset, addIssue, NEVER }) => {
    const seconds = parseDuration(dataset.value);
    if (seconds !== undefined && seconds <= 86400) return seconds;
    addIssue({ message: `${shown(dataset.value)} is no duration from 1s to 24h\nlike 90s, 10m or 1h` });
    return NEVER;
  }),
);

/** An address, or a network in CIDR form. */
const network = v.pipe(
  text,
  v.check((value) => {
    const [address = "", bits, ...rest] = value.split("/");
    const most = isIP(address) === 4 ? 32 : isIP(address) === 6 ? 128 : -1;
    return rest.length === 0 && most > 0 && (bits === undefined || (/^\d{1,3}$/.test(bits) && Number(bits) <= most));
  }, "is neither an IP address nor a network\nlike 10.0.0.0/8"),
);

const general = mapping({
  data_dir: v.nullish(filled),
  log: v.nullish(
    mapping({
      severity: v.nullish(
        oneOf(["DEBUG", "INFO", "WARN", "ERROR"], (value) => value.toUpperCase()),
        "INFO",
      ),
      format: v.nullish(
        oneOf(["text", "json"], (value) => value.toLowerCase()),
        "text",
      ),
    }),
  ),
  proxy_server: v.nullish(address({ defaultPort: 443 })),
  join_params: v.nullish(
    mapping({
      method: v.nullish(
        oneOf(["token"], (value) => value),
        "token",
      ),
      token_name: filled,
    }),
  ),
  ca_pin: v.nullish(
    v.pipe(
      text,
      v.transform((value) => value.toLowerCase()),
      v.regex(
        /^sha256:[0-9a-f]{64}$/,
        "is not sha256: and 64 hex digits\n`mcpgate tokens add --type=app` prints it on the proxy's host",
      ),
    ),
  ),
});

/** Which of the keys a type needs is checked beside (`parse.ts`). */
const sink = mapping({
  type: oneOf(["file", "stdout", "syslog", "http"], exactly),
  name: v.nullish(v.pipe(text, v.regex(/^[a-z0-9][a-z0-9_-]{0,62}$/, "is no name: 1 to 63 of a-z 0-9 _ -"))),
  path: v.nullish(filled),
  address: v.nullish(v.pipe(text, v.regex(/^(tcp|udp):\/\/[^/\s]+$/, "is no address\nlike tcp://127.0.0.1:601"))),
  url: v.nullish(
    v.pipe(text, v.regex(/^https?:\/\/[^\s@]+$/, "is no URL, or holds a password\nlike https://siem.example.com/in")),
  ),
  token: v.nullish(
    v.pipe(
      text,
      v.regex(
        /^(file:.+|env:[A-Za-z_][A-Za-z0-9_]*)$/,
        "must say where the token is\nlike file:/etc/mcpgate/siem.token or env:SIEM_TOKEN",
      ),
    ),
  ),
});

const absolute = v.pipe(text, v.startsWith("/", "is not an absolute path"));

function number(min: number, max: number, whole = false) {
  const what = whole ? "a whole number" : "a number";
  const message = (issue: { input: unknown }): string =>
    `expected ${what} from ${min} to ${max}, got ${shown(issue.input)}`;
  const ranged = v.pipe(v.number(message), v.minValue(min, message), v.maxValue(max, message));
  return whole ? v.pipe(ranged, v.integer(message)) : ranged;
}
const count = number(1, 1_000_000, true);

/** Seconds; `0s` is at once. */
const grace = v.pipe(
  text,
  v.rawTransform(({ dataset, addIssue, NEVER }) => {
    const seconds = dataset.value === "0s" ? 0 : parseDuration(dataset.value);
    if (seconds !== undefined && seconds <= 300) return seconds;
    addIssue({ message: `${shown(dataset.value)} is no duration up to 5m\nlike 2s or 30s` });
    return NEVER;
  }),
);

/** Seconds; `0s` is at once. */
const linger = v.pipe(
  text,
  v.rawTransform(({ dataset, addIssue, NEVER }) => {
    const seconds = dataset.value === "0s" ? 0 : parseDuration(dataset.value);
    if (seconds !== undefined && seconds <= 86400) return seconds;
    addIssue({ message: `${shown(dataset.value)} is no duration up to 24h\nlike 90s, 5m or 1h` });
    return NEVER;
  }),
);

/** One variable of `mcp.env`: its text, or where to read it when the server starts. */
const variable = v.pipe(
  v.unknown(),
  v.rawTransform(({ dataset, addIssue, NEVER }) => {
    const parsed = parseVariable(dataset.value);
    if (typeof parsed !== "string") return parsed;
    addIssue({ message: parsed });
    return NEVER;
  }),
);
const variables = v.pipe(
  v.custom<Record<string, unknown>>(isMapping, (issue) => `expected a mapping (key: value), got ${shown(issue.input)}`),
  v.record(v.string(), variable),
  v.check((env) => Object.keys(env).every((name) => /^[^=\0]+$/.test(name)), "holds a name that is empty or has a ="),
);

/** `off` in YAML 1.1 is false. */
const pinning = v.pipe(
  v.any(),
  v.transform((value): unknown => (value === false ? "off" : value)),
  oneOf(["off", "warn", "enforce"], (value) => value),
);

const app = mapping({
  name: v.pipe(
    text,
    v.regex(
      /^[a-z0-9][a-z0-9_-]{0,62}$/,
      (issue) => `${shown(issue.input)} is no app name\n1 to 63 of a-z 0-9 _ -, beginning with a letter or digit`,
    ),
  ),
  labels: v.nullish(texts),
  description: v.nullish(text, ""),
  shared: v.nullish(flag, false),
  tool_pinning: v.nullish(pinning),
  mcp: mapping({
    command: filled,
    args: v.nullish(words),
    run_as_host_user: v.nullish(
      v.pipe(
        filled,
        v.check(
          (value) => !value.includes("{{") || HOST_USER_TEMPLATE.test(value),
          (issue) =>
            `${shown(issue.input)} is neither a name nor a template for one\nlike "{{user.traits.unix_login}}"`,
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
  }),
});

/** Only `enabled: false` is read of it. */
const foreign = v.nullish(
  v.pipe(
    v.looseObject({ enabled: flag }, (issue) =>
      issue.expected === "Object"
        ? "expected a mapping (key: value)"
        : "needs `enabled: false`: mcpgate has no such service",
    ),
    v.check((section) => !section.enabled, "is enabled, but mcpgate has no such service\nset enabled: false"),
  ),
);

export const fileSchema = mapping({
  version: v.nullish(oneOf(["v1", "v2", "v3"], (value) => value)),
  mcpgate: v.nullish(general),
  /** The same section under the name that it has in a Teleport file. */
  teleport: v.nullish(general),
  proxy_service: v.nullish(
    mapping({
      enabled: v.nullish(flag, true),
      listen_addr: v.nullish(address({ defaultHost: "0.0.0.0", zero: true })),
      public_addr: v.nullish(address({ defaultPort: 443, zero: true })),
      cluster_name: v.nullish(filled),
      cert_file: v.nullish(filled),
      key_file: v.nullish(filled),
      audit: v.nullish(
        mapping({
          retention: v.nullish(mapping({ max_age: v.nullish(age), max_size: v.nullish(size) })),
          sinks: v.nullish(v.array(sink, (issue) => `expected a list, got ${shown(issue.input)}`)),
        }),
      ),
      tls: v.nullish(flag, true),
      trusted_proxies: v.nullish(v.array(network, (issue) => `expected a list, got ${shown(issue.input)}`)),
    }),
  ),
  app_service: v.nullish(
    mapping({
      enabled: v.nullish(flag, true),
      resume_window: v.nullish(duration, "10m"),
      drain: v.nullish(grace, "10s"),
      allow_host_users: v.nullish(v.array(filled, (issue) => `expected a list, got ${shown(issue.input)}`)),
      audit: v.nullish(
        mapping({
          spool_limit: v.nullish(size),
          on_full: v.nullish(oneOf(["refuse", "drop_oldest"], exactly)),
          sync: v.nullish(oneOf(["group", "always"], exactly)),
        }),
      ),
      apps: v.nullish(v.array(app, (issue) => `expected a list, got ${shown(issue.input)}`)),
    }),
  ),
  ...(Object.fromEntries(FOREIGN_SERVICES.map((name) => [name, foreign])) as Record<
    (typeof FOREIGN_SERVICES)[number],
    typeof foreign
  >),
});

export type ConfigFile = v.InferOutput<typeof fileSchema>;
export type FileSink = v.InferOutput<typeof sink>;
export type FileApp = v.InferOutput<typeof app>;

/** A value as it reads in a message; long ones cut. */
function shown(input: unknown): string {
  if (input === null || input === undefined) return "nothing";
  if (Array.isArray(input)) return "a list";
  if (typeof input === "object") return "a mapping";
  const json = JSON.stringify(input);
  return json.length > 60 ? `${json.slice(0, 57)}…"` : json;
}
