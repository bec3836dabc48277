/** `npm run bench`: measures mcpgate beside a bare pipe, its floor in C and its peers, in one run and in turn. */
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { cpus, loadavg, release, tmpdir, totalmem } from "node:os";
import { join } from "node:path";
import { answered } from "./calls.ts";
import { compileNative } from "./native.ts";
import { Parts } from "./parts.ts";
import { PEER_VERSIONS } from "./peers.ts";
import { parseOptions, USAGE } from "./plan.ts";
import { argvOf, descendants, end, run } from "./processes.ts";
import { type Report, show } from "./report.ts";

async function compiled(given: string | undefined): Promise<string> {
  const binary = given ?? join(import.meta.dir, "../dist/mcpgate");
  if (!existsSync(binary)) throw new Error(`no binary: ${binary}; npm run build`);
  return binary;
}

function machine(load: number[]): Report["machine"] {
  const all = cpus();
  return { cpu: all[0]?.model.trim() ?? "", cpus: all.length, kernel: release(), memory: totalmem(), load };
}

/** What this process has started and is still there. */
function leftovers(): string[] {
  return descendants(process.pid).map((pid) => {
    const left = `${pid} ${argvOf(pid).join(" ").trim()}`;
    end(pid);
    return left;
  });
}

async function main(): Promise<number> {
  const options = parseOptions(process.argv.slice(2), process.env);
  if (process.platform !== "linux")
    throw new Error("the benchmark runs on Linux only: it reads /proc and waits in epoll(7)");
  const began = performance.now();
  const load = loadavg();
  const dir = mkdtempSync(join(tmpdir(), "mcpgate-bench-"));
  let bench: Parts | undefined;
  const abort = () => {
    leftovers();
    rmSync(dir, { recursive: true, force: true });
    process.exit(130);
  };
  process.once("SIGINT", abort);
  process.once("SIGTERM", abort);
  try {
    const binary = await compiled(options.binary);
    const native = await compileNative(dir);
    if (native === undefined) throw new Error("no C compiler (cc): the server that is measured is written in C");
    const bytes = readFileSync(binary);
    const version = (await run([binary, "version"], { env: {}, cwd: dir })).trim();
    bench = new Parts({ plan: options.plan, dir, binary, native });
    await bench.measure();
    await bench.stop();
    const { rows, facts, skipped } = bench;
    const report: Report = {
      schema: 1,
      at: new Date().toISOString(),
      options: {
        speed: options.speed,
        ...options.plan,
        parts: [...options.plan.parts],
        contenders: [...options.plan.contenders],
        peers: PEER_VERSIONS,
      },
      machine: machine(load),
      binary: { version, sha256: createHash("sha256").update(bytes).digest("hex") },
      bun: Bun.version,
      rows,
      facts,
      calls: answered.calls,
      left: leftovers(),
      skipped,
      seconds: (performance.now() - began) / 1000,
    };
    const file = options.results ?? join(import.meta.dir, "results", `${report.at.replaceAll(":", "-")}.json`);
    mkdirSync(join(file, ".."), { recursive: true });
    writeFileSync(file, `${JSON.stringify(report, null, 2)}\n`);
    console.log(show(report));
    return report.left.length === 0 ? 0 : 1;
  } finally {
    await bench?.stop().catch(() => {});
    leftovers();
    rmSync(dir, { recursive: true, force: true });
  }
}

main().then(
  (code) => process.exit(code),
  (error) => {
    console.error(`bench: ${error instanceof Error ? error.message : error}\n${USAGE}`);
    process.exit(1);
  },
);
