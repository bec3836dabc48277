/** `mcpgate proxy start` */
import type { Config } from "../config/config.ts";
import { diagAddress } from "../config/diag-address.ts";
import { loadConfig } from "../config/load.ts";
import { Failure } from "../errors.ts";
import { giveSigns, openNotifier } from "../systemd/notify.ts";
import { command, configFlag } from "./command.ts";
import type { Context } from "./context.ts";
import { ClosedOutput } from "./output.ts";
import { followConfig } from "./reload.ts";

/** What a stop takes at the most (`proxy/start.ts`), and some more. */
const STOP_SECONDS = 15;

export const start = command({
  args: configFlag,
  about: [
    "Runs in the foreground and logs to stderr. One line on stdout says when it is ready, with the address",
    "that agents and clients dial and the CA pin that they check. SIGTERM and SIGINT stop it; SIGHUP, or a change of the",
    "file or of a certificate that it names, reloads the configuration.",
  ].join("\n"),
  examples: ["mcpgate proxy start", "mcpgate proxy start --config=proxy.yaml"],
  async run(context, { config: path }) {
    const config = loadConfig({ path, env: context.env, uid: context.uid });
    if (config.proxy === undefined) {
      throw new Failure("config", notEnabled(config.file, "proxy_service"), {
        hint: "mcpgate proxy configure --help",
      });
    }
    // before the start, so that a signal that comes while it starts stops it cleanly too
    const stopped = context.untilStopped();
    const notifier = openNotifier(context.env);
    const log = context.createLog(config.log);
    const proxy = await context.services.startProxy({
      config,
      log,
      print: (text) => context.out.print(text),
      diag: diagAddress(config, "proxy"),
      program: compiledProgram(context),
    });
    const apply = (next: Config) => proxy.reload(next);
    const status = () => `ready at ${proxy.ready.publicAddr}`;
    const reloading = followConfig(context, { service: "proxy", path, config, log, notifier, status, apply });
    const stopSigns = giveSigns(notifier, () => proxy.alive());
    try {
      const { address, publicAddr, caPin } = proxy.ready;
      const listening = address === publicAddr ? "" : ` (listening on ${address})`;
      const trust =
        caPin === undefined ? `certificate from ${config.proxy.certFile ?? "elsewhere"}` : `CA pin ${caPin}`;
      await announce(context, `mcpgate proxy is ready at ${publicAddr}${listening}, ${trust}\n`);
      notifier.ready(status());
      await Promise.race([stopped, proxy.closed, reloading.hungUp]);
    } finally {
      notifier.stopping(STOP_SECONDS);
      stopSigns();
      reloading.stop();
      await proxy.stop();
    }
  },
});

/** This very program, also when another one has taken its place on disk; undefined where it runs from source. */
function compiledProgram({ respawn }: Context): string | undefined {
  return respawn.length === 1 ? respawn[0] : undefined;
}

/** The one line of a service; it runs on where nobody reads it. */
export async function announce({ out }: Context, line: string): Promise<void> {
  try {
    await out.print(line);
  } catch (error) {
    if (!(error instanceof ClosedOutput)) throw error;
  }
}

export const notEnabled = (file: string | undefined, service: string): string =>
  file === undefined ? `no configuration file, so ${service} is not enabled` : `${file}: ${service} is not enabled`;
