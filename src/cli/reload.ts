/** What `proxy start` and `agent start` do about a configuration that changes while they run. */
import { waitingForRestart } from "../config/changes.ts";
import type { Config } from "../config/config.ts";
import { followFiles } from "../config/follow.ts";
import { loadConfig } from "../config/load.ts";
import { Failure } from "../errors.ts";
import type { RootLog } from "../log.ts";
import type { Notifier } from "../systemd/notify.ts";
import { watchTerminal } from "../terminal.ts";
import type { Context } from "./context.ts";

export interface ReloadOptions {
  service: "proxy" | "agent";
  /** `--config`. */
  path: string | undefined;
  /** As the service was started with. */
  config: Config;
  log: RootLog;
  notifier: Notifier;
  /** The service, for systemd's one line about it. */
  status(config: Config): string;
  /** The service takes over what it can. Throws where the file asks for what can't be: then the old one stays. */
  apply(config: Config): Promise<void>;
}

export interface Reloading {
  stop(): void;
  /** Resolves when the terminal that the service runs in is closed. */
  hungUp: Promise<void>;
}

/** Loads the configuration anew at SIGHUP and when its file, or a certificate that it names, has changed. */
export function followConfig(context: Context, o: ReloadOptions): Reloading {
  const { service, path, config, log, notifier, apply } = o;
  let current = config;
  let work = Promise.resolve();
  const isTerminalLost = watchTerminal();
  const hungUp = Promise.withResolvers<void>();
  const reload = (why: string) => {
    work = work.then(async () => {
      notifier.reloading();
      try {
        const next = loadConfig({ path, env: context.env, uid: context.uid });
        await apply(next);
        log.setSeverity(next.log.severity);
        const waiting = waitingForRestart(service, current, next);
        if (waiting.length > 0) log.warn("config.needs_restart", { keys: waiting.join(",") });
        current = next;
        log.info("config.reloaded", { why });
        notifier.ready(o.status(next));
      } catch (error) {
        const { message, hint } = Failure.from(error);
        log.error("config.refused", { error: message, hint, kept: "the configuration as it was" });
        notifier.ready(`goes on with the configuration as it was: ${message}`);
      }
    });
  };
  const unfollow = followFiles({
    files: () => [current.file, current.proxy?.certFile, current.proxy?.keyFile].filter((file) => file !== undefined),
    onChange: () => reload("a file has changed"),
  });
  const unhook = context.onHangUp(() => (isTerminalLost() ? hungUp.resolve() : reload("SIGHUP")));
  return {
    hungUp: hungUp.promise,
    stop() {
      unfollow();
      unhook();
    },
  };
}
