/** `mcpgate agent pin` */
import { packagesDirectory } from "../agent/package-pins.ts";
import { loadConfig } from "../config/load.ts";
import { Failure } from "../errors.ts";
import { command, configFlag, formatFlag } from "./command.ts";
import { utc } from "./listing.ts";
import { render, table } from "./output.ts";
import { notEnabled } from "./proxy.ts";

export const pin = command({
  args: {
    app: { type: "positional", required: false, description: "one app of the configuration; all of them unless told" },
    update: { type: "boolean", description: "resolve again what is pinned already" },
    remove: { type: "boolean", description: "let the app run what its configuration says again" },
    list: { type: "boolean", description: "show what is pinned, and change nothing" },
    ...formatFlag,
    ...configFlag,
  },
  about: [
    "Resolves the packages of apps that run through npx or uvx to exact versions, and installs each with a lock file",
    "(which has the hash of every package) into the agent's data directory. From then on the agent runs that copy:",
    "nothing is downloaded when a session starts, and nothing changes by itself. A server's host user can read its copy",
    "and not write it (unless it is the agent's own user). Where the configuration asks for something else than what was",
    "pinned, the app does not start until it is pinned again. Needs npm or uv, and the registry, now and not later.",
    "Install scripts of packages are left out.",
  ].join("\n"),
  examples: ["sudo mcpgate agent pin", "sudo mcpgate agent pin everything --update", "mcpgate agent pin --list"],
  async run(context, { app, update, remove, list, config: path, format }) {
    const config = loadConfig({ path, env: context.env, uid: context.uid });
    if (config.app === undefined) throw new Failure("config", notEnabled(config.file, "app_service"));
    const chosen = [update && "update", remove && "remove", list && "list"].filter((each) => typeof each === "string");
    if (chosen.length > 1) throw new Failure("usage", `--${chosen[0]} and --${chosen[1]} exclude each other`);
    if (remove && app === undefined) {
      throw new Failure("usage", "--remove needs the name of an app", { hint: "mcpgate agent pin --list" });
    }
    const results = await context.services.pinPackages({
      apps: config.app.apps,
      only: app,
      how: update ? "update" : remove ? "remove" : list ? "list" : "keep",
      packages: packagesDirectory(config.dataDir),
      env: context.env,
      say: (line) => context.out.notice(line),
    });
    const shown = results.map(({ error, ...each }) => ({ ...each, ...(error === undefined ? {} : error.toJSON()) }));
    const row = (each: (typeof results)[number]) => [each.app, each.state, each.pin, utc(each.pinned_at), each.path];
    const text = () => table(["App", "State", "Pinned To", "Since (UTC)", "Copy"], results.map(row));
    await context.out.print(await render(format, shown, text));
    for (const { app: name, scripts, error } of results) {
      if (scripts !== undefined) {
        context.out.notice(
          `${name}: install scripts were left out, of: ${scripts.join(", ")}; mcpgate agent check ${name}`,
        );
      }
      if (error !== undefined && format === "text") {
        context.out.error(new Failure(error.code, `${name}: ${error.message}`, { hint: error.hint }));
      }
    }
    return results.some(({ state }) => state === "failing") ? 1 : 0;
  },
});
