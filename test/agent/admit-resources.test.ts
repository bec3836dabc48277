import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { admitResources } from "../../src/agent/admit-resources.ts";
import type { AppServiceConfig } from "../../src/config/config.ts";

const open: AppServiceConfig = {
  apps: [],
  resumeWindowSeconds: 600,
  drainSeconds: 10,
  resources: [{ env: "dev" }],
  allowCommands: [["docker", "run", "-i", "--rm", "mcp/*"]],
  allowHostUsers: ["mcp"],
};

interface Mcp extends Record<string, unknown> {
  args?: unknown;
}

const resource = (name: string, mcp: Mcp = {}, labels: Record<string, string> = { env: "dev" }) => ({
  name,
  revision: `of ${name}`,
  document: {
    kind: "app",
    version: "v3",
    metadata: { name, labels },
    spec: {
      mcp: { command: "docker", args: ["run", "-i", "--rm", "mcp/everything"], run_as_host_user: "mcp", ...mcp },
    },
  },
});

const reasons = (service: AppServiceConfig, ...resources: Parameters<typeof admitResources>[0][number][]) =>
  admitResources(resources, service).reports.map(({ reason }) => reason ?? "offered");

describe("an agent", () => {
  test("offers what its file admits: shared, with the resource's labels, and known as one", () => {
    const { apps, reports } = admitResources([resource("one")], open);
    expect(reports).toEqual([{ name: "one", revision: "of one", state: "offered" }]);
    expect(apps).toMatchObject([{ name: "one", labels: { env: "dev" }, shared: true, resource: true }]);
    expect(apps[0]?.mcp.env).toBeUndefined();
  });

  test.each([
    ["nothing", {}, []],
    ["only resources", { resources: [{ "*": "*" }] }, ["does not cover docker run -i --rm mcp/everything"]],
    ["commands, and no users", { resources: open.resources, allowCommands: open.allowCommands }, ["does not list mcp"]],
    ["no resources", { allowCommands: open.allowCommands, allowHostUsers: open.allowHostUsers }, []],
  ])("that opted in to %s runs nothing", (_, more, expected) => {
    const service = { apps: [], resumeWindowSeconds: 600, drainSeconds: 10, ...more } as AppServiceConfig;
    expect(admitResources([resource("one")], service).apps).toEqual([]);
    const said = reasons(service, resource("one"));
    expect(said).toHaveLength(expected.length);
    for (const [i, text] of expected.entries()) expect(said[i]).toContain(text);
  });

  test("does not look at what it did not ask for", () => {
    expect(reasons(open, resource("one", {}, { env: "prod" }), resource("two", {}, {}))).toEqual([]);
  });

  test.each([
    [
      { args: ["run", "-i", "--rm", "--privileged", "mcp/x"] },
      /allow_commands .* does not cover docker run -i --rm --priv/,
    ],
    [{ args: ["run", "-i", "--rm", "--privileged"] }, /allow_commands/],
    [{ command: "/usr/bin/docker" }, /allow_commands/],
    [{ command: "sh", args: ["-c", "id"] }, /allow_commands/],
    [{ args: undefined }, /allow_commands/],
    [{ cwd: "/tmp" }, /allow_cwd on the agent's host does not list \/tmp/],
    [{ run_as_host_user: "root" }, /allow_host_users on the agent's host does not list root/],
    [{ run_as_host_user: "MCP" }, /allow_host_users/],
    [{ env: { PATH: "/tmp" } }, /does not understand it: spec\.mcp\.env: stands in the agent's own file only/],
    [{ secrets: "allow" }, /spec\.mcp\.secrets/],
    [{ args: "run" }, /does not understand it/],
    [{ later: true }, /does not understand it: spec\.mcp\.later: unknown key/],
  ])("refuses %j", (mcp, why) => {
    const { apps, reports } = admitResources([resource("one", mcp)], open);
    expect(apps).toEqual([]);
    expect(reports).toMatchObject([{ name: "one", state: "refused" }]);
    expect(reports[0]?.reason).toMatch(why);
  });

  test("takes a template for the host user, whose value is looked up when somebody comes", () => {
    const template = { run_as_host_user: "{{user.traits.unix_login}}" };
    expect(reasons(open, resource("one", template))).toEqual(["offered"]);
    expect(reasons({ ...open, allowHostUsers: [] }, resource("one", template))[0]).toContain("allow_host_users");
  });

  test("has a directory where its file lists it", () => {
    const service = { ...open, allowCwd: ["/srv/data"] };
    const cwds = ["/srv/data", "/srv/data/", "/srv/data/..", "/srv"];
    expect(cwds.map((cwd) => reasons(service, resource("one", { cwd }))[0] === "offered")).toEqual([
      true,
      false,
      false,
      false,
    ]);
  });

  test("keeps no more than so many servers ready, and says nothing at length", () => {
    const all = [60, 0, 40, 1, 0].map((warm, i) => resource(`w${i}`, { warm }));
    expect(reasons(open, ...all)).toEqual([
      ...["offered", "offered", "offered"],
      "with it app resources would keep 101 servers ready (spec.mcp.warm), and an agent keeps 100",
      "offered",
    ]);
    const [long = ""] = reasons(open, resource("long", { [`x${"y".repeat(10_000)}`]: 1 }));
    expect(long).toStartWith("this agent's release does not understand it: spec.mcp.xyyy");
    expect(long.length).toBeLessThanOrEqual(500);
  });

  test("is not held up by documents that are made to be", () => {
    const keys = (count: number) => Object.fromEntries(Array.from({ length: count }, (_, i) => [`k${i}`, 1]));
    const many = Array.from({ length: 300 }, (_, i) => resource(`m${i}`, keys(400)));
    const began = performance.now();
    expect(reasons(open, resource("large", keys(200_000)))).toEqual([
      "this agent's release does not understand it: an app resource has at most 16 KiB",
    ]);
    expect(new Set(reasons(open, ...many)).size).toBe(1);
    // It took 2 s.
    expect(performance.now() - began).toBeLessThan(1_000);
  });

  test("takes no directory of a sandbox by another name", () => {
    for (const path of ["/srv/../etc", "/srv/./x", "/srv//x", "/srv/", "/link/../../usr/bin"]) {
      for (const key of ["read", "write"]) {
        const [reason] = reasons(open, resource("one", { sandbox: { [key]: ["/srv/data", path] } }));
        expect(reason).toContain(`spec.mcp.sandbox.${key}: ${JSON.stringify(path)} is another way to write`);
      }
    }
    expect(reasons(open, resource("one", { sandbox: { read: ["/", "/srv/..data"] } }))).toEqual(["offered"]);
  });

  test("prefers the app of its own file, and takes no name twice", () => {
    const own = { name: "one", labels: {}, description: "", shared: false, mcp: { command: "x", args: [] } };
    expect(reasons({ ...open, apps: [own] }, resource("one"), resource("two"), resource("two"))).toEqual([
      "the agent's own file has an app of this name, and that one is offered",
      "offered",
      "the agent's own file has an app of this name, and that one is offered",
    ]);
    expect(reasons(open, { ...resource("one"), name: "two" })).toEqual(["it is named one"]);
  });

  test("tells no secret in a reason", () => {
    const args = ["--token=abc123", "--api-key", "def456", "PASSWORD=ghi789"];
    const [reason = ""] = reasons(open, resource("one", { args }));
    expect(reason).toContain("--token=");
    for (const secret of ["abc123", "def456", "ghi789"]) expect(reason).not.toContain(secret);
  });
});

test("whatever the proxy sends: what is offered, the file admits", () => {
  const word = fc.constantFrom("docker", "run", "-i", "--rm", "mcp/x", "mcp/*", "--privileged", "", "sh", "-c", "..");
  const path = fc.constantFrom("/srv", "/srv/..", "/srv/", "/", "srv", "/a//b", "\0");
  const sandbox = fc.record({ read: fc.array(path), write: fc.array(path) }, { requiredKeys: [] });
  const others = { cwd: path, sandbox, env: fc.constant({ A: "b" }), secrets: fc.constant("allow"), warm: fc.nat(200) };
  const mcp = fc.record(
    {
      ...{
        command: word,
        args: fc.array(word, { maxLength: 5 }),
        run_as_host_user: fc.constantFrom("mcp", "root", ""),
      },
      ...Object.fromEntries(
        Object.entries(others).map(([key, value]) => [key, fc.option(value as fc.Arbitrary<unknown>, { freq: 3 })]),
      ),
    },
    { requiredKeys: [] },
  );
  const anything = fc.oneof(
    mcp.map((each) => resource("x", each)),
    fc.anything().map((document) => ({ name: "x", revision: "1", document })),
  );
  fc.assert(
    fc.property(fc.array(anything, { maxLength: 3 }), (resources) => {
      const { apps, reports } = admitResources(resources, open);
      for (const { mcp } of apps) {
        expect([mcp.command, ...mcp.args].join(" ")).toMatch(/^docker run -i --rm mcp\/[A-Za-z0-9._-]+$/);
        expect(mcp.runAsHostUser).toBe("mcp");
        expect([mcp.env, mcp.secrets, mcp.cwd]).toEqual([undefined, undefined, undefined]);
        for (const each of [...(mcp.sandbox?.read ?? []), ...(mcp.sandbox?.write ?? [])])
          expect(["/srv", "/"]).toContain(each);
      }
      expect(reports.filter(({ state }) => state === "offered")).toHaveLength(apps.length);
    }),
    { numRuns: 500 },
  );
});
