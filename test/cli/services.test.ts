/** `proxy start`, `agent start`, `demo`, `version`: what they start with, what they print, how they stop. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Config } from "../../src/config/config.ts";
import { Failure } from "../../src/errors.ts";
import { VERSION } from "../../src/version.ts";
import { capture } from "./capture.ts";

const pin = `sha256:${"ab".repeat(32)}`;
let dir = "";
beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), "mcpgate-services-"));
});
afterAll(() => rm(dir, { recursive: true }));

async function configFile(text: string): Promise<string> {
  const path = join(dir, "mcpgate.yaml");
  await Bun.write(path, text);
  return path;
}

const never = () => new Promise<void>(() => {});

describe("proxy start", () => {
  const text = "proxy_service: {listen_addr: 127.0.0.1:0}\n";

  /** Starts it, and sends SIGTERM when it has printed something. */
  async function start(ready: { address: string; publicAddr: string; caPin?: string }, yaml = text) {
    const stop = Promise.withResolvers<void>();
    const seen: { config?: Config; stops: number } = { stops: 0 };
    const captured = await capture(["proxy", "start", "-c", await configFile(yaml)], {
      stopped: stop.promise,
      onPrint: () => stop.resolve(),
      services: {
        startProxy: async ({ config }) => {
          seen.config = config;
          return { ready, closed: never(), reload: never, alive: never, stop: async () => void seen.stops++ };
        },
      },
    });
    return { captured, ...seen };
  }

  test("one line when it is ready, and a clean stop", async () => {
    const { captured, config, stops } = await start({
      address: "127.0.0.1:3443",
      publicAddr: "127.0.0.1:3443",
      caPin: pin,
    });
    expect(captured).toEqual({
      exitCode: 0,
      stdout: `mcpgate proxy is ready at 127.0.0.1:3443, CA pin ${pin}\n`,
      stderr: "",
    });
    expect(stops).toBe(1);
    expect(config?.proxy?.listen).toEqual({ host: "127.0.0.1", port: 0 });
  });

  test("behind another address, with a certificate of the web's", async () => {
    const yaml = "proxy_service: {public_addr: a.test:443, cert_file: /c.pem, key_file: /k.pem}\n";
    const { captured } = await start({ address: "0.0.0.0:3443", publicAddr: "a.test:443" }, yaml);
    expect(captured.stdout).toBe(
      "mcpgate proxy is ready at a.test:443 (listening on 0.0.0.0:3443), certificate from /c.pem\n",
    );
  });

  test("goes on where nobody reads its line", async () => {
    const signal = Promise.withResolvers<void>();
    const order: string[] = [];
    const captured = await capture(["proxy", "start", "-c", await configFile(text)], {
      stopped: signal.promise.then(() => void order.push("signal")),
      onPrint: () => {
        setTimeout(signal.resolve, 5);
        throw Object.assign(new Error("EPIPE"), { code: "EPIPE" });
      },
      services: {
        startProxy: async () => ({
          ready: { address: "a.test:1", publicAddr: "a.test:1" },
          closed: never(),
          reload: never,
          alive: never,
          stop: async () => void order.push("stop"),
        }),
      },
    });
    expect(order).toEqual(["signal", "stop"]);
    expect({ exitCode: captured.exitCode, stderr: captured.stderr }).toEqual({ exitCode: 0, stderr: "" });
  });

  test("a failure to start is printed once", async () => {
    const file = await configFile(text);
    const failure = new Failure("port_in_use", "port 443 is in use", { hint: "ss -ltnp" });
    const services = { startProxy: () => Promise.reject(failure) };
    expect(await capture(["proxy", "start", "-c", file], { services })).toEqual({
      exitCode: 1,
      stdout: "",
      stderr: "mcpgate: error: port 443 is in use\nmcpgate: hint: ss -ltnp\n",
    });
  });
});

