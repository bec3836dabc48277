/** A proxy in this process, in a directory of its own. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { stringify } from "yaml";
import type { HostPort } from "../../src/config/host-port.ts";
import { loadConfig } from "../../src/config/load.ts";
import { createLog } from "../../src/log.ts";
import { startProxy } from "../../src/proxy/start.ts";

export interface OwnProxy {
  dir: string;
  address: HostPort;
  pin: string;
  stop(): Promise<void>;
}

export async function startOwnProxy(service: object = {}): Promise<OwnProxy> {
  const dir = mkdtempSync(join(tmpdir(), "mcpgate-doctor-"));
  const path = join(dir, "proxy.yaml");
  const proxy_service = { listen_addr: "127.0.0.1:0", ...service };
  writeFileSync(path, stringify({ mcpgate: { data_dir: dir }, proxy_service }), { mode: 0o600 });
  const log = createLog({ write: () => {}, severity: "ERROR" });
  const config = loadConfig({ path, env: {}, uid: process.getuid?.() ?? -1 });
  const { ready, stop } = await startProxy({ config, log, print: async () => {} });
  const port = Number(ready.address.split(":").at(-1));
  return {
    dir,
    address: { host: "127.0.0.1", port },
    pin: ready.caPin ?? "",
    async stop() {
      await stop();
      rmSync(dir, { recursive: true, force: true });
    },
  };
}

/** `STATE CHECK: MESSAGE`, of those that are not as they should be. */
export const wrong = (findings: { state: string; check: string; message: string }[]): string[] =>
  findings.filter(({ state }) => state !== "ok").map(({ state, check, message }) => `${state} ${check}: ${message}`);
