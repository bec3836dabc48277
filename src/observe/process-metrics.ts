/** What is known of a process whichever service it runs: under the names that Prometheus' own clients use. */
import { readdirSync, readFileSync } from "node:fs";
import { VERSION } from "../version.ts";
import type { Metrics } from "./metrics.ts";

/** How often the event loop is looked at, milliseconds. */
const LOOK_MS = 100;
const DELAYS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5];

/** Adds them, and follows the event loop until the returned function is called. */
export function addProcessMetrics(metrics: Metrics, service: "proxy" | "agent"): () => void {
  const built = [
    ["version", "service", "runtime"],
    [VERSION, service, `bun ${Bun.version}`],
  ] as const;
  metrics.gauge("mcpgate_build_info", "Which release this is; always 1.", () => [[built[1], 1]], built[0]);
  metrics.gauge("process_start_time_seconds", "Start of the process, Unix time.", () => performance.timeOrigin / 1000);
  metrics.count("process_cpu_seconds_total", "Processor time, user and system.", () => {
    const { user, system } = process.cpuUsage();
    return (user + system) / 1e6;
  });
  metrics.gauge("process_resident_memory_bytes", "Resident memory.", () => process.memoryUsage.rss());
  metrics.gauge("process_open_fds", "Open file descriptors.", () => openFiles());
  metrics.gauge("process_max_fds", "File descriptors that there may be.", () => maxFiles());
  return followEventLoop(metrics);
}

/** How much later than it asked to be a timer is called: what a call waits for before anything is done about it. */
function followEventLoop(metrics: Metrics): () => void {
  const delays = metrics.histogram(
    "mcpgate_event_loop_delay_seconds",
    `How late the event loop is, looked at ${1000 / LOOK_MS} times a second.`,
    DELAYS,
  );
  let due = performance.now() + LOOK_MS;
  const timer = setInterval(() => {
    const now = performance.now();
    delays.observe(Math.max(0, now - due) / 1000);
    due = now + LOOK_MS;
  }, LOOK_MS);
  timer.unref();
  return () => clearInterval(timer);
}

/** Undefined where the system has no /proc. */
function openFiles(): number | undefined {
  try {
    return readdirSync("/proc/self/fd").length - 1; // the one that reads the directory
  } catch {
    return undefined;
  }
}

function maxFiles(): number | undefined {
  try {
    const soft = /^Max open files\s+(\d+)/m.exec(readFileSync("/proc/self/limits", "utf8"))?.[1];
    return soft === undefined ? undefined : Number(soft);
  } catch {
    return undefined;
  }
}
