import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { mkdtempSync, renameSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { followFiles } from "../../src/config/follow.ts";

let dir = "";
let stop = () => {};
let changes = 0;
let changed = Promise.withResolvers<void>();
const path = (name: string) => join(dir, name);

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "mcpgate-follow-"));
  writeFileSync(path("a"), "one");
});
afterEach(() => {
  stop();
  rmSync(dir, { recursive: true });
});

function follow(...names: string[]): void {
  changes = 0;
  changed = Promise.withResolvers<void>();
  const onChange = () => {
    changes++;
    changed.resolve();
    changed = Promise.withResolvers<void>();
  };
  stop = followFiles({ files: () => names.map(path), onChange, everyMs: 5 });
}

describe("a change is noticed", () => {
  test("in place", async () => {
    follow("a");
    writeFileSync(path("a"), "three");
    await changed.promise;
  });

  test("by a rename over it, as editors save", async () => {
    follow("a");
    writeFileSync(path("new"), "two");
    renameSync(path("new"), path("a"));
    await changed.promise;
  });

  test("behind a link that is moved", async () => {
    writeFileSync(path("b"), "one");
    symlinkSync("a", path("link"));
    follow("link");
    symlinkSync("b", path("link2"));
    renameSync(path("link2"), path("link"));
    await changed.promise;
  });

  test("when it goes, and when it is there again", async () => {
    follow("a");
    const gone = changed.promise;
    rmSync(path("a"));
    await gone;
    const back = changed.promise;
    writeFileSync(path("a"), "one");
    await back;
    expect(changes).toBe(2);
  });
});

test("a file that is being written is waited for", async () => {
  follow("a");
  for (let i = 0; i < 20; i++) {
    writeFileSync(path("a"), "x".repeat(i));
    await Bun.sleep(1);
  }
  await changed.promise;
  expect(changes).toBeLessThan(10);
});
