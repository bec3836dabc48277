/** `mcpgate version` */
import { VERSION } from "../version.ts";
import { command, formatFlag } from "./command.ts";
import { render } from "./output.ts";

export const version = command({
  args: formatFlag,
  examples: ["mcpgate version --format=json"],
  async run(context, { format }) {
    const platform = `${process.platform}-${process.arch}`;
    const value = { version: VERSION, platform, bun: Bun.version };
    await context.out.print(await render(format, value, () => `mcpgate ${VERSION} ${platform}\n`));
  },
});
