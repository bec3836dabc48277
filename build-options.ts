/** How the one binary is built: by `build.ts`, and by the benchmark, which replaces a part of it. */
import { join } from "node:path";

const src = join(import.meta.dir, "src");

/** `target`: the platform to build for, as Bun names it; this one unless told. */
export const buildOptions = (outfile: string, target?: Bun.Build.CompileTarget): Bun.BuildConfig => ({
  // the second is a thread of its own: `proxy/store-thread.ts`
  entrypoints: [join(src, "main.ts"), join(src, "proxy/store-worker.ts")],
  compile: {
    outfile,
    ...(target === undefined ? {} : { target }),
    // A compiled binary otherwise loads ./.env and runs the preloads of ./bunfig.toml of whatever directory it is
    // started in: a hostile working directory would run code as whoever starts mcpgate there.
    autoloadDotenv: false,
    autoloadBunfig: false,
    autoloadTsconfig: false,
    autoloadPackageJson: false,
  },
  target: "bun",
  minify: { syntax: true, whitespace: true, identifiers: false },
  // Start-up counts: an MCP client waits for `client connect`, and each server for its exec helper. In chunks, a command loads
  // what it needs: 15 ms instead of 23, and 10 MB less.
  bytecode: true,
  format: "esm",
  splitting: true,
});
