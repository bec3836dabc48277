import { expect, test } from "bun:test";
import { packageRun } from "../../src/agent/package-run.ts";

const run = (line: string) => {
  const [command = "", ...args] = line.split(" ");
  return packageRun(command, args);
};

test("npx: the package, its program, and what is the server's own", () => {
  expect(run("npx -y @modelcontextprotocol/server-everything stdio -y")).toEqual({
    ...{ tool: "npx", packages: ["@modelcontextprotocol/server-everything"], bin: undefined },
    ...{ args: ["stdio", "-y"], options: [] },
  });
  expect(run("/usr/bin/npx --yes server@1.2 --port=1")).toMatchObject({ packages: ["server@1.2"], args: ["--port=1"] });
  expect(run("npx -y --package=a@^1 -p b --registry https://r.example -- prog x")).toEqual({
    ...{ tool: "npx", packages: ["a@^1", "b"], bin: "prog", args: ["x"] },
    options: ["--registry", "https://r.example"],
  });
});

test("uvx, and uv tool run", () => {
  expect(run("uvx mcp-server-git --repository /x")).toEqual({
    ...{ tool: "uvx", packages: ["mcp-server-git"], bin: undefined, args: ["--repository", "/x"], options: [] },
  });
  expect(run("uvx --python 3.12 --from mcp[cli]==1.2 --with rich mcp run")).toEqual({
    ...{ tool: "uvx", packages: ["mcp[cli]==1.2", "rich"], bin: "mcp", args: ["run"], options: ["--python", "3.12"] },
  });
  expect(run("uv tool run ruff@0.4.1")).toMatchObject({ tool: "uvx", packages: ["ruff@0.4.1"] });
  expect(run("uv run server.py")).toBeUndefined();
});

test("other commands are none of these, and what has no version in a registry is refused", () => {
  expect(run("node index.js")).toBeUndefined();
  for (const line of [
    ...["npx", "npx -y", "npx -c server", "npx github:user/repo", "npx user/repo", "npx ./dir", "npx -p"],
    ...["npx https://x.example/p.tgz", "npx a@npm:b", "npx --workspace=x a"],
    ...["uvx --from git+https://x.example/r prog", "uvx ./dir", "uvx --editable x"],
  ]) {
    expect(() => run(line)).toThrow("it can't be pinned: ");
  }
});
