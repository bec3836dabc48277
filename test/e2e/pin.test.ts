/** `mcpgate agent pin` with the real npm and a registry of our own: what is pinned runs without the registry. */
import { afterAll, beforeAll, expect, setDefaultTimeout, test } from "bun:test";
import { createHash } from "node:crypto";
import { chmodSync, mkdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { parse, stringify } from "yaml";
import { Cluster, FIXTURES, OTHER, type Place, SLOWEST_MS } from "./harness.ts";
import { RawClient } from "./mcp.ts";

setDefaultTimeout(2 * SLOWEST_MS);

const npm = Bun.which("npm") !== null;
const NAME = "mcpgate-pinned-server";

let cluster: Cluster;
let registry: Registry;

/** One package, in the versions that were published so far. */
class Registry {
  readonly #tarballs = new Map<string, Uint8Array>();
  readonly #server = Bun.serve({
    hostname: "127.0.0.1",
    port: 0,
    fetch: ({ url }) => this.#answer(new URL(url).pathname.slice(1)),
  });
  requests = 0;

  get url(): string {
    return this.#server.url.href;
  }

  async publish(place: Place, version: string): Promise<void> {
    const dir = place.path(`source-${version}`, "package");
    mkdirSync(dir, { recursive: true });
    const source = readFileSync(join(FIXTURES, "servers/echo.mjs"), "utf8");
    const server = source.replace(
      'serverInfo: { name: "echo", version: "1" }',
      `serverInfo: { name: "echo", version: "${version}" }`,
    );
    writeFileSync(join(dir, "server.mjs"), `#!/usr/bin/env node\n${server}`);
    chmodSync(join(dir, "server.mjs"), 0o755);
    writeFileSync(join(dir, "package.json"), JSON.stringify({ name: NAME, version, bin: { [NAME]: "server.mjs" } }));
    const tarball = place.path(`${version}.tgz`);
    await Bun.$`tar -czf ${tarball} -C ${place.path(`source-${version}`)} package`.quiet();
    this.#tarballs.set(version, readFileSync(tarball));
  }

  close(): Promise<void> {
    return this.#server.stop(true);
  }

  #answer(path: string): Response {
    this.requests++;
    if (path === NAME) return Response.json(this.#packument());
    const tarball = this.#tarballs.get(path.replace(".tgz", ""));
    return tarball === undefined ? new Response("not found", { status: 404 }) : new Response(Buffer.from(tarball));
  }

  #packument(): object {
    const versions = [...this.#tarballs].map(([version, bytes]) => {
      const integrity = `sha512-${createHash("sha512").update(bytes).digest("base64")}`;
      const dist = { tarball: `${this.url}${version}.tgz`, integrity };
      return [version, { name: NAME, version, bin: { [NAME]: "server.mjs" }, dist }];
    });
    return {
      name: NAME,
      "dist-tags": { latest: [...this.#tarballs.keys()].at(-1) },
      versions: Object.fromEntries(versions),
    };
  }
}

beforeAll(async () => {
  registry = new Registry();
  cluster = await Cluster.start({
    apps: [
      () => ({
        name: "pinned",
        labels: { env: "test" },
        mcp: { command: "npx", args: ["-y", `${NAME}@^1`, "x"], run_as_host_user: OTHER.name },
      }),
    ],
    users: { alice: ["mcp-user"] },
  });
  await registry.publish(cluster.place, "1.0.0");
});

afterAll(async () => {
  await registry.close();
  expect(await cluster.stop()).toEqual([]);
});

const pin = (...args: string[]) =>
  cluster.place.cli(["agent", "pin", ...args, `--config=${cluster.place.path("agent.yaml")}`], {
    env: { npm_config_registry: registry.url, npm_config_cache: cluster.place.path("npm-cache") },
  });

/** The version that a new session's server says it is. */
async function version(): Promise<unknown> {
  await using client = new RawClient(cluster, "alice", "pinned");
  const { result } = await client.initialize();
  return (result as { serverInfo?: { version?: unknown } } | undefined)?.serverInfo?.version;
}

test.skipIf(!npm)("resolved once, run without the registry, and never another version by itself", async () => {
  const done = await pin("--format=json");
  expect(done.stderr).toContain(NAME);
  expect(done.code).toBe(0);
  const [{ state, pin: pinned, path }] = JSON.parse(done.stdout);
  expect([state, pinned]).toEqual(["pinned", `${NAME}@1.0.0`]);
  const lock = JSON.parse(readFileSync(join(path, "package-lock.json"), "utf8"));
  expect(lock.packages[`node_modules/${NAME}`].integrity).toStartWith("sha512-");
  expect(statSync(join(path, "node_modules", NAME, "server.mjs")).mode & 0o222).toBe(0);

  await registry.publish(cluster.place, "1.1.0");
  const before = registry.requests;
  expect(await version()).toBe("1.0.0");
  expect(registry.requests).toBe(before);
  expect((await pin("--list")).stdout).toContain("unchanged");
  expect(await cluster.place.ok(["agent", "status", `--config=${cluster.place.path("agent.yaml")}`])).toContain(
    `${NAME}@1.0.0`,
  );

  expect((await pin("pinned", "--update")).code).toBe(0);
  expect(await version()).toBe("1.1.0");
});

test.skipIf(!npm)(
  "where the configuration asks for another version, nothing runs until it is pinned again",
  async () => {
    const file = cluster.place.path("agent.yaml");
    const config = parse(readFileSync(file, "utf8"));
    config.app_service.apps[0].mcp.args[1] = `${NAME}@1.0.0`;
    cluster.place.file("agent.yaml", stringify(config));
    await cluster.agent.stop();
    await cluster.startAgent();
    {
      await using client = new RawClient(cluster, "alice", "pinned");
      const { error } = await client.initialize();
      expect(error?.message).toContain(`"pinned" is pinned to what "${NAME}@^1" came to`);
      expect(error?.message).toContain("mcpgate agent pin pinned --update");
    }
    const refused = await pin();
    expect([refused.code, refused.stderr]).toEqual([1, expect.stringContaining("agent pin pinned --update")]);
    expect((await pin("--update")).code).toBe(0);
    expect(await version()).toBe("1.0.0");
    expect((await pin("pinned", "--remove")).stdout).toContain("removed");
  },
);

test("flags that contradict each other, and apps that are not there", async () => {
  expect((await pin("--update", "--list")).code).toBe(2);
  expect((await pin("--remove")).code).toBe(2);
  expect((await pin("nothing")).stderr).toContain('no app "nothing"');
});
