/** Joining, at a real proxy: the key is there before it is registered, so that a lost answer costs nothing. */
import { expect, test } from "bun:test";
import { existsSync, mkdirSync, statSync } from "node:fs";
import { hostname } from "node:os";
import { join } from "node:path";
import * as v from "valibot";
import { findIdentity, loadIdentity } from "../../src/agent/join.ts";
import { openAdminApi } from "../../src/client/api.ts";
import type { Config } from "../../src/config/config.ts";
import { readSecretFile, writeSecretFile } from "../../src/identity/files.ts";
import { generateKeyPair } from "../../src/identity/keys.ts";
import { request } from "../../src/link/request.ts";
import { fetchPinnedCa } from "../../src/link/trust.ts";
import { createLog } from "../../src/log.ts";
import { startOwnProxy } from "../doctor/proxy-in-here.ts";

const log = createLog({ write: () => {}, severity: "ERROR" });

test("an agent that did not hear the answer joins again as the same one", async () => {
  const proxy = await startOwnProxy();
  try {
    const dir = join(proxy.dir, "agent");
    mkdirSync(dir, { mode: 0o700 });
    const config: Config = {
      file: join(proxy.dir, "agent.yaml"),
      dataDir: proxy.dir,
      log: { severity: "ERROR", format: "text" },
      proxyServer: proxy.address,
      caPin: proxy.pin,
    };
    const api = await openAdminApi({ config, env: {} });
    const { token } = await api.call<{ token: string }>("POST", "/v1/api/tokens", { type: "app" });
    const joining: Config = { ...config, join: { method: "token", tokenName: token } };
    expect(await findIdentity(joining, dir)).toBeUndefined();

    // refused: the key that it made stays
    const keyFile = join(dir, "join-key.json");
    const kept = new Set<string | undefined>();
    for (const tokenName of ["0".repeat(32), "1".repeat(32)]) {
      const wrong = loadIdentity({ ...joining, join: { method: "token", tokenName } }, dir, log);
      await expect(wrong).rejects.toThrow("the join token is not valid");
      expect(statSync(keyFile).mode & 0o777).toBe(0o600);
      kept.add(readSecretFile(keyFile));
    }
    expect(kept.size).toBe(1);

    // let in, and killed before it could write what it heard
    const key = await generateKeyPair();
    writeSecretFile(keyFile, JSON.stringify(key.privateJwk));
    const caPem = await fetchPinnedCa(proxy.address, proxy.pin);
    const first = await request({
      ...{ trust: { proxy: proxy.address, caPem }, key, method: "POST", path: "/v1/join" },
      body: { token, name: hostname() },
      schema: v.object({ agent_id: v.string() }),
    });
    const again = await loadIdentity(joining, dir, log);
    expect([again.agent, again.key.jkt]).toEqual([first.agent_id, key.jkt]);
    expect(existsSync(keyFile)).toBe(false);

    // from here on neither token nor key file is needed
    expect(await loadIdentity(config, dir, log)).toMatchObject({ agent: first.agent_id, name: hostname() });
    expect((await findIdentity(config, dir))?.agent).toBe(first.agent_id);
    const { agents } = await api.call<{ agents: { id: string }[] }>("GET", "/v1/api/agents");
    expect(agents.map(({ id }) => id)).toEqual([first.agent_id]);
  } finally {
    await proxy.stop();
  }
});
