import { afterAll, beforeEach, describe, expect, test } from "bun:test";
import {
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { makeDataDirectory, openPrivateDirectory, readSecretFile, writeSecretFile } from "../../src/identity/files.ts";

const root = mkdtempSync(join(tmpdir(), "mcpgate-files-"));
afterAll(() => rmSync(root, { recursive: true }));
let directory: string;
let path: string;
let count = 0;
beforeEach(() => {
  count += 1;
  directory = join(root, `case-${count}`);
  path = join(directory, "key.json");
});
const mode = (of: string) => statSync(of).mode & 0o7777;
const permissions = (hint: string) =>
  expect.objectContaining({ code: "permissions", hint: expect.stringContaining(hint) });

describe("a secret file", () => {
  test("is 0600 in directories 0700, whatever the umask, and comes back", () => {
    const umask = process.umask(0);
    try {
      writeSecretFile(join(directory, "a", "b", "key"), "secret é");
    } finally {
      process.umask(umask);
    }
    expect([mode(directory), mode(join(directory, "a", "b"))]).toEqual([0o700, 0o700]);
    expect(mode(join(directory, "a", "b", "key"))).toBe(0o600);
    expect(readSecretFile(join(directory, "a", "b", "key"))).toBe("secret é");
  });

  test("is 0600 though the umask would take more away", () => {
    writeSecretFile(path, "x");
    const umask = process.umask(0o377);
    try {
      writeSecretFile(path, "y");
    } finally {
      process.umask(umask);
    }
    expect([mode(path), readSecretFile(path)]).toEqual([0o600, "y"]);
  });

  test("that is not there is undefined", () => {
    expect(readSecretFile(path)).toBeUndefined();
    writeSecretFile(path, "x");
    expect(readSecretFile(join(path, "below-a-file"))).toBeUndefined();
  });

  test("is replaced as a whole and leaves nothing beside it", () => {
    writeSecretFile(path, "one");
    chmodSync(path, 0o644);
    writeSecretFile(path, "two");
    expect([readSecretFile(path), mode(path), readdirSync(directory)]).toEqual(["two", 0o600, ["key.json"]]);
  });

  test.each([0o640, 0o604, 0o620, 0o601])(
    "that others have access to (%o) is refused, with the command that mends it",
    (bits) => {
      writeSecretFile(path, "x");
      chmodSync(path, bits);
      expect(() => readSecretFile(path)).toThrow(permissions(`chmod 600 '${path}'`));
    },
  );

  test("in a directory that others may write is neither read nor written", () => {
    writeSecretFile(path, "x");
    chmodSync(directory, 0o770);
    expect(() => readSecretFile(path)).toThrow(permissions(`chmod 700 '${directory}'`));
    expect(() => writeSecretFile(path, "y")).toThrow(permissions(`chmod 700 '${directory}'`));
    chmodSync(directory, 0o755); // listing it tells no secret
    expect(readSecretFile(path)).toBe("x");
  });

  test("that is a symbolic link is not followed, and writing replaces the link", () => {
    mkdirSync(directory, { mode: 0o700 });
    const target = join(directory, "target");
    writeFileSync(target, "theirs", { mode: 0o600 });
    symlinkSync(target, path);
    expect(() => readSecretFile(path)).toThrow(permissions("rm "));
    writeSecretFile(path, "ours");
    expect([readSecretFile(path), readFileSync(target, "utf8")]).toEqual(["ours", "theirs"]);
  });

  test("that is a pipe or a directory is refused, and does not hang", () => {
    mkdirSync(directory, { mode: 0o700 });
    expect(Bun.spawnSync(["mkfifo", "-m", "600", path]).exitCode).toBe(0);
    expect(() => readSecretFile(path)).toThrow(expect.objectContaining({ code: "permissions" }));
    mkdirSync(`${path}.d`, { mode: 0o700 });
    expect(() => readSecretFile(`${path}.d`)).toThrow(expect.objectContaining({ code: "permissions" }));
  });

  test("of a writer that was killed is cleared away; one that is being written is not", () => {
    mkdirSync(directory, { mode: 0o700 });
    const [stale, fresh] = [join(directory, ".key.json.0011.tmp"), join(directory, ".key.json.0022.tmp")];
    writeFileSync(stale, "x");
    writeFileSync(fresh, "x");
    utimesSync(stale, 1, 1);
    writeSecretFile(path, "y");
    expect([existsSync(stale), existsSync(fresh)]).toEqual([false, true]);
  });

  test("that can't be written fails, and the old one stands", () => {
    writeSecretFile(join(path, "a"), "x");
    expect(() => writeSecretFile(path, "y")).toThrow(expect.objectContaining({ code: "data_dir" })); // a directory
    expect(() => writeSecretFile(join(path, "a", "b"), "y")).toThrow(expect.objectContaining({ code: "data_dir" }));
    expect(readSecretFile(join(path, "a"))).toBe("x");
    expect(readdirSync(directory)).toEqual(["key.json"]);
  });

  test("has no half-way state for a reader, while writers race", async () => {
    const texts = ["a", "b", "c"].map((letter) => letter.repeat(50_000));
    const files = join(import.meta.dir, "../../src/identity/files.ts");
    const code = `const { writeSecretFile } = await import(${JSON.stringify(files)});
      for (let i = 0; i < 60; i++) writeSecretFile(process.argv[1], process.argv[2].repeat(50_000));`;
    writeSecretFile(path, texts[0] ?? "");
    const writers = ["b", "c"].map((letter) =>
      Bun.spawn([process.execPath, "-e", code, path, letter], { stderr: "inherit" }),
    );
    let running = true;
    const ended = Promise.all(writers.map(({ exited }) => exited)).finally(() => {
      running = false;
    });
    let reads = 0;
    while (running) {
      expect(texts).toContain(readSecretFile(path) ?? "");
      reads += 1;
      await new Promise(setImmediate);
    }
    expect(await ended).toEqual([0, 0]);
    expect(reads).toBeGreaterThan(10);
    expect(readdirSync(directory)).toEqual(["key.json"]);
  });
});

describe.skipIf(process.getuid?.() !== 0)("as root", () => {
  test("a file or a directory of another user is refused", () => {
    writeSecretFile(path, "x");
    chownSync(path, 12345, 12345);
    expect(() => readSecretFile(path)).toThrow(permissions("run mcpgate as the user"));
    chownSync(directory, 12345, 12345);
    expect(() => writeSecretFile(path, "x")).toThrow(permissions("run mcpgate as the user"));
  });
});

describe("a private directory", () => {
  test("is made 0700", () => {
    openPrivateDirectory(join(directory, "a"));
    expect([mode(directory), mode(join(directory, "a"))]).toEqual([0o700, 0o700]);
  });

  test("of ours that others could list is tightened", () => {
    mkdirSync(directory);
    chmodSync(directory, 0o755);
    writeFileSync(path, "x");
    openPrivateDirectory(directory);
    expect(mode(directory)).toBe(0o700);
  });

  test("that others could write is taken while it is empty, and refused with something in it", () => {
    mkdirSync(directory);
    chmodSync(directory, 0o777);
    openPrivateDirectory(directory);
    expect(mode(directory)).toBe(0o700);
    writeFileSync(path, "planted");
    chmodSync(directory, 0o777);
    expect(() => openPrivateDirectory(directory)).toThrow(permissions(`chmod 700 '${directory}'`));
  });

  test("can't be where a file is", () => {
    writeSecretFile(path, "x");
    expect(() => openPrivateDirectory(path)).toThrow(expect.objectContaining({ code: "data_dir" }));
  });
});

test.skipIf(process.getuid?.() !== 0)(
  "root's services share a directory that others pass through, whatever the umask",
  () => {
    const umask = process.umask(0o077);
    try {
      makeDataDirectory(join(directory, "data"));
    } finally {
      process.umask(umask);
    }
    expect(mode(join(directory, "data"))).toBe(0o711);
    chmodSync(join(directory, "data"), 0o700);
    makeDataDirectory(join(directory, "data"));
    expect(mode(join(directory, "data"))).toBe(0o700);
  },
);
