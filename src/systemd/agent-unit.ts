/** The unit of an agent. */
import { common, credentialLines, head, STATE, TAIL, type UnitOptions, within, word } from "./unit.ts";

export interface AgentUnitOptions extends UnitOptions {
  /** Seconds that open calls have when the agent is stopped. */
  drainSeconds: number;
  /** Whether a server is to run as root and in a sandbox, which root can't make without further rights. */
  rootSandbox: boolean;
}

/**
 * With `user` the agent and all of its servers are that account, and can be kept from more. Without, the agent is root, to
 * become each server's host user: what is taken from it is what neither it nor servers of ordinary accounts can use.
 *
 * Left alone, because servers are anybody's programs: homes, devices, `/tmp` (where other services have sockets), namespaces
 * and the mounts of /proc (bubblewrap and podman make their own).
 */
export function agentUnit(o: AgentUnitOptions): string {
  return `\
${head("agent", "The agent of mcpgate: it offers this host's MCP servers.")}\
# MCP servers run in this unit, too: systemd believes its first process only.
${common(o, "agent")}\
TimeoutStopSec=${o.drainSeconds + 15}
# The agent ends its servers itself, once open calls are answered; what is left then is killed.
KillMode=mixed
# A control group for each server. One that runs out of memory is no reason to stop the others.
Delegate=yes
OOMPolicy=continue
TasksMax=infinity
# The join token, for the first start; the file may go after that.
${credentialLines(o.credentials)}\
${o.user === undefined ? asRoot(o.rootSandbox) : asUser(o.user, within(STATE, o.dataDir))}\
ProtectSystem=full
ProtectKernelModules=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK
RestrictRealtime=yes
LockPersonality=yes
KeyringMode=private
SystemCallArchitectures=native
SystemCallFilter=~@clock @cpu-emulation @module @obsolete @raw-io @reboot @swap
SystemCallErrorNumber=EPERM
UMask=0077
${TAIL}`;
}

const asRoot = (sandbox: boolean): string => `
# To become the servers' host users, to signal them, to tell whose a process is, to read what the configuration names.
CapabilityBoundingSet=CAP_SETUID CAP_SETGID CAP_KILL CAP_SYS_PTRACE CAP_DAC_READ_SEARCH
# For servers that run_as_host_user: root.
CapabilityBoundingSet=CAP_DAC_OVERRIDE CAP_CHOWN CAP_FOWNER
${sandbox ? "# For the sandbox of one of these.\nCapabilityBoundingSet=CAP_SYS_ADMIN CAP_NET_ADMIN\n" : ""}\
# Not NoNewPrivileges: servers of ordinary accounts may need newuidmap, sudo and the like.
`;

const asUser = (user: string, state: string | undefined): string => `
User=${word(user)}
Environment=XDG_STATE_HOME=${STATE}
${state === undefined ? "" : `StateDirectory=${word(`${state}/agent`)} ${word(`${state}/packages`)}\nStateDirectoryMode=0700\n`}\
CapabilityBoundingSet=
NoNewPrivileges=yes
RestrictSUIDSGID=yes
ProtectHostname=yes
`;
