/** The kinds of values in a configuration file: what they may be, and what is said where they are not. */
import * as v from "valibot";
import { parseDuration } from "./duration.ts";
import { parseHostPort } from "./host-port.ts";
import type { JsonSchema } from "./json-schema.ts";
import { nearest } from "./nearest.ts";
import { parseSize } from "./size.ts";

/** Sections of a Teleport file that mcpgate has no use for; they load when they say `enabled: false`. */
export const FOREIGN_SERVICES = [
  ...["auth_service", "ssh_service", "kubernetes_service", "db_service", "windows_desktop_service"],
  ...["linux_desktop_service", "discovery_service", "okta_service", "jamf_service", "debug_service"],
  ...["metrics_service", "tracing_service", "relay_service"],
] as const;

/** What an editor is told of a value that only code can read (`json-schema.ts`). */
export const says = <T>(json: JsonSchema) => v.metadata<T, { json: JsonSchema }>({ json });
const DURATION = says<string>({ type: "string", pattern: "^(\\d{1,9}[smhd])+$" });

export const isMapping = (input: unknown): boolean =>
  typeof input === "object" && input !== null && !Array.isArray(input);

// valibot's strictObject takes an empty list for an object, hence the check before it
export function mapping<const E extends v.ObjectEntries>(entries: E) {
  const keys = Object.keys(entries).filter((key) => !(FOREIGN_SERVICES as readonly string[]).includes(key));
  const strict = v.strictObject(entries, (issue) => {
    if (issue.expected !== "never") return `is required\nadd there: ${issue.expected?.replaceAll('"', "")}: VALUE`;
    const near = nearest(String(issue.input), Object.keys(entries));
    return `unknown key\n${near === undefined ? `keys here: ${keys.join(", ")}` : `did you mean: ${near}`}`;
  });
  return v.pipe(
    v.custom<Record<string, unknown>>(
      isMapping,
      (issue) => `expected a mapping (key: value), got ${shown(issue.input)}`,
    ),
    {
      ...strict,
      "~run"(dataset: v.UnknownDataset, config: v.Config<v.BaseIssue<unknown>>) {
        const input = dataset.value as object;
        const ran = strict["~run"](dataset, config);
        tellOthers(strict, input, ran);
        return ran;
      },
    } as typeof strict,
  );
}

type Strict = v.StrictObjectSchema<v.ObjectEntries, v.ErrorMessage<v.StrictObjectIssue>>;

/** Unknown keys of one mapping that are told of; each takes a search for what it may have been meant to be. */
const MAX_TOLD = 20;

/** Valibot's `strictObject` tells of the first unknown key only. */
function tellOthers(strict: Strict, input: object, ran: v.OutputDataset<unknown, v.BaseIssue<unknown>>): void {
  const values = input as Record<string, unknown>;
  for (const key of Object.keys(input)
    .filter((each) => !Object.hasOwn(strict.entries, each))
    .slice(1, MAX_TOLD)) {
    const path: [v.ObjectPathItem] = [{ type: "object", origin: "key", input: values, key, value: values[key] }];
    v._addIssue(strict, "key", ran, {}, { input: key, expected: "never", path });
  }
}

export const text = v.pipe(
  v.string((issue) => `expected a string, got ${shown(issue.input)}`),
  v.check((value) => !value.includes("\0"), "holds a NUL character"),
);
export const filled = v.pipe(text, v.nonEmpty("is empty"));
/** The same where it may be a secret: what stands there instead is told to nobody. */
export const filledSecret = v.pipe(
  v.string("is no text\nput it in quotes"),
  v.check((value) => !value.includes("\0"), "holds a NUL character"),
  v.nonEmpty("is empty"),
);
export const words = v.array(text, (issue) => `expected a list, got ${shown(issue.input)}`);
export const texts = v.pipe(
  v.custom<Record<string, unknown>>(isMapping, (issue) => `expected a mapping (key: value), got ${shown(issue.input)}`),
  v.record(v.string(), text),
);

/** YAML 1.1 spellings too: files written for Teleport use them. */
export const flag = v.pipe(
  v.union(
    [v.boolean(), v.picklist(["yes", "no", "on", "off", "true", "false"])],
    (issue) => `expected true or false, got ${shown(issue.input)}`,
  ),
  v.transform((value) => value === true || value === "yes" || value === "on" || value === "true"),
);

