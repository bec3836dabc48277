/** A process that the agent started outside of `spawnOwn` would be taken for an adopted one, and ended. */
import { expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";

test("the agent starts processes in one place; the guard, which adopts nothing while it has a child, in another", () => {
  const src = join(import.meta.dir, "../../src");
  const folders = ["agent", "audit", "config", "gate", "identity", "link", "mcp", "rbac"];
  const spawning = folders.flatMap((folder) =>
    [...new Bun.Glob(`${folder}/**/*.ts`).scanSync(src)].filter((file) =>
      /Bun\.spawn|Bun\.\$|node:child_process/.test(
        readFileSync(join(src, file), "utf8").replaceAll(/\/\*[\s\S]*?\*\/|\/\/.*|Bun\.Spawn\w*/g, ""),
      ),
    ),
  );
  expect(spawning.sort()).toEqual(["agent/guard.ts", "agent/own-child.ts"]);
});
