/** `mcpgate agent pin` of a uvx app with the real uv and an index of our own: what is pinned runs without either. */
import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { createHash } from "node:crypto";
import { readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { Cluster, OTHER, PATH, type Place, SLOWEST_MS } from "./harness.ts";
import { RawClient } from "./mcp.ts";

setDefaultTimeout(2 * SLOWEST_MS);

const found = Bun.which("uv") !== null && Bun.which("python3") !== null;
const NAME = "mcpgate-pinned-server";
const MODULE = "mcpgate_pinned_server";

const SERVER = (version: string): string => `import json, sys
def main():
    for line in sys.stdin:
        message = json.loads(line)
        if message.get("method") == "initialize":
            info = {"name": "pinned", "version": "${version}"}
            result = {"protocolVersion": "2025-11-25", "capabilities": {}, "serverInfo": info}
            print(json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": result}), flush=True)
`;

/** A wheel is a ZIP archive (PEP 427), which Python can make. */
const MAKE_WHEEL = `import json, sys, zipfile
with zipfile.ZipFile(sys.argv[1], "w") as wheel:
    for name, text in json.load(sys.stdin).items():
        wheel.writestr(name, text)
`;

/** One package in the simple index (PEP 503), in the versions that were published so far. */
class Index {
  readonly #wheels = new Map<string, Uint8Array>();
  readonly #server = Bun.serve({
    hostname: "127.0.0.1",
    port: 0,
    fetch: ({ url }) => this.#answer(new URL(url).pathname),
  });

  get url(): string {
    return `${this.#server.url.href}simple`;
  }

  async publish(place: Place, version: string): Promise<void> {
    const info = `${MODULE}-${version}.dist-info`;
    const files = {
      [`${MODULE}.py`]: SERVER(version),
      [`${info}/METADATA`]: `Metadata-Version: 2.1\nName: ${NAME}\nVersion: ${version}\n`,
      [`${info}/WHEEL`]: "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
      [`${info}/entry_points.txt`]: `[console_scripts]\n${NAME} = ${MODULE}:main\n`,
      [`${info}/RECORD`]: "",
    };
    const name = `${MODULE}-${version}-py3-none-any.whl`;
    const python = Bun.spawn(["python3", "-c", MAKE_WHEEL, place.path(name)], {
      stdin: Buffer.from(JSON.stringify(files)),
    });
    expect(await python.exited).toBe(0);
    this.#wheels.set(name, readFileSync(place.path(name)));
  }

  close(): Promise<void> {
    return this.#server.stop(true);
  }

  #answer(path: string): Response {
    if (path === `/simple/${NAME}/`) {
      const links = [...this.#wheels].map(([name, bytes]) => {
        const hash = createHash("sha256").update(bytes).digest("hex");
        return `<a href="/${name}#sha256=${hash}">${name}</a>`;
      });
      return new Response(links.join("\n"), { headers: { "content-type": "text/html" } });
    }
    const wheel = this.#wheels.get(path.slice(1));
    return wheel === undefined ? new Response("not found", { status: 404 }) : new Response(Buffer.from(wheel));
  }
}

describe.skipIf(!found)(`a uvx app${found ? "" : " (skipped: pip install uv)"}`, () => {
  let cluster: Cluster;
  let index: Index;

  beforeAll(async () => {
    index = new Index();
    cluster = await Cluster.start({
      apps: [
        () => ({
          name: "pinned",
          mcp: { command: "uvx", args: [`${NAME}>=1`], run_as_host_user: OTHER.name },
        }),
      ],
      users: { alice: ["mcp-user"] },
    });
  });

  afterAll(async () => {
    await index.close();
    expect(await cluster.stop()).toEqual([]);
  });

  const pin = (...args: string[]) =>
    cluster.place.cli(["agent", "pin", "--format=json", ...args, `--config=${cluster.place.path("agent.yaml")}`], {
      env: {
        PATH,
        UV_DEFAULT_INDEX: index.url,
        UV_CACHE_DIR: cluster.place.path("uv-cache"),
        UV_NO_CONFIG: "1",
        UV_HTTP_RETRIES: "0",
      },
    });

  /** The version that a new session's server says it is. */
  async function version(): Promise<unknown> {
    await using client = new RawClient(cluster, "alice", "pinned");
    const { result, error } = await client.initialize();
    if (error !== undefined) throw new Error(error.message);
    return (result as { serverInfo?: { version?: unknown } } | undefined)?.serverInfo?.version;
  }

  test("resolved once, with hashes, and run without uv and index", async () => {
    await index.publish(cluster.place, "1.0.0");
    const done = await pin();
    expect(done.stderr).toContain(`pinned: uvx ${NAME}>=1`);
    const [{ state, pin: pinned, path }] = JSON.parse(done.stdout);
    expect([done.code, state, pinned]).toEqual([0, "pinned", `${NAME}@1.0.0`]);
    expect(readFileSync(join(path, "requirements.txt"), "utf8")).toMatch(/--hash=sha256:[0-9a-f]{64}/);
    expect(statSync(join(path, "venv/bin", NAME)).mode & 0o777).toBe(0o555);

    await index.publish(cluster.place, "1.1.0");
    expect(JSON.parse((await pin()).stdout)).toMatchObject([{ state: "unchanged", pin: `${NAME}@1.0.0` }]);
    expect(JSON.parse((await pin("--update")).stdout)).toMatchObject([{ state: "pinned", pin: `${NAME}@1.1.0` }]);
    await index.close();
    expect(await version()).toBe("1.1.0");

    const failed = JSON.parse((await pin("--update")).stdout);
    expect(failed).toMatchObject([{ state: "failing", message: expect.stringContaining("uv pip failed") }]);
    // What was pinned is still there.
    expect(await version()).toBe("1.1.0");
  });
});
