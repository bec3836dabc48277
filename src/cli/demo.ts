/** `mcpgate demo`, and the MCP server that it offers. */
import { command } from "./command.ts";

export const demo = command({
  args: {
    once: { type: "boolean", description: "end after the tour instead of staying up" },
  },
  about: [
    "Starts a proxy, an agent and two apps on this machine in a directory of their own, and shows a join, a login,",
    "a filtered list of tools, a call that is allowed, one that is not, and what the audit log says of them. Then it",
    "stays up for an MCP client to try, until Ctrl-C.",
  ].join("\n"),
  examples: ["mcpgate demo", "mcpgate demo --once"],
  run: async ({ services, out, self, env, untilStopped }, { once }) =>
    await services.runDemo({
      once: once === true,
      print: (line) => out.print(`${line}\n`),
      self,
      env,
      stopped: untilStopped(),
    }),
});

export const demoServer = command({
  args: {},
  run: async ({ services }) => {
    await services.runDemoServer();
  },
});
