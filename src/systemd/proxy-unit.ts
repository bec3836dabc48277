/**
 * The unit of a proxy: nothing but the proxy runs in it, so it gets what the proxy needs and nothing else.
 * `dataDir` has to lie under /var/lib, unless there is a `user` to whom it belongs.
 */
import { common, credentialLines, head, LOGS, STATE, TAIL, type UnitOptions, within, word } from "./unit.ts";

export interface ProxyUnitOptions extends UnitOptions {
  /** Where it listens. */
  port: number;
  /** Directories of files that it appends to. */
  sinkDirs: readonly string[];
}

/** Below it only root, and who was given that capability, may listen. */
const FIRST_FREE_PORT = 1024;

export function proxyUnit(o: ProxyUnitOptions): string {
  const { user, dataDir, port, sinkDirs } = o;
  const bind = port > 0 && port < FIRST_FREE_PORT ? "CAP_NET_BIND_SERVICE" : "";
  const state = within(STATE, `${dataDir}/proxy`);
  const logs = new Set(["mcpgate", ...sinkDirs.flatMap((dir) => within(LOGS, dir) ?? [])]);
  const elsewhere = [
    ...(state === undefined ? [`${dataDir}/proxy`] : []),
    ...sinkDirs.filter((dir) => within(LOGS, dir) === undefined),
  ];
  return `\
${head("proxy", "The proxy of mcpgate.")}\
${common(o, "proxy")}\
TimeoutStopSec=20
KillMode=mixed
${
  Object.keys(o.credentials).length === 0
    ? ""
    : `\
# Files that only root can read. They are read when the service starts: after a new certificate, restart it (clients wait).
${credentialLines(o.credentials)}`
}
# An account that exists as long as the service runs, unless the host has one of that name.
User=${word(user ?? "mcpgate-proxy")}
${user === undefined ? "DynamicUser=yes\n" : ""}\
Environment=XDG_STATE_HOME=${STATE}
${state === undefined ? "" : `StateDirectory=${word(state)}\nStateDirectoryMode=0700\n`}\
LogsDirectory=${[...logs].map(word).join(" ")}
LogsDirectoryMode=0750
${elsewhere.length === 0 ? "" : `ReadWritePaths=${elsewhere.map(word).join(" ")}\n`}\
CapabilityBoundingSet=${bind}
AmbientCapabilities=${bind}
${bind === "" ? "PrivateUsers=yes\n" : ""}\
NoNewPrivileges=yes
ProtectSystem=strict
ProtectHome=yes
PrivateTmp=yes
PrivateDevices=yes
ProtectKernelTunables=yes
ProtectKernelModules=yes
ProtectKernelLogs=yes
ProtectControlGroups=yes
ProtectClock=yes
ProtectHostname=yes
ProtectProc=invisible
ProcSubset=pid
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
RemoveIPC=yes
KeyringMode=private
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallFilter=~@privileged @resources
SystemCallErrorNumber=EPERM
UMask=0077
# Not MemoryDenyWriteExecute: the JavaScript engine compiles what it runs often.
${TAIL}`;
}
