/** `mcp.env`: what stands for itself, what is read, and that nothing of a value gets into an error. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { chmodSync, mkdirSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Secrets } from "../../src/agent/secrets.ts";
import { loadVariables } from "../../src/agent/variables.ts";
import { parseVariable } from "../../src/config/variable.ts";
import { Failure } from "../../src/errors.ts";
import { makeFolder, start, stopAll } from "./scene.ts";

let folder: ReturnType<typeof makeFolder>;
beforeAll(() => {
  folder = makeFolder();
});
afterAll(async () => {
  await stopAll();
  folder.remove();
});

const file = (name: string, content: string | Uint8Array, mode = 0o600): string => {
  const path = join(folder.path, name);
  writeFileSync(path, content);
  chmodSync(path, mode);
  return path;
};
const refused = async (...args: Parameters<typeof loadVariables>): Promise<string> => {
  const failure = await loadVariables(...args).then(
    () => undefined,
    (error: unknown) => Failure.from(error),
  );
  expect(failure?.code).toBe("start_failed");
  expect(failure?.hint).toBeString();
  return failure?.message ?? "";
};

describe("in the configuration", () => {
  test.each([
    ["plain", { value: "plain" }],
    ["", { value: "" }],
    ["https://a/b", { value: "https://a/b" }],
    ["file:/run/key", { file: "/run/key" }],
    ["env:KEY", { env: "KEY" }],
    ["command:/usr/bin/op  read op://a/b", { command: ["/usr/bin/op", "read", "op://a/b"] }],
    [{ value: "file:./dev.db" }, { value: "file:./dev.db" }],
    [{ command: ["/bin/x", "a b"] }, { command: ["/bin/x", "a b"] }],
    [{ file: "/x" }, { file: "/x" }],
  ])("%p", (given, parsed) => {
    expect(parseVariable(given)).toEqual(parsed as never);
  });

  test.each([
    ["file:./dev.db", "absolute path"],
    ["env:", "name"],
    ["env:A B", "name"],
    ["command:", "list"],
    ["command:op read x", "absolute path"],
    [{ file: "/x", env: "Y" }, "exactly one"],
    [{}, "exactly one"],
    [{ fil: "/x" }, "unknown key"],
    [{ command: ["/x", 1] }, "list of strings"],
    [8080, "is no text\nput it in quotes"],
    [true, "is no text"],
    [null, "expected a string, got nothing"],
    ["a\0b", "NUL"],
  ])("%p is refused", (given, what) => {
    expect(parseVariable(given)).toContain(what);
  });
});

describe("references", () => {
  test("are read when the server starts, and their values are secrets; so are those under such names", async () => {
    const path = file("key", "from-file\n\n");
    const tool = file("tool", `#!/bin/sh\nprintf '%s|%s|%s' "$1" "$2" "$LD_PRELOAD$BUN_X"\n`, 0o755);
    const variables = {
      PLAIN: "plain",
      API_KEY: "literal-secret",
      FILE: { file: path },
      OWN: { env: "MINE" },
      TOOL: { command: [tool, "a b", "$MINE"] },
    };
    const own = { MINE: "agents-own", LD_PRELOAD: "", BUN_X: "x", PATH: "/usr/bin:/bin" };
    const { env, secrets } = await loadVariables(variables, own);
    expect(env).toEqual({
      PLAIN: "plain",
      API_KEY: "literal-secret",
      FILE: "from-file\n",
      OWN: "agents-own",
      TOOL: "a b|$MINE|",
    });
    expect(secrets.sort()).toEqual(["literal-secret", "from-file\n", "agents-own", "a b|$MINE|"].sort());
    writeFileSync(path, "rotated");
    expect((await loadVariables({ F: { file: path } })).env.F).toBe("rotated");
  });

  test("that can't be read name the variable and the place, never a value", async () => {
    expect(await refused({ K: { file: join(folder.path, "none") } })).toContain("none can't be read: ENOENT");
    mkdirSync(join(folder.path, "dir"));
    symlinkSync("/dev/zero", join(folder.path, "zero"));
    expect(await refused({ K: { file: join(folder.path, "dir") } })).toContain("can't be read");
    expect(await refused({ K: { file: join(folder.path, "zero") } })).toContain("it is no file");
    expect(await refused({ K: { file: file("large", "x".repeat(65_537)) } })).toContain("larger than 64 KiB");
    expect(await refused({ K: { file: file("bytes", Buffer.from([0xff])) } })).toContain("not UTF-8");
    expect(await refused({ K: { env: "NOT_THERE" } }, {})).toContain("no NOT_THERE");
    const failing = file("failing", "#!/bin/sh\necho my-secret-value\necho my-secret-value >&2\nexit 3\n", 0o755);
    const told = await refused({ K: { command: [failing, "my-secret-argument"] } });
    expect(told).toContain("exit code 3");
    expect(told).not.toContain("my-secret");
    expect(await refused({ K: { command: ["/nonexistent/tool"] } })).toContain("ENOENT");
    const endless = file("endless", "#!/bin/sh\nexec cat /dev/zero\n", 0o755);
    expect(await refused({ K: { command: [endless] } })).toContain("more than 64 KiB");
  });
});

test("a server's stderr is masked in the log, for the listener, and in its last words", async () => {
  const heard: string[] = [];
  const { server, entries } = await start({
    command: "sh",
    args: ["-c", 'echo "key is $KEY" >&2; printf "%4082s$KEY\\n" x >&2; printf "last $KEY" >&2'],
    env: { KEY: "super-secret-value" },
    secrets: new Secrets(["super-secret-value"]),
    onStderrLine: (line) => void heard.push(line),
  });
  await server.exited;
  expect(server.stderrTail()[0]).toBe("key is <redacted>");
  expect(server.stderrTail().at(-1)).toBe("last <redacted>");
  for (const seen of [heard, server.stderrTail(), entries]) expect(JSON.stringify(seen)).not.toContain("super-");
});
