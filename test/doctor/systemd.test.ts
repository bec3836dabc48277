import { expect, test } from "bun:test";
import { tmpdir } from "node:os";
import { checkUnit, findUnit, startCommand } from "../../src/doctor/systemd.ts";
import { wrong } from "./proxy-in-here.ts";

/** As `systemctl show` prints units. */
const shown = (...units: Record<string, string>[]): string =>
  units
    .map((unit) =>
      Object.entries(unit)
        .map(([key, value]) => `${key}=${value}`)
        .join("\n"),
    )
    .join("\n\n");
const unit = (more: Record<string, string> = {}, part = "agent") => ({
  ...{ Id: "mcpgate.service", LoadState: "loaded", ActiveState: "active", UnitFileState: "enabled", Result: "success" },
  NRestarts: "0",
  ExecStart: `{ path=/usr/local/bin/mcpgate ; argv[]=/usr/local/bin/mcpgate ${part} start --config=/etc/mcpgate.yaml ; }`,
  ...more,
});
const absent = (Id: string) => ({ Id, LoadState: "not-found", ActiveState: "inactive" });
const look = (text: string, part: "agent" | "proxy" = "agent") =>
  checkUnit({ part, run: async () => text, booted: tmpdir() });

test("a unit that runs and starts with the host", async () => {
  expect(await look(shown(unit(), absent("mcpgate-agent.service")))).toEqual([
    { part: "agent", check: "systemd", state: "ok", message: "mcpgate.service is active" },
  ]);
});

const cases: [more: Record<string, string>, expected: string, fix: string][] = [
  [
    { ActiveState: "failed", Result: "exit-code" },
    "fail systemd: mcpgate.service has failed (exit-code)",
    "sudo journalctl -u mcpgate.service -n 50 --no-pager; sudo systemctl restart mcpgate.service",
  ],
  [
    { ActiveState: "inactive" },
    "fail systemd: mcpgate.service is inactive",
    "sudo systemctl enable --now mcpgate.service",
  ],
  [
    { ActiveState: "activating" },
    "warn systemd: mcpgate.service is activating",
    "sudo journalctl -u mcpgate.service -n 50 --no-pager",
  ],
  [
    { NRestarts: "17" },
    "warn systemd: mcpgate.service was restarted 17 times",
    "sudo journalctl -u mcpgate.service -n 50 --no-pager",
  ],
  [
    { UnitFileState: "disabled" },
    "warn systemd: mcpgate.service runs, but does not start with the host (disabled)",
    "sudo systemctl enable mcpgate.service",
  ],
];
for (const [more, expected, fix] of cases) {
  test(expected, async () => {
    const found = await look(shown(unit(more)));
    expect([wrong(found), found[0]?.fix]).toEqual([[expected], fix]);
  });
}

test("the other service's unit is not this one's", async () => {
  const [found] = await look(shown(unit({}, "proxy"), absent("mcpgate-agent.service")));
  expect([found?.state, found?.fix]).toEqual([
    "warn",
    "sudo mcpgate install systemd --for=agent -o /etc/systemd/system/mcpgate-agent.service && sudo systemctl enable --now mcpgate-agent.service",
  ]);
  const [free] = await look(shown(absent("mcpgate.service"), absent("mcpgate-agent.service")));
  expect(free?.fix).toContain("-o /etc/systemd/system/mcpgate.service && ");
  expect(wrong(await look(shown(absent("mcpgate-proxy.service"), unit({}, "proxy")), "proxy"))).toEqual([]);
});

test("what starts the service here, and with which file", async () => {
  const told = (text: string) => ({ part: "proxy" as const, run: async () => text, booted: tmpdir() });
  const own = told(shown(unit({}, "proxy"), absent("mcpgate-proxy.service")));
  expect(await findUnit(own)).toEqual({ unit: "mcpgate.service", file: "/etc/mcpgate.yaml" });
  expect(await startCommand(own)).toBe("sudo systemctl restart mcpgate.service");
  const other = told(shown(unit(), absent("mcpgate-proxy.service")));
  expect(await findUnit(other)).toBeUndefined();
  expect(await startCommand(other)).toBe("sudo mcpgate proxy start");
  const run = () => Promise.reject(new Error("no answer"));
  expect(await startCommand({ part: "agent", run, booted: tmpdir() })).toBe("sudo mcpgate agent start");
});

test("a host without systemd is asked nothing", async () => {
  const run = () => Promise.reject(new Error("asked"));
  expect(await checkUnit({ part: "agent", run, booted: "/nowhere/at/all" })).toEqual([]);
});