export function oneOf<const T extends string>(choices: readonly T[], fold: (value: string) => string) {
  const spellings = choices.flatMap((each) => [each, each.toLowerCase(), each.toUpperCase()]);
  const accepted = [...new Set(spellings)].filter((each) => (choices as readonly string[]).includes(fold(each)));
  return v.pipe(
    text,
    says<string>({ type: "string", enum: accepted }),
    v.transform(fold),
    v.picklist(choices, (issue) => {
      const near = nearest(String(issue.input), choices);
      const hint = near === undefined ? "" : `\ndid you mean: ${near}`;
      return `expected ${choices.join(", ")}, got ${shown(issue.input)}${hint}`;
    }),
  );
}

export function address(o: { defaultHost?: string; defaultPort?: number; zero?: boolean }) {
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
export const age = v.pipe(
  text,
  DURATION,
  v.rawTransform(({ dataset, addIssue, NEVER }) => {
    const seconds = parseDuration(dataset.value);
    if (seconds !== undefined) return seconds;
    addIssue({ message: `${shown(dataset.value)} is no duration\nlike 12h, 30d or 365d` });
    return NEVER;
  }),
);

/** Bytes. */
export const size = v.pipe(
  text,
  says<string>({ type: "string", pattern: "^\\d{1,9}\\s?[KMGT]i?B$" }),
  v.rawTransform(({ dataset, addIssue, NEVER }) => {
    const bytes = parseSize(dataset.value);
    if (bytes !== undefined && bytes >= 1024 * 1024) return bytes;
    addIssue({ message: `${shown(dataset.value)} is no size from 1MiB\nlike 256MiB or 10GiB` });
    return NEVER;
  }),
);

export const exactly = (value: string): string => value;

export const duration = v.pipe(
  text,
  DURATION,
  v.rawTransform(({ dataset, addIssue, NEVER }) => {
    const seconds = parseDuration(dataset.value);
    if (seconds !== undefined && seconds <= 86400) return seconds;
    addIssue({ message: `${shown(dataset.value)} is no duration from 1s to 24h\nlike 90s, 10m or 1h` });
    return NEVER;
  }),
);

export const absolute = v.pipe(text, v.startsWith("/", "is not an absolute path"));

export function number(min: number, max: number, whole = false) {
  const what = whole ? "a whole number" : "a number";
  const message = (issue: { input: unknown }): string =>
    `expected ${what} from ${min} to ${max}, got ${shown(issue.input)}`;
  const ranged = v.pipe(v.number(message), v.minValue(min, message), v.maxValue(max, message));
  return whole ? v.pipe(ranged, v.integer(message)) : ranged;
}
export const count = number(1, 1_000_000, true);

/** Seconds; `0s` is at once. */
export const grace = v.pipe(
  text,
  DURATION,
  v.rawTransform(({ dataset, addIssue, NEVER }) => {
    const seconds = dataset.value === "0s" ? 0 : parseDuration(dataset.value);
    if (seconds !== undefined && seconds <= 300) return seconds;
    addIssue({ message: `${shown(dataset.value)} is no duration up to 5m\nlike 2s or 30s` });
    return NEVER;
  }),
);

/** Seconds; `0s` is at once. */
export const linger = v.pipe(
  text,
  DURATION,
  v.rawTransform(({ dataset, addIssue, NEVER }) => {
    const seconds = dataset.value === "0s" ? 0 : parseDuration(dataset.value);
    if (seconds !== undefined && seconds <= 86400) return seconds;
    addIssue({ message: `${shown(dataset.value)} is no duration up to 24h\nlike 90s, 5m or 1h` });
    return NEVER;
  }),
);

/** A value as it reads in a message; long ones cut. */
export function shown(input: unknown): string {
  if (input === null || input === undefined) return "nothing";
  if (Array.isArray(input)) return "a list";
  if (typeof input === "object") return "a mapping";
  const json = JSON.stringify(input);
  return json.length > 60 ? `${json.slice(0, 57)}…"` : json;
}
