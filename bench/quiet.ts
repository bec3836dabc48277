/**
 * mcpgate without its spool, for measuring what the spool costs: built here, from the sources as they are, with one module
 * replaced while it is bundled. The product has no such switch, and no such binary leaves the benchmark's directory.
 */
import { buildOptions } from "../build-options.ts";

const STUB = `
export class Spool {
  onAppend; previous = undefined; pending = 0; acked = 0; bytes = 0;
  static open() { return new Spool(); }
  append() {} begin() {} ack() {} close() {}
  next() { return { first: 1, count: 0, lines: Buffer.alloc(0) }; }
}`;

export async function buildBinary(outfile: string, { audit }: { audit: boolean }): Promise<string> {
  let replaced = false;
  const result = await Bun.build({
    ...buildOptions(outfile),
    plugins: audit
      ? []
      : [
          {
            name: "no spool",
            setup(build) {
              build.onLoad({ filter: /src\/audit\/spool\.ts$/ }, () => {
                replaced = true;
                return { contents: STUB, loader: "js" };
              });
            },
          },
        ],
  });
  if (!result.success) throw new AggregateError(result.logs, `build failed: ${outfile}`);
  if (!audit && !replaced) throw new Error("src/audit/spool.ts is not where it was");
  return outfile;
}
