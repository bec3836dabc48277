/** What the doctor looks at, and what it says of the rest. */
import { afterAll, expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { runDoctor } from "../../src/doctor/run.ts";

const dir = mkdtempSync(join(tmpdir(), "mcpgate-doctor-"));
afterAll(() => rmSync(dir, { recursive: true }));
const [none, there, gone] = ["none.yaml", "agent.yaml", "gone.yaml"].map((name) => join(dir, name)) as [
  string,
  string,
  string,
];
writeFileSync(none, "");
writeFileSync(there, "");

/** A host on which a unit starts the agent with that file. */
const run = (file: string) => async (argv: string[]) =>
  argv.includes("mcpgate-agent.service")
    ? `Id=mcpgate.service\nLoadState=loaded\nExecStart={ path=/x ; argv[]=/x agent start --config=${file} ; ignore_errors=no }`
    : "Id=mcpgate.service\nLoadState=loaded\nExecStart={ path=/x ; argv[]=/x agent start ; }";
const look = async (file: string) => {
  const edges = { run: run(file), booted: dir };
  const findings = await runDoctor({ path: none, env: { MCPGATE_HOME: join(dir, "home") }, uid: 0, edges });
  return findings.filter(({ check }) => check !== "configuration");
};

test("a service whose unit has a configuration of its own is not passed over in silence", async () => {
  expect(await look(there)).toEqual([
    {
      ...{ part: "host", check: "agent", state: "skip" },
      message: `not looked at: mcpgate.service starts it with ${there}`,
      fix: `sudo mcpgate doctor --config=${there}`,
    },
  ]);
});

test("a unit whose configuration is gone", async () => {
  expect(await look(gone)).toEqual([
    {
      ...{ part: "host", check: "agent", state: "fail" },
      message: `mcpgate.service starts it with ${gone}, which is not there`,
      fix: "put the file back, or make a unit with another: mcpgate install systemd --for=agent --config=FILE",
    },
  ]);
});

test("the very file that was looked at, with nothing in it", async () => {
  const findings = await look(none);
  expect(findings.map(({ check }) => check)).toEqual(["set up"]);
});
