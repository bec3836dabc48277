/** What the unit files for systemd share (systemd.unit(5), systemd.service(5), systemd.exec(5)). */
import { Failure } from "../errors.ts";

export interface UnitOptions {
  /** The words that start this program, the first with an absolute path. */
  program: readonly string[];
  /** Absolute path of the configuration file. */
  config: string;
  /** The account that the service runs under, where it is not the unit's own choice. */
  user?: string | undefined;
  /** Absolute; the service's data lies in a directory of its own under it. */
  dataDir: string;
  /** Files that the service's own user may not be able to read, by the names of their credentials. */
  credentials: Record<string, string>;
}

/** Where systemd puts the state of services (`StateDirectory=`), and their logs (`LogsDirectory=`). */
export const [STATE, LOGS] = ["/var/lib", "/var/log"];
/** Where the data lies unless the configuration says otherwise. */
export const DATA = `${STATE}/mcpgate`;

/** `ExecStart=`: no shell reads it. @throws Failure `usage`. */
export const words = (all: readonly string[]): string => all.map(word).join(" ");

/** One path or name as it stands in a unit. @throws Failure `usage` where it can't: white space, quotes and `$` mean something. */
export function word(text: string): string {
  if (/^[\w./@+,=~%-]+$/.test(text)) return text.replaceAll("%", "%%");
  throw new Failure("usage", `${JSON.stringify(text)} can't stand in a unit file`, {
    hint: "choose a path of letters, digits and . / @ + , = ~ % - _",
  });
}

/** A unit whose credential is missing does not start, unless there is a text that stands in for it: a lone line feed. */
export const credentialLines = (files: Record<string, string>): string =>
  Object.entries(files)
    .map(([name, file]) => `LoadCredential=${word(name)}:${word(file)}\nSetCredential=${word(name)}:\\n\n`)
    .join("");

/** What both services are to systemd. */
export const common = (o: UnitOptions, service: "agent" | "proxy"): string => `\
Type=notify
NotifyAccess=main
WatchdogSec=30
ExecStart=${words([...o.program, service, "start", `--config=${o.config}`])}
ExecReload=/bin/kill -HUP $MAINPID
# For what is read from the environment: HTTPS_PROXY, NO_PROXY, OTEL_*, and env:NAME in the configuration.
EnvironmentFile=-/etc/default/mcpgate
Restart=always
RestartSec=${service === "agent" ? 5 : 1}
# A configuration that is wrong does not get better by being tried again.
RestartPreventExitStatus=2
TimeoutStartSec=300
LimitNOFILE=524288
LimitCORE=0
`;

export const head = (service: "agent" | "proxy", what: string): string => `\
# ${what} Made by \`mcpgate install systemd\`.
# What is to differ on this host belongs in a drop-in, which stays when this file is made anew: systemctl edit UNIT
[Unit]
Description=mcpgate ${service}
Wants=network-online.target
After=network-online.target
StartLimitIntervalSec=0

[Service]
`;

export const TAIL = `
[Install]
WantedBy=multi-user.target
`;

/** `path` seen from `directory`, where it lies below it. */
export function within(directory: string, path: string): string | undefined {
  return path.startsWith(`${directory}/`) ? path.slice(directory.length + 1) : undefined;
}
