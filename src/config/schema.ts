/**
 * The file's shape, strictly: unknown keys are errors. Messages are the end of a sentence that begins with the dotted
 * path; a second line, where there is one, is the hint. A key without a value (`description:`) counts as absent.
 */
import { isIP } from "node:net";
import * as v from "valibot";
import { app } from "./schema-app.ts";
import { allowCommands, resources } from "./schema-dynamic.ts";
import {
  absolute,
  address,
  age,
  duration,
  exactly,
  FOREIGN_SERVICES,
  filled,
  filledSecret,
  flag,
  grace,
  mapping,
  oneOf,
  says,
  shown,
  size,
  text,
} from "./schema-values.ts";

/** An address, or a network in CIDR form. */
const network = v.pipe(
  text,
  v.check((value) => {
    const [address = "", bits, ...rest] = value.split("/");
    const most = isIP(address) === 4 ? 32 : isIP(address) === 6 ? 128 : -1;
    return rest.length === 0 && most > 0 && (bits === undefined || (/^\d{1,3}$/.test(bits) && Number(bits) <= most));
  }, "is neither an IP address nor a network\nlike 10.0.0.0/8"),
);

const diagAddress = address({ defaultHost: "127.0.0.1", zero: true });

const general = mapping({
  data_dir: v.nullish(filled),
  diag_addr: v.nullish(
    v.lazy((input) =>
      input === "off" || input === false
        ? v.pipe(
            v.any(),
            says({ enum: ["off", false] }),
            v.transform(() => "off" as const),
          )
        : diagAddress,
    ),
  ),
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
  nodename: v.nullish(
    v.pipe(
      text,
      v.regex(
        /^[A-Za-z0-9][A-Za-z0-9._-]{0,252}$/,
        "is no name for an agent\n1 to 253 letters, digits, . _ and -, beginning with a letter or digit",
      ),
    ),
  ),
  proxy_server: v.nullish(address({ defaultPort: 443 })),
  join_params: v.nullish(
    mapping({
      method: v.nullish(
        oneOf(["token", "iam", "ec2"], (value) => value),
        "token",
      ),
      token_name: filledSecret,
    }),
  ),
  ca_pin: v.nullish(
    v.pipe(
      text,
      says<string>({ type: "string", pattern: "^[Ss][Hh][Aa]256:[0-9A-Fa-f]{64}$" }),
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
      filledSecret,
      v.regex(
        /^(file:.+|env:[A-Za-z_][A-Za-z0-9_]*)$/,
        "must say where the token is\nlike file:/etc/mcpgate/siem.token or env:SIEM_TOKEN",
      ),
    ),
  ),
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
      aws_certificates: v.nullish(filled),
      downloads_dir: v.nullish(filled),
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
      resources: v.nullish(resources),
      allow_commands: v.nullish(allowCommands),
      allow_cwd: v.nullish(v.array(absolute, (issue) => `expected a list, got ${shown(issue.input)}`)),
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
