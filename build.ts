/**
 * Builds the one binary: `bun build.ts` for this platform (dist/mcpgate), `bun build.ts --all` for all of them
 * (dist/mcpgate-PLATFORM and SHA256SUMS).
 */
import { createHash } from "node:crypto";
import { mkdirSync, renameSync } from "node:fs";
import { join } from "node:path";
import { buildOptions } from "./build-options.ts";
import { PLATFORMS, type Platform, programName } from "./src/proxy/platforms.ts";

const dist = join(import.meta.dir, "dist");
mkdirSync(dist, { recursive: true });

async function build(outfile: string, platform?: Platform): Promise<void> {
  // A name of its own until it is whole: a build that fails or is interrupted leaves the last good binary in place.
  const partial = `${outfile}.building`;
  const target = platform === undefined ? undefined : (`bun-${platform}` as Bun.Build.CompileTarget);
  const result = await Bun.build(buildOptions(partial, target));
  if (!result.success) throw new AggregateError(result.logs, `build failed: ${outfile}`);
  const made = platform?.startsWith("windows") ? `${partial}.exe` : partial;
  renameSync(made, outfile);
}

if (process.argv.includes("--all")) {
  const sums: string[] = [];
  for (const platform of PLATFORMS) {
    const name = programName(platform);
    await build(join(dist, name), platform);
    const hash = createHash("sha256").update(await Bun.file(join(dist, name)).bytes());
    sums.push(`${hash.digest("hex")}  ${name}\n`);
    console.error(`built dist/${name}`);
  }
  await Bun.write(join(dist, "SHA256SUMS"), sums.join(""));
} else {
  await build(join(dist, process.platform === "win32" ? "mcpgate.exe" : "mcpgate"));
  console.error("built dist/mcpgate");
}
