/** The peers: stdio-to-stdio as people build it today. Installed by the benchmark, at these versions, beside itself. */
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type Contender, type Peer, peer } from "./contenders.ts";
import type { Native } from "./native.ts";
import { run } from "./processes.ts";

const DIR = join(import.meta.dir, ".peers");
export const PEER_VERSIONS = { supergateway: "4.0.0", "mcp-remote": "0.15.1", "mcp-proxy": "6.7.19" } as const;
const INSTALL_MS = 180_000;

/** Installs them where they are missing. Fails where npm does. */
async function install(): Promise<void> {
  const wanted = `${JSON.stringify({ private: true, dependencies: PEER_VERSIONS }, null, 2)}\n`;
  const stamp = join(DIR, ".installed");
  if (existsSync(stamp) && readFileSync(stamp, "utf8") === wanted) return;
  console.error("installing the peers, once: bench/.peers");
  mkdirSync(DIR, { recursive: true });
  writeFileSync(join(DIR, "package.json"), wanted);
  const env = Object.fromEntries(
    Object.entries(process.env).filter((entry): entry is [string, string] => entry[1] !== undefined),
  );
  await run(["npm", "install", "--ignore-scripts", "--no-fund", "--no-audit", "--loglevel=error"], {
    env,
    cwd: DIR,
    ms: INSTALL_MS,
  });
  writeFileSync(stamp, wanted);
}

/** The file that a package's command runs. */
function entry(name: string, command = name): string {
  const dir = join(DIR, "node_modules", name);
  const { bin }: { bin: string | Record<string, string> } = JSON.parse(readFileSync(join(dir, "package.json"), "utf8"));
  const file = typeof bin === "string" ? bin : bin[command];
  if (file === undefined) throw new Error(`${name} has no command ${command}`);
  return join(dir, file);
}

export const PEERS = ["supergateway + mcp-remote", "mcp-proxy + mcp-remote"] as const;

export async function startPeer(name: (typeof PEERS)[number], { echo }: Native, dir: string): Promise<Contender> {
  const node = Bun.which("node");
  if (node === null) throw new Error("no node here");
  await install();
  const gateways: Record<(typeof PEERS)[number], Peer["gateway"]> = {
    "supergateway + mcp-remote": (port) => [
      `--require=${join(import.meta.dir, "loopback.cjs")}`,
      entry("supergateway"),
      ...["--stdio", echo, "--outputTransport", "streamableHttp", "--stateful"],
      ...["--port", `${port}`, "--logLevel", "none"],
    ],
    "mcp-proxy + mcp-remote": (port) => [
      entry("mcp-proxy"),
      ...["--host", "127.0.0.1", "--port", `${port}`, "--server", "stream", "--", echo],
    ],
  };
  return peer({ name, gateway: gateways[name] }, { node, remote: entry("mcp-remote"), dir });
}
