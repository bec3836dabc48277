/** The platforms that mcpgate is built for, and what their programs are called. `build.ts` builds them under these names. */
import { readFileSync } from "node:fs";

export const PLATFORMS = [
  "linux-x64",
  "linux-arm64",
  "linux-x64-musl",
  "linux-arm64-musl",
  "darwin-x64",
  "darwin-arm64",
  "windows-x64",
] as const;

export type Platform = (typeof PLATFORMS)[number];

/** The name of a platform's program in `dist/`, in the downloads directory and in URLs. */
export const programName = (platform: Platform): string =>
  `mcpgate-${platform}${platform.startsWith("windows") ? ".exe" : ""}`;

/** This process's own platform; undefined where it is none of ours. */
export function ownPlatform(): Platform | undefined {
  const system = process.platform === "win32" ? "windows" : process.platform;
  const name = `${system}-${process.arch}${process.platform === "linux" && isMusl() ? "-musl" : ""}`;
  return PLATFORMS.find((each) => each === name);
}

/** Which C library this very program was linked with: a host may have both. */
function isMusl(): boolean {
  return readFileSync("/proc/self/maps", "latin1").includes("/ld-musl-");
}
