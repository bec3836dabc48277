import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { mkdir, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { loadJoinToken } from "../../src/config/join-token.ts";
import { loadConfig } from "../../src/config/load.ts";
import { Failure } from "../../src/errors.ts";

let dir = "";
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), "mcpgate-config-"));
});
afterEach(() => rm(dir, { recursive: true }));

async function file(name: string, text: string | Uint8Array): Promise<string> {
  await Bun.write(join(dir, name), text);
  return join(dir, name);
}

const failureOf = (use: () => unknown): string => {
  try {
    use();
  } catch (error) {
    const { code, message, hint } = Failure.from(error);
    return `${code}: ${message}${hint === undefined ? "" : ` [${hint}]`}`.replaceAll(dir, "DIR");
  }
  return "no failure";
};

describe("which file", () => {
  test("--config before MCPGATE_CONFIG before the default", async () => {
    const one = await file("one.yaml", "mcpgate: {data_dir: /one}\n");
    const two = await file("two.yaml", "mcpgate: {data_dir: /two}\n");
    const three = await file("three.yaml", "mcpgate: {data_dir: /three}\n");
    const env = { MCPGATE_CONFIG: two };
    expect(loadConfig({ path: one, env, uid: 0, defaultFile: three }).dataDir).toBe("/one");
    expect(loadConfig({ env, uid: 0, defaultFile: three }).dataDir).toBe("/two");
    expect(loadConfig({ env: {}, uid: 0, defaultFile: three }).dataDir).toBe("/three");
    expect(loadConfig({ env: { MCPGATE_CONFIG: "" }, uid: 0, defaultFile: three }).file).toBe(three);
  });

  test("no default file: defaults, and no service", () => {
    expect(loadConfig({ env: {}, uid: 0, defaultFile: join(dir, "none.yaml") })).toEqual({
      file: undefined,
      dataDir: "/var/lib/mcpgate",
      log: { severity: "INFO", format: "text" },
    });
  });

  test("a file that was named must be there, and be text", async () => {
    const load = (path: string) => failureOf(() => loadConfig({ path, env: {}, uid: 0 }));
    expect(load(join(dir, "none.yaml"))).toBe(
      "config: DIR/none.yaml: no such configuration file [see --config=FILE and MCPGATE_CONFIG]",
    );
    await mkdir(join(dir, "directory"));
    expect(load(join(dir, "directory"))).toBe("config: DIR/directory: is a directory, not a configuration file");
    expect(load(await file("latin1.yaml", Uint8Array.of(0x61, 0xe9)))).toBe(
      "config: DIR/latin1.yaml: is not UTF-8 text",
    );
    expect(load(await file("large.yaml", "#".repeat(1024 * 1024 + 1)))).toBe(
      "config: DIR/large.yaml: is larger than 1 MiB",
    );
    expect(load(await file("wrong.yaml", "\nagent: {}\n"))).toStartWith(
      "config: DIR/wrong.yaml:2:1: agent: unknown key",
    );
  });
});

describe("the data directory", () => {
  const dataDir = (env: Record<string, string>, uid: number) =>
    loadConfig({ env, uid, defaultFile: "/nowhere/none.yaml", home: "/home/alice" }).dataDir;

  test("root's, and everybody else's", () => {
    expect(dataDir({ XDG_STATE_HOME: "/xdg" }, 0)).toBe("/var/lib/mcpgate");
    expect(dataDir({}, 1000)).toBe("/home/alice/.local/state/mcpgate");
    expect(dataDir({ XDG_STATE_HOME: "/xdg" }, 1000)).toBe("/xdg/mcpgate");
    expect(dataDir({ XDG_STATE_HOME: "relative" }, 1000)).toBe("/home/alice/.local/state/mcpgate");
  });

  test("relative paths start at the file, whatever the working directory", async () => {
    const path = await file(
      "mcpgate.yaml",
      "mcpgate: {data_dir: data, join_params: {token_name: ./token}}\nproxy_service: {public_addr: 'a:1', cert_file: c.pem, key_file: /k.pem}\n",
    );
    const config = loadConfig({ path, env: {}, uid: 0 });
    expect(config.dataDir).toBe(join(dir, "data"));
    expect(config.join?.tokenName).toBe(join(dir, "token"));
    expect(config.proxy?.certFile).toBe(join(dir, "c.pem"));
    expect(config.proxy?.keyFile).toBe("/k.pem");
  });
});

describe("the join token", () => {
  const token = (tokenName: string) =>
    failureOf(() => {
      throw new Failure("internal", loadJoinToken({ method: "token", tokenName }));
    });

  test("itself, or what stands in the file", async () => {
    expect(token("abcd123-insecure-do-not-use-this")).toBe("internal: abcd123-insecure-do-not-use-this");
    expect(token(await file("token", "abcd123\n"))).toBe("internal: abcd123");
  });

  test("a file without a token", async () => {
    const hint = (name: string) =>
      `[on the proxy's host: mcpgate tokens add --type=app --format=text; write what it prints to DIR/${name}]`;
    expect(token(join(dir, "none"))).toBe(`config: join token file DIR/none: no such file ${hint("none")}`);
    expect(token(await file("empty", "\n"))).toBe(`config: join token file DIR/empty: is empty ${hint("empty")}`);
    expect(token(await file("two", "a b\n"))).toBe(`config: join token file DIR/two: holds no token ${hint("two")}`);
    expect(token(dir)).toStartWith("config: join token file DIR: is not a plain file, or too long");
  });

  test.skipIf(process.platform === "win32")("what would never end to be read is not begun", async () => {
    expect(token("/dev/zero")).toStartWith("config: join token file /dev/zero: is not a plain file, or too long");
    expect((await Bun.$`mkfifo ${join(dir, "pipe")}`.nothrow()).exitCode).toBe(0);
    expect(token(join(dir, "pipe"))).toContain("is not a plain file");
    expect(token(await file("long", "x".repeat(5000)))).toContain("too long");
  });
});
