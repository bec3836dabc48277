/** The map (src/README.md) names every file, and imports point down it. */
import { expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { dirname, join, relative } from "node:path";

const src = join(import.meta.dir, "../src");
const files = [...new Bun.Glob("**/*.{ts,tsx}").scanSync(src)].sort();

test("the map has one line for each file, and none for a file that is not there", () => {
  const map = readFileSync(join(src, "README.md"), "utf8");
  const listed = [...map.matchAll(/^- `([^`]+\.tsx?)`/gm)].map((match) => match[1] as string);
  expect([...listed].sort()).toEqual(files);
});

/**
 * Which folders a folder may import from. Everything may import the base (errors, log, event, version). Agent, proxy and
 * client never import each other: they run on different machines, and only the protocol in link/ joins them.
 */
const MAY_IMPORT: Record<string, string[]> = {
  config: [],
  systemd: ["config"],
  mcp: [],
  rbac: ["config"],
  gate: ["mcp", "rbac"],
  identity: ["config", "rbac"],
  store: ["config", "rbac", "identity"],
  audit: ["config", "store", "identity"],
  link: ["config", "identity"],
  observe: ["config", "mcp"],
  agent: ["link", "audit", "observe", "identity", "gate", "mcp", "rbac", "config", "systemd"],
  proxy: ["link", "audit", "observe", "identity", "store", "rbac", "config"],
  client: ["link", "observe", "identity", "mcp", "config"],
  doctor: ["client", "agent", "link", "observe", "identity", "config"],
  demo: ["client", "config", "agent"],
  cli: ["agent", "proxy", "client", "demo", "doctor", "audit", "config", "identity", "rbac", "systemd"],
};
const BASE = new Set(["errors.ts", "log.ts", "event.ts", "fold.ts", "libc.ts", "terminal.ts", "version.ts"]);

const imports = (file: string): string[] => {
  const text = readFileSync(join(src, file), "utf8");
  return [...text.matchAll(/(?:from|import)\s*\(?\s*"(\.[^"]+)"/g)].map((match) =>
    relative(src, join(src, dirname(file), match[1] as string)),
  );
};

test("imports point down the map", () => {
  const wrong: string[] = [];
  for (const file of files) {
    const folder = file.includes("/") ? (file.split("/")[0] as string) : "";
    for (const target of imports(file)) {
      const to = target.includes("/") ? (target.split("/")[0] as string) : "";
      if (to === folder || BASE.has(target)) continue;
      if (file === "main.ts") continue;
      if (!(MAY_IMPORT[folder] ?? []).includes(to)) wrong.push(`${file} → ${target}`);
    }
  }
  expect(wrong).toEqual([]);
});

test("the audit's store side stays out of agents and clients: they open no database", () => {
  const reached = new Set<string>();
  const walk = (file: string) => {
    if (reached.has(file) || !files.includes(file)) return;
    reached.add(file);
    for (const target of imports(file)) walk(target);
  };
  for (const file of files.filter((each) => /^(agent|client)\//.test(each))) walk(file);
  expect([...reached].filter((file) => file.startsWith("store/") || file.startsWith("proxy/"))).toEqual([]);
});

test("the version is package.json's", async () => {
  const { VERSION } = await import("../src/version.ts");
  const { version } = JSON.parse(readFileSync(join(src, "../package.json"), "utf8"));
  expect(VERSION).toBe(version);
});
