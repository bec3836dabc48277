/** The text format, read back by somebody else's parser. */
import { expect, test } from "bun:test";
import parsePrometheusTextFormat from "parse-prometheus-text-format";
import { Metrics } from "../../src/observe/metrics.ts";
import { addProcessMetrics } from "../../src/observe/process-metrics.ts";

async function parsed(metrics: Metrics) {
  const families = parsePrometheusTextFormat(await metrics.text());
  return Object.fromEntries(families.map(({ name, ...rest }) => [name, rest]));
}

test("counters, gauges and what is kept elsewhere", async () => {
  const metrics = new Metrics();
  const calls = metrics.counter("calls_total", "Calls.", ["app", "outcome"]);
  calls.of("everything", "ok").value += 2;
  calls.of("everything", "denied").value += 1;
  calls.of("everything", "ok").value += 1;
  metrics.counter("never_total", "Nothing yet.");
  metrics.gauge("load", "One number.", () => 0.5);
  metrics.gauge("by_app", "Many.", async () => [[["a"], 1] as const, [["b"], 2] as const], ["app"]);
  metrics.count("elsewhere_total", "Kept elsewhere.", () => 7);
  expect(await parsed(metrics)).toEqual({
    calls_total: {
      help: "Calls.",
      type: "COUNTER",
      metrics: [
        { labels: { app: "everything", outcome: "ok" }, value: "3" },
        { labels: { app: "everything", outcome: "denied" }, value: "1" },
      ],
    },
    never_total: { help: "Nothing yet.", type: "COUNTER", metrics: [{ value: "0" }] },
    load: { help: "One number.", type: "GAUGE", metrics: [{ value: "0.5" }] },
    by_app: {
      help: "Many.",
      type: "GAUGE",
      metrics: [
        { labels: { app: "a" }, value: "1" },
        { labels: { app: "b" }, value: "2" },
      ],
    },
    elsewhere_total: { help: "Kept elsewhere.", type: "COUNTER", metrics: [{ value: "7" }] },
  });
});

test("histograms count what is at most their bucket's end, and all below it", async () => {
  const metrics = new Metrics();
  const seconds = metrics.histogram("seconds", "Time.", [0.1, 1], ["app"]);
  for (const value of [0.05, 0.1, 0.5, 1, 30]) seconds.observe(value, "x");
  // that parser leaves labels and sums of histograms out
  expect((await metrics.text()).trimEnd().split("\n")).toEqual([
    "# HELP seconds Time.",
    "# TYPE seconds histogram",
    'seconds_bucket{app="x",le="0.1"} 2',
    'seconds_bucket{app="x",le="1"} 4',
    'seconds_bucket{app="x",le="+Inf"} 5',
    'seconds_sum{app="x"} 31.65',
    'seconds_count{app="x"} 5',
  ]);
  expect((await parsed(metrics)).seconds?.metrics).toMatchObject([{ buckets: { "0.1": "2", "1": "4", "+Inf": "5" } }]);
});

test("labels and help may hold anything", async () => {
  const metrics = new Metrics();
  const wild = 'C:\\new, a "quote", a \\ and a\nnew line {x="y"} 1';
  metrics.gauge("wild", "Help with a \\ and a\nnew line.", () => [[[wild], 1] as const], ["what"]);
  const text = await metrics.text();
  expect(text.split("\n")).toHaveLength(4); // two comments, one series, and the end of the last line
  const [series] = (await parsed(metrics)).wild?.metrics ?? [];
  expect(series?.labels).toEqual({ what: wild });
});

test("what can't be read just now is left out, and nothing else with it", async () => {
  const metrics = new Metrics();
  metrics.gauge("broken", "Throws.", () => {
    throw new Error("the store is gone");
  });
  metrics.gauge("rejected", "Rejects.", () => Promise.reject(new Error("the store is gone")));
  metrics.gauge("unknown", "Not known.", () => undefined);
  metrics.gauge("fine", "Fine.", () => 1);
  expect(Object.keys(await parsed(metrics))).toEqual(["fine"]);
});

test("a name is there once", () => {
  const metrics = new Metrics();
  metrics.counter("calls_total", "Calls.");
  expect(() => metrics.gauge("calls_total", "Calls.", () => 1)).toThrow("twice");
});

test("a process says what it is and what it uses", async () => {
  const metrics = new Metrics();
  const stop = addProcessMetrics(metrics, "agent");
  await Bun.sleep(250); // two looks at the event loop
  const found = await parsed(metrics);
  stop();
  expect(found.mcpgate_build_info?.metrics).toMatchObject([{ value: "1", labels: { service: "agent" } }]);
  const value = (name: string) => Number(found[name]?.metrics[0]?.value);
  expect(value("process_resident_memory_bytes")).toBeGreaterThan(10_000_000);
  expect(value("process_cpu_seconds_total")).toBeGreaterThan(0);
  expect(Math.abs(value("process_start_time_seconds") * 1000 - performance.timeOrigin)).toBeLessThan(1000);
  expect(Number(found.mcpgate_event_loop_delay_seconds?.metrics[0]?.count)).toBeGreaterThan(0);
  if (process.platform === "linux") {
    expect(value("process_open_fds")).toBeGreaterThan(2);
    expect(value("process_max_fds")).toBeGreaterThan(value("process_open_fds"));
  }
});
