/** `mcpgate agent start` */
import { loadConfig } from "../config/load.ts";
import { Failure } from "../errors.ts";
import { command, configFlag } from "./command.ts";
import { announce, notEnabled } from "./proxy.ts";

export const start = command({
  args: configFlag,
  about: [
    "Joins the proxy (the first time with a join token, then with the key that it keeps), offers the apps of the",
    "configuration, and runs their servers when somebody connects. In the foreground; logs to stderr. One line on",
    "stdout says when it is ready. SIGTERM and SIGINT stop it and the servers that it started.",
  ].join("\n"),
  examples: ["mcpgate agent start", "mcpgate agent start --config=agent.yaml"],
  async run(context, { config: path }) {
    const config = loadConfig({ path, env: context.env, uid: context.uid });
    if (config.app === undefined) {
      throw new Failure("config", notEnabled(config.file, "app_service"), {
        hint: "on the proxy's host, `mcpgate tokens add --type=app` prints a configuration to begin from",
      });
    }
    const stopped = context.untilStopped().then(() => undefined);
    const agent = await context.services.startAgent({
      config,
      log: context.createLog(config.log),
      self: [...context.respawn, "__exec"],
    });
    try {
      const ready = await Promise.race([agent.ready, stopped, agent.closed.then(() => undefined)]);
      if (ready === undefined) return;
      const apps = ready.apps.length === 0 ? "no apps" : ready.apps.join(", ");
      await announce(context, `mcpgate agent ${ready.agent} is ready and offers ${apps}\n`);
      await Promise.race([stopped, agent.closed]);
    } finally {
      await agent.stop();
    }
  },
});
