/** Start-up counts: MCP clients start `client connect` for every server, so it loads only what it needs. */
import { expect, test } from "bun:test";
import { dirname, join, relative } from "node:path";

const src = join(import.meta.dir, "../../src");
const transpiler = new Bun.Transpiler({ loader: "ts" });

/** Everything that loading these files loads: static imports only, types left out. */
async function loadedBy(files: string[]): Promise<Set<string>> {
  const seen = new Set<string>();
  const todo = files.map((file) => join(src, file));
  for (let file = todo.pop(); file !== undefined; file = todo.pop()) {
    const name = relative(src, file);
    if (seen.has(name)) continue;
    seen.add(name);
    for (const { path, kind } of transpiler.scanImports(await Bun.file(file).text())) {
      if (kind !== "import-statement") continue;
      if (path.startsWith(".")) todo.push(join(dirname(file), path));
      else seen.add(path);
    }
  }
  return seen;
}

// `run.ts` and `context.ts` are what `main.ts` loads for every command but `__exec`
const start = ["main.ts", "cli/run.ts", "cli/context.ts"];

test("client connect loads nothing of the proxy, the agent, the store or the configuration file", async () => {
  const loaded = await loadedBy([...start, "cli/client-connect.ts", "client/state.ts", "client/connect.ts"]);
  expect(loaded).toContain("citty");
  expect([...loaded].filter((name) => /^(proxy|agent|store|demo|gate)\//.test(name))).toEqual([]);
  expect(
    [...loaded].filter((name) => /^(hono|kysely|yaml|re2js|@peculiar|reflect-metadata|@opentelemetry)/.test(name)),
  ).toEqual([]);
  expect(loaded).not.toContain("config/load.ts");
});

test("finding a command loads no command", async () => {
  const loaded = [...(await loadedBy(start))];
  expect(loaded.filter((name) => !/^(main|errors|log|cli\/\w+|config\/nearest)\.ts$/.test(name)).toSorted()).toEqual([
    "node:fs",
  ]);
  expect(loaded.filter((name) => name.startsWith("cli/")).toSorted()).toEqual([
    "cli/argv.ts",
    "cli/context.ts",
    "cli/help.ts",
    "cli/output.ts",
    "cli/run.ts",
    "cli/terminal.ts",
    "cli/tree.ts",
  ]);
});

test("the exec helper is routed before anything else is loaded", async () => {
  expect([...(await loadedBy(["main.ts"]))]).toEqual(["main.ts"]);
});
