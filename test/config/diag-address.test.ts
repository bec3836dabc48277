/** Where metrics and health checks are to be had. */
import { expect, test } from "bun:test";
import { waitingForRestart } from "../../src/config/changes.ts";
import { diagAddress } from "../../src/config/diag-address.ts";
import { parseConfig } from "../../src/config/parse.ts";

const parse = (general: string) =>
  parseConfig(`mcpgate: { ${general} }`, {
    file: "/etc/mcpgate.yaml",
    shownAs: "mcpgate.yaml",
    uid: 1000,
    defaultDataDir: () => "/var/lib/mcpgate",
  });
const both = (general: string) => {
  const config = parse(general);
  return [diagAddress(config, "proxy"), diagAddress(config, "agent")];
};

test("on this host alone unless told, and two services of one host get along", () => {
  expect(both("")).toEqual([
    { host: "127.0.0.1", port: 3070 },
    { host: "127.0.0.1", port: 3071 },
  ]);
});

test("where the file says, for the service that it is for", () => {
  const at = { host: "10.0.0.7", port: 3000 };
  expect(both('diag_addr: "10.0.0.7:3000"')).toEqual([at, at]);
  expect(both('diag_addr: ":9100"')[0]).toEqual({ host: "127.0.0.1", port: 9100 });
  expect(both('diag_addr: "[::1]:0"')[0]).toEqual({ host: "::1", port: 0 });
});

test("nowhere", () => {
  for (const off of ["off", "false", '"off"']) expect(both(`diag_addr: ${off}`)).toEqual([undefined, undefined]);
});

test("what is no address is said with its place", () => {
  expect(() => parse("diag_addr: 127.0.0.1")).toThrow('mcpgate.yaml:1:23: mcpgate.diag_addr: "127.0.0.1" has no port');
  expect(() => parse("diag_addr: 3000")).toThrow("mcpgate.yaml:1:23: mcpgate.diag_addr: expected a string");
  expect(() => parse("diag_adr: off")).toThrow("mcpgate.diag_adr: unknown key");
});

test("another one counts from the next start on", () => {
  const [before, after] = [parse(""), parse("diag_addr: off")];
  for (const service of ["proxy", "agent"] as const) {
    expect(waitingForRestart(service, before, after)).toEqual(["mcpgate.diag_addr"]);
  }
});