describe("agent start", () => {
  const text = "app_service: {apps: [{name: demo, mcp: {command: x}}]}\n";

  test("one line when it has joined, and a clean stop", async () => {
    const stop = Promise.withResolvers<void>();
    let stops = 0;
    const captured = await capture(["agent", "start", "-c", await configFile(text)], {
      stopped: stop.promise,
      onPrint: () => stop.resolve(),
      services: {
        startAgent: async ({ self }) => {
          expect(self).toEqual(["/proc/self/exe", "__exec"]);
          const ready = Promise.resolve({ agent: "web-1", apps: ["demo", "db"] });
          return {
            ready,
            closed: never(),
            reload: never,
            offers: () => ["demo", "db"],
            stop: async () => void stops++,
          };
        },
      },
    });
    expect(captured).toEqual({ exitCode: 0, stdout: "mcpgate agent web-1 is ready and offers demo, db\n", stderr: "" });
    expect(stops).toBe(1);
  });

  test("a signal before it is ready stops it without that line", async () => {
    let stops = 0;
    const captured = await capture(["agent", "start", "-c", await configFile(text)], {
      stopped: Promise.resolve(),
      services: {
        startAgent: async () => ({
          ready: new Promise<never>(() => {}),
          closed: never(),
          reload: never,
          offers: () => undefined,
          stop: async () => void stops++,
        }),
      },
    });
    expect(captured).toEqual({ exitCode: 0, stdout: "", stderr: "" });
    expect(stops).toBe(1);
  });

  test("removed at the proxy: it stops, and says why", async () => {
    let stops = 0;
    const gone = Promise.withResolvers<void>();
    const captured = await capture(["agent", "start", "-c", await configFile(text)], {
      onPrint: () => gone.reject(new Failure("access_denied", "the agent was removed")),
      services: {
        startAgent: async () => ({
          ready: Promise.resolve({ agent: "web-1", apps: [] }),
          closed: gone.promise,
          reload: never,
          offers: () => [],
          stop: async () => void stops++,
        }),
      },
    });
    expect(captured).toEqual({
      exitCode: 1,
      stdout: "mcpgate agent web-1 is ready and offers no apps\n",
      stderr: "mcpgate: error: the agent was removed\n",
    });
    expect(stops).toBe(1);
  });

  test("a wrong configuration starts nothing", async () => {
    const file = await configFile("app_service:\n  enabeld: true\n");
    expect(await capture(["agent", "start", "-c", file])).toEqual({
      exitCode: 2,
      stdout: "",
      stderr: `mcpgate: error: ${file}:2:3: app_service.enabeld: unknown key\nmcpgate: hint: did you mean: enabled\n`,
    });
  });

  test("root must say under which user a server runs", async () => {
    const { exitCode, stderr } = await capture(["agent", "start", "-c", await configFile(text)], { uid: 0 });
    expect(exitCode).toBe(2);
    expect(stderr).toContain("app_service.apps[0].mcp.run_as_host_user: is required when the agent runs as root");
  });
});

test("demo prints line by line and hands its exit code on", async () => {
  const captured = await capture(["demo", "--once"], {
    services: {
      runDemo: async ({ once, print }) => {
        expect(once).toBe(true);
        await print("one");
        await print("two");
        return 1;
      },
    },
  });
  expect(captured).toEqual({ exitCode: 1, stdout: "one\ntwo\n", stderr: "" });
});

describe("version", () => {
  const platform = `${process.platform}-${process.arch}`;
  test("for people", async () => {
    for (const argv of [["version"], ["--version"]]) {
      expect(await capture(argv)).toEqual({ exitCode: 0, stdout: `mcpgate ${VERSION} ${platform}\n`, stderr: "" });
    }
  });
  test("for programs", async () => {
    const { stdout } = await capture(["version", "--format=json"]);
    expect(JSON.parse(stdout)).toEqual({ version: VERSION, platform, bun: Bun.version });
  });
});
