/** `mcpgate agent start | status | check` */
import { packagesDirectory } from "../agent/package-pins.ts";
import type { Config } from "../config/config.ts";
import { diagAddress } from "../config/diag-address.ts";
import { loadConfig } from "../config/load.ts";
import { Failure } from "../errors.ts";
import { giveSigns, type Notifier, openNotifier } from "../systemd/notify.ts";
import { command, configFlag, formatFlag } from "./command.ts";
import { utc } from "./listing.ts";
import { render, table } from "./output.ts";
import { announce, notEnabled } from "./proxy.ts";
import { followConfig, type Reloading } from "./reload.ts";

/** After so long without the proxy the agent counts as started, milliseconds. */
const READY_MS = 20_000;
/** What a stop takes beside the time that open calls have. */
const STOP_SECONDS = 15;

export const start = command({
  args: configFlag,
  about: [
    "Joins the proxy (the first time with a join token, then with the key that it keeps), offers the apps of the",
    "configuration, and runs their servers when somebody connects. In the foreground; logs to stderr. One line on",
    "stdout says when it is ready. SIGTERM and SIGINT stop it and the servers that it started, once open calls are",
    "answered, or app_service.drain is over. SIGHUP, or a change of the file, reloads the configuration.",
  ].join("\n"),
  examples: ["mcpgate agent start", "mcpgate agent start --config=agent.yaml"],
  async run(context, { config: path }) {
    const config = loadConfig({ path, env: context.env, uid: context.uid });
    if (config.app === undefined) {
      throw new Failure("config", notEnabled(config.file, "app_service"), {
        hint: "mcpgate agent configure --help",
      });
    }
    const log = context.createLog(config.log);
    const argv = [...context.respawn, "agent", "start", ...(path === undefined ? [] : [`--config=${path}`])];
    const own = openNotifier(context.env);
    const guard = await context.services.openGuard({ argv, env: context.env, log, notifier: own });
    if (typeof guard === "number") return guard;
    const notifier = guard?.notifier ?? own;
    const stopSigns = giveSigns(notifier);
    let reloading: Reloading | undefined;
    let stopTelling = () => {};
    let drainSeconds = config.app.drainSeconds;
    const stopped = context.untilStopped().then(() => undefined);
    const agent = await context.services.startAgent({
      config,
      log,
      guard,
      diag: diagAddress(config, "agent"),
      self: [...context.respawn, "__exec"],
    });
    try {
      const apply = async (next: Config) => {
        await agent.reload(next);
        drainSeconds = next.app?.drainSeconds ?? drainSeconds;
      };
      const status = (): string => {
        const apps = agent.offers();
        return apps === undefined ? "not connected to the proxy; dialling on" : `offers ${named(apps)}`;
      };
      reloading = followConfig(context, { service: "agent", path, config, log, notifier, status, apply });
      // A proxy that is down is no reason to hold up the start of the host.
      const late = setTimeout(() => notifier.ready("the proxy can't be reached; dialling on"), READY_MS);
      const ready = await Promise.race([agent.ready, stopped, agent.closed.then(() => undefined)]);
      clearTimeout(late);
      if (ready === undefined) return 0;
      const offers = `offers ${named(ready.apps)}`;
      await announce(context, `mcpgate agent ${ready.agent} is ready and ${offers}\n`);
      notifier.ready(offers);
      stopTelling = keepTold(notifier, offers, status);
      await Promise.race([stopped, agent.closed, reloading.hungUp]);
      return 0;
    } finally {
      stopTelling();
      reloading?.stop();
      notifier.stopping(drainSeconds + STOP_SECONDS);
      stopSigns();
      await agent.stop();
    }
  },
});

/** How often systemd's one line about the agent is looked at, milliseconds. */
const TELL_MS = 1_000;

/** Tells systemd when the line is another one. Until it is told to stop. */
function keepTold(notifier: Notifier, first: string, status: () => string): () => void {
  let told = first;
  const timer = setInterval(() => {
    const now = status();
    if (now === told) return;
    told = now;
    notifier.status(now);
  }, TELL_MS);
  timer.unref();
  return () => clearInterval(timer);
}

const named = (apps: readonly string[] = []): string => (apps.length === 0 ? "no apps" : apps.join(", "));

export const status = command({
  args: { ...formatFlag, ...configFlag },
  about: [
    "What the agent that runs on this host says of itself: its connection, its apps and how their last start went, its",
    "sessions, and the ledger of its servers' processes (started = ended + running, or something has leaked).",
  ].join("\n"),
  examples: ["mcpgate agent status", "mcpgate agent status --format=json"],
  async run(context, { config: path, format }) {
    const { dataDir } = loadConfig({ path, env: context.env, uid: context.uid });
    const now = await context.services.loadAgentStatus(dataDir);
    const { spawned, exited, running } = now.servers;
    const text = () =>
      [
        `Agent:       ${now.agent} (pid ${now.pid}, version ${now.version})`,
        `Proxy:       ${now.connected ? "connected" : "not connected"}, ${now.pending_events} events to send`,
        `Supervision: ${now.containment}${now.guard ? " and guard" : ""}`,
        `Servers:     ${spawned} started, ${exited} ended, ${running} running`,
        "",
        table(
          ["App", "Sessions", "Spares", "Last Start", "Since (UTC)", "Pinned To", "Error"],
          now.apps.map(({ app, sessions, spares = 0, state, at, pinned, error, refused }) => [
            ...[app, sessions, spares, refused === undefined ? state : "refused", utc(at), pinned, refused ?? error],
          ]),
        ),
      ].join("\n");
    await context.out.print(await render(format, now, text));
    return 0;
  },
});

export const check = command({
  args: {
    app: { type: "positional", required: false, description: "one app of the configuration; all of them unless told" },
    ...formatFlag,
    ...configFlag,
  },
  about: [
    "Starts each app's server as a session would, asks it for its tools in both of the protocol's eras, and says what is",
    "wrong and what to do. Needs no proxy, and does not touch an agent that runs. Exit code 1 when something is wrong.",
  ].join("\n"),
  examples: ["sudo mcpgate agent check", "sudo mcpgate agent check everything", "mcpgate agent check --format=json"],
  async run(context, { app, config: path, format }) {
    const config = loadConfig({ path, env: context.env, uid: context.uid });
    if (config.app === undefined) throw new Failure("config", notEnabled(config.file, "app_service"));
    const results = await context.services.checkApps({
      service: config.app,
      only: app,
      self: [...context.respawn, "__exec"],
      log: context.createLog({ ...config.log, severity: "ERROR" }),
      packages: packagesDirectory(config.dataDir),
      stopped: context.untilStopped(),
    });
    const row = (each: (typeof results)[number]) => [
      each.app,
      each.ok ? "ok" : "failing",
      each.revision,
      each.tools,
      each.ms === undefined ? undefined : `${each.ms} ms`,
      each.server,
    ];
    const text = () => table(["App", "State", "Revision", "Tools", "Answers In", "Server"], results.map(row));
    await context.out.print(await render(format, results, text));
    if (config.app.apps.length === 0) {
      context.out.notice(
        "no apps in this file; what app resources start is tried by sessions only: mcpgate agent status",
      );
    }
    if (format === "text") {
      for (const { app: name, problems } of results) {
        for (const { message, hint } of problems) {
          context.out.error(new Failure("start_failed", `${name}: ${message}`, { hint }));
        }
      }
    }
    const complete = app !== undefined || results.length === config.app.apps.length;
    return complete && results.every(({ ok }) => ok) ? 0 : 1;
  },
});
