/** Starts one server process: as its host user, within its limits, in its sandbox. */
import type { Limits, Sandbox } from "../config/config.ts";
import { Failure } from "../errors.ts";
import type { Containment } from "./containment.ts";
import type { SpareExecHelper } from "./exec-helper.ts";
import { type AccountDatabase, chooseHostUser, hostAccounts } from "./host-user.ts";
import { type Environment, type Orders, serverEnvironment } from "./launch.ts";
import { type Ledger, serverLedger } from "./ledger.ts";
import { planLimits } from "./limits.ts";
import { type ProcessOptions, RunningServer, type ServerProcess } from "./process.ts";
import { sandboxed } from "./sandbox.ts";
import { spawnServer } from "./spawn.ts";

export interface StartOptions extends ProcessOptions {
  /** A bare name is looked up in the host user's `PATH`, with that user's rights. */
  command: string;
  args: string[];
  /** The app's own environment, laid over the one that `launch.ts` makes. */
  env?: Environment | undefined;
  /** Has to exist; unless given: the host user's home, or `/` where that can't be entered. */
  cwd?: string | undefined;
  /** Required when the agent is root (`root` says so in so many words); otherwise the agent's own user or nothing. */
  hostUser?: string | undefined;
  /** Argv prefix that starts our own binary as the exec helper, such as `["/proc/self/exe", "__exec"]`. Linux only. */
  self: string[];
  /** Has an exec helper ready. */
  helpers?: SpareExecHelper | undefined;
  ledger?: Ledger | undefined;
  /** Ends what flees the server's process group; without it such processes are out of reach. */
  containment?: Containment | undefined;
  limits?: Limits | undefined;
  sandbox?: Sandbox | undefined;
  accounts?: AccountDatabase | undefined;
  /** The agent's own environment. */
  inherited?: Record<string, string | undefined> | undefined;
}

/** Failure `start_failed` (no such user or command, not executable, not root, …) unless the program runs. */
export async function startServer(o: StartOptions): Promise<ServerProcess> {
  const { user, switching } = await chooseHostUser(o.hostUser, o.accounts ?? hostAccounts);
  const plan = planLimits(o.limits ?? {}, o.containment?.controllers ?? new Set(), user.uid === 0);
  const program =
    o.sandbox === undefined
      ? { command: o.command, args: o.args }
      : sandboxed({ sandbox: o.sandbox, command: o.command, args: o.args, home: user.home, cwd: o.cwd });
  const orders: Orders = {
    v: 1,
    agentPid: process.pid,
    ...program,
    env: serverEnvironment({ user, switching, given: o.env, inherited: o.inherited }),
    // In a sandbox, the directory need not be there outside of it.
    cwd: o.sandbox === undefined ? o.cwd : "/",
    home: user.home,
    rlimits: plan.rlimits,
    grouped: Object.keys(plan.group).length > 0,
    switchTo: switching ? { name: user.name, uid: user.uid, gid: user.gid } : undefined,
  };
  const strings = [o.command, ...o.args, o.cwd ?? ""];
  if (o.command === "" || strings.some((text) => text.includes("\0"))) {
    throw new Failure("start_failed", "mcp.command is empty, or a zero byte is in it, in mcp.args or in mcp.cwd", {
      hint: "correct the app's definition",
    });
  }
  const enclosure = o.containment?.enclose(plan.group);
  Object.assign(orders.env, enclosure?.env);
  try {
    const ledger = o.ledger ?? serverLedger;
    const spawned = await spawnServer({
      ...{ orders, ledger, self: o.self, helpers: o.helpers, enclosure },
      makeGroup: () => o.containment?.makeGroup(),
    });
    o.log.info("server.start", { pid: spawned.pid, host_user: user.name });
    return new RunningServer(spawned, o, enclosure);
  } catch (error) {
    await enclosure?.end();
    throw error;
  }
}
