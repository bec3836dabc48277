/** `mcpgate client config`: what an MCP client needs to know, printed or merged into its file. */
import { clientConfigPath, mergeServer, serverEntry } from "../client/config-file.ts";
import { pretty } from "../client/jsonc-edit.ts";
import { findApp } from "./client-ls.ts";
import { command } from "./command.ts";

export const config = command({
  args: {
    name: { type: "positional", description: "the app, as `mcpgate client ls` names it" },
    "client-config": {
      type: "string",
      valueHint: "claude|cursor|PATH",
      description: "write it into this file, keeping everything else in it",
    },
  },
  examples: [
    "mcpgate client config everything",
    "mcpgate client config everything --client-config=claude",
    "mcpgate client config everything --client-config=.cursor/mcp.json",
  ],
  async run(context, { name, "client-config": client }) {
    const app = await findApp(context, name);
    const [key, entry] = serverEntry(app.name, context.self, context.env);
    if (client === undefined) {
      const sample = pretty({ mcpServers: { [key]: entry } }, "", "  ", "\n");
      await context.out.print(`Found MCP servers:\n${app.name}\n\n${SAMPLE}${sample}\n\n${TIP}`);
      return;
    }
    const merged = mergeServer(clientConfigPath(client, context.env), key, entry);
    const lines = merged.changed
      ? [
          "Updated client configuration at:",
          merged.file,
          "",
          ...(merged.backup === undefined ? [] : [`The file as it was before is kept at ${merged.backup}`]),
          "You may need to restart the MCP client for it to notice.",
        ]
      : ["Client configuration is up to date at:", merged.file];
    await context.out.print(`${lines.join("\n")}\n`);
  },
});

const SAMPLE = "Here is a sample JSON configuration for launching mcpgate MCP servers:\n";
const TIP = `\
Tip: You can use this command to update your MCP servers configuration file automatically.
- For Claude Desktop, use --client-config=claude to update the default configuration.
- For Cursor, use --client-config=cursor to update the global MCP servers configuration.
In addition, you can use --client-config=<path> to specify a config file location that is compatible with the "mcpServers" mapping.
For example, you can update a Cursor project using --client-config=<path-to-project>/.cursor/mcp.json
`;
