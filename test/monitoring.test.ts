/** What the dashboard, the alerts and docs/watching.md say of metrics is true: they exist under these names. */
import { expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { parse } from "yaml";
import { type AgentNumbers, addAgentMetrics, agentCounts } from "../src/agent/metrics.ts";
import type { Config } from "../src/config/config.ts";
import { diagAddress } from "../src/config/diag-address.ts";
import { Metrics } from "../src/observe/metrics.ts";
import { addProcessMetrics } from "../src/observe/process-metrics.ts";
import { addProxyMetrics, countedAnswers, measuredIngest, type ProxyParts } from "../src/proxy/metrics.ts";
import { Tally } from "../src/proxy/tally.ts";

const root = join(import.meta.dir, "..");
const read = (name: string): string => readFileSync(join(root, name), "utf8");

/** Every metric that there is. Nothing of what they are read from is needed to know their names. */
function known(): Set<string> {
  const agent = new Metrics();
  addProcessMetrics(agent, "agent")();
  agentCounts(agent);
  addAgentMetrics(agent, {} as AgentNumbers);
  const proxy = new Metrics();
  addProcessMetrics(proxy, "proxy")();
  const endpoint = { tally: new Tally() };
  addProxyMetrics(proxy, {
    relay: { clients: endpoint, agentSessions: endpoint },
    agents: endpoint,
  } as unknown as ProxyParts);
  measuredIngest(proxy, async () => ({ stored: 0, invalid: 0 }));
  countedAnswers(proxy, () => new Response());
  return new Set([...agent.names, ...proxy.names]);
}

const names = known();

/** The metrics of these expressions. */
const metricsIn = (text: string): Set<string> =>
  new Set(
    [...text.matchAll(/\b(?:mcpgate|process)_[a-z_]+/g)].map(([name]) => name.replace(/_(bucket|count|sum)$/, "")),
  );

interface Panel {
  title: string;
  targets?: { expr: string }[];
}

const dashboard = JSON.parse(read("examples/monitoring/grafana-dashboard.json")) as { panels: Panel[] };
const expressions = dashboard.panels.flatMap(({ targets = [] }) => targets.map(({ expr }) => expr));
const alerts = parse(read("examples/monitoring/alerts.yaml")) as {
  groups: { rules: { alert: string; expr: string }[] }[];
};
const rules = alerts.groups.flatMap((group) => group.rules);

test("metrics have the names that Prometheus asks for", () => {
  expect(names.size).toBeGreaterThan(40);
  for (const name of names) expect(name).toMatch(/^(mcpgate_(agent_|proxy_)?|process_)[a-z_]+$/);
});

test("the dashboard and the alerts ask for metrics that there are", () => {
  expect(expressions.length).toBeGreaterThan(40);
  expect([...metricsIn(expressions.join("\n"))].filter((name) => !names.has(name))).toEqual([]);
  for (const { alert, expr } of rules) {
    const used = [...metricsIn(expr)];
    expect({ alert, unknown: used.filter((name) => !names.has(name)) }).toEqual({ alert, unknown: [] });
    expect(used.length > 0 || /^up\b/.test(expr)).toBe(true);
  }
});

test("every metric is on the dashboard or in an alert", () => {
  const used = metricsIn([...expressions, ...rules.map(({ expr }) => expr)].join("\n"));
  expect([...names].filter((name) => !used.has(name))).toEqual([]);
});

test("every metric is in docs/watching.md", () => {
  const told = read("docs/watching.md");
  expect([...names].filter((name) => !told.includes(`\`${name}\``))).toEqual([]);
});

test("Prometheus looks where services listen unless told", () => {
  const { scrape_configs } = parse(read("examples/monitoring/prometheus.yaml"));
  const targets = scrape_configs.flatMap((job: { job_name: string; static_configs: { targets: string[] }[] }) =>
    job.static_configs.flatMap((each) => each.targets.map((target) => [job.job_name, target])),
  );
  const at = (service: "proxy" | "agent") => {
    const { host, port } = diagAddress({} as Config, service) ?? {};
    return [`mcpgate-${service}`, `${host}:${port}`];
  };
  expect(targets).toEqual([at("proxy"), at("agent")]);
});
