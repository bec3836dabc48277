/** `mcpgate client connect`: the command that MCP clients start. Loads nothing that it does not need. */
import { command } from "./command.ts";

export const connect = command({
  args: {
    name: { type: "positional", description: "the app, as `mcpgate client ls` names it" },
  },
  about: [
    "MCP clients start this; `mcpgate client config NAME` writes their configuration. stdin and stdout carry MCP and",
    "nothing else. Where it can't connect, the first request gets an MCP error that says what to do.",
  ].join("\n"),
  examples: ["mcpgate client connect everything"],
  async run(context, { name }) {
    const { clientHome } = await import("../client/state.ts");
    const home = clientHome(context.env);
    const log = context.createLog({ severity: "WARN" });
    return await context.services.runConnect({ app: name, home, log, stopped: context.untilStopped() });
  },
});
