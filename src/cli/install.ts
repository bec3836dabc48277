/** `mcpgate install systemd` */
import { existsSync, statSync } from "node:fs";
import { dirname, resolve } from "node:path";
import type { Config } from "../config/config.ts";
import { agentCredentials, proxyCredentials } from "../config/credentials.ts";
import { configFile, loadConfig } from "../config/load.ts";
import { Failure } from "../errors.ts";
import { agentUnit } from "../systemd/agent-unit.ts";
import { proxyUnit } from "../systemd/proxy-unit.ts";
import { DATA, STATE, within } from "../systemd/unit.ts";
import { command, configFlag } from "./command.ts";
import type { Context } from "./context.ts";
import { outputFlag, printOrMake } from "./new-file.ts";
import { notEnabled } from "./proxy.ts";

export const systemd = command({
  args: {
    for: {
      type: "enum",
      options: ["agent", "proxy"],
      description: "which service; what the configuration enables unless given",
    },
    user: {
      type: "string",
      valueHint: "NAME",
      description: "its account (agent: root, to become each server's; proxy: one of systemd's making)",
    },
    ...outputFlag,
    ...configFlag,
  },
  about: [
    "A unit for systemd (version 247 or later) that keeps the service running from the start of the host on: watched,",
    "restarted, and kept from what it does not need. The configuration is looked into for paths and times: where they",
    "change later, make the unit anew. An agent that is not root runs all of its servers under its own account.",
  ].join("\n"),
  examples: [
    "sudo mcpgate install systemd -o /etc/systemd/system/mcpgate.service && sudo systemctl enable --now mcpgate",
    "mcpgate install systemd --for=proxy --config=/etc/mcpgate-proxy.yaml",
  ],
  async run(context, { for: asked, user, output, config: path }) {
    const { file } = configFile({ path, env: context.env });
    // a unit may come before its configuration
    const env = { XDG_STATE_HOME: STATE };
    const config = existsSync(file) ? loadConfig({ path: file, env, uid: user === undefined ? 0 : -1 }) : undefined;
    const service = asked ?? serviceOf(config);
    const make = service === "agent" ? agentText : proxyText;
    const text = make({ context, config, file, user });
    await printOrMake(context, { output, text, mode: 0o644 });
    if (config === undefined) context.out.warning(`there is no ${file} yet: mcpgate ${service} configure --help`);
    const unit = output === undefined ? undefined : UNIT.exec(resolve(output))?.[1];
    if (unit !== undefined) {
      context.out.notice(
        `to start it, now and with the host: systemctl daemon-reload && systemctl enable --now ${unit}`,
      );
    }
  },
});

/** Where systemd looks for an administrator's units. */
const UNIT = /^\/etc\/systemd\/system\/([^/]+)\.service$/;

interface Wanted {
  context: Context;
  config: Config | undefined;
  file: string;
  user: string | undefined;
}

function agentText({ context, config, file, user }: Wanted): string {
  if (config !== undefined && config.app === undefined) {
    throw new Failure("config", notEnabled(file, "app_service"), { hint: "for a proxy: --for=proxy" });
  }
  if (user !== undefined) {
    warnUnreadable(context, file);
    for (const { name, mcp } of config?.app?.apps ?? []) {
      if (mcp.runAsHostUser === undefined || mcp.runAsHostUser === user) continue;
      context.out.warning(`the app ${name} will not start: an agent that is ${user} has no other run_as_host_user`);
    }
  }
  return agentUnit({
    program: context.self,
    config: file,
    user,
    dataDir: config?.dataDir ?? DATA,
    credentials: agentCredentials(config),
    drainSeconds: config?.app?.drainSeconds ?? 10,
    rootSandbox: config?.app?.apps.some(({ mcp }) => mcp.sandbox && mcp.runAsHostUser === "root") ?? false,
  });
}

function proxyText({ context, config, file, user }: Wanted): string {
  if (config !== undefined && config.proxy === undefined) {
    throw new Failure("config", notEnabled(file, "proxy_service"), { hint: "for an agent: --for=agent" });
  }
  const dataDir = config?.dataDir ?? DATA;
  if (user === undefined && within(STATE, dataDir) === undefined) {
    throw new Failure("config", `mcpgate.data_dir: ${dataDir} can't belong to an account of systemd's making`, {
      hint: `leave it out, so that it is ${DATA}, or give --user=NAME, the account that it belongs to`,
    });
  }
  for (const hidden of [...context.self, file].filter((each) => /^\/(home|root|run\/user|tmp|var\/tmp)\//.test(each))) {
    context.out.warning(`the proxy will not see ${hidden}: homes and /tmp are closed to it`);
  }
  warnUnreadable(context, file);
  const sinks = config?.proxy?.audit?.sinks ?? [];
  return proxyUnit({
    program: context.self,
    config: file,
    user,
    dataDir,
    port: config?.proxy?.listen.port ?? 443,
    credentials: proxyCredentials(config),
    sinkDirs: sinks.flatMap((sink) => (sink.type === "file" ? [dirname(sink.path)] : [])),
  });
}

function warnUnreadable({ out }: Context, file: string): void {
  const mode = statSync(file, { throwIfNoEntry: false })?.mode ?? 0o004;
  if ((mode & 0o004) === 0) out.warning(`${file} has to be readable for the account that the service runs under`);
}

function serviceOf(config: Config | undefined): "agent" | "proxy" {
  const [agent, proxy] = [config?.app !== undefined, config?.proxy !== undefined];
  if (agent !== proxy) return agent ? "agent" : "proxy";
  const why = agent ? "the configuration enables both services" : "no configuration says which service is meant";
  throw new Failure("usage", `--for is required: ${why}`, { hint: "--for=agent or --for=proxy" });
}
