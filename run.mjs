// What the package's scripts run. It needs nothing but Node and npm: it installs the pinned dependencies (the Bun
// runtime among them) when they are missing or the lock file changed, then does the task.
import { spawn, spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { once } from "node:events";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const root = dirname(fileURLToPath(import.meta.url));
const bin = (name) => join(root, "node_modules", ".bin", process.platform === "win32" ? `${name}.cmd` : name);
const shell = process.platform === "win32";

function run(command, args, options = {}) {
  const done = spawnSync(command, args, { cwd: root, stdio: "inherit", shell, ...options });
  if (done.error) throw done.error;
  return done.status ?? 1;
}

function must(command, args, options) {
  const status = run(command, args, options);
  if (status !== 0) process.exit(status);
}

function install() {
  const stamp = join(root, "node_modules", ".installed");
  const wanted = createHash("sha256")
    .update(readFileSync(join(root, "package-lock.json")))
    .digest("hex");
  if (!existsSync(stamp) || readFileSync(stamp, "utf8") !== wanted) {
    must("npm", ["ci", "--no-fund", "--no-audit", "--loglevel=error"], { stdio: ["ignore", 2, 2] });
    writeFileSync(stamp, wanted);
  }
  // Where npm was told not to run install scripts, the runtime's own has to be run by hand.
  if (run(bin("bun"), ["--version"], { stdio: "ignore" }) !== 0) {
    must(process.execPath, [join(root, "node_modules", "bun", "install.js")], { stdio: ["ignore", 2, 2] });
  }
}

const bun = (...args) => must(bin("bun"), args);
const build = (...args) => must(bin("bun"), ["build.ts", ...args], { stdio: ["ignore", 2, 2] });

/** Shows the tests' output as it comes, and ends with the count on a line of its own. */
async function runTests() {
  const child = spawn(bin("bun"), ["test", "--parallel=2", "--timeout=20000"], {
    cwd: root,
    shell,
    stdio: ["ignore", "inherit", "pipe"],
  });
  let tail = "";
  child.stderr.on("data", (chunk) => {
    process.stderr.write(chunk);
    tail = (tail + chunk).slice(-2000);
  });
  const [status] = await once(child, "close");
  const count = (word) => Number(new RegExp(`^ *(\\d+) ${word}$`, "m").exec(tail)?.[1] ?? 0);
  console.log(`${count("pass")} passed, ${count("fail") || (status === 0 ? 0 : 1)} failed`);
  return status ?? 1;
}

function check() {
  must(bin("biome"), ["ci", "--error-on-warnings", "."]);
  must(bin("tsc"), ["--noEmit", "-p", "."]);
}

const [task, ...args] = process.argv.slice(2);
install();
switch (task) {
  case "start":
    build();
    process.exit(run(join(root, "dist", "mcpgate"), ["demo", ...args], { shell: false }));
    break;
  case "build":
    build(...args);
    break;
  case "check":
    check();
    break;
  case "format":
    must(bin("biome"), ["check", "--write", "."]);
    break;
  case "chaos":
    build();
    bun("test/chaos/chaos.ts", ...args);
    break;
  case "fuzz":
    // Lines, and a seed to repeat a run that failed: npm run fuzz -- 100000000 4711
    must(bin("bun"), ["test", "test/mcp/codec-fuzz.test.ts"], {
      env: { ...process.env, FUZZ_LINES: args[0] ?? "20000000", ...(args[1] ? { FUZZ_SEED: args[1] } : {}) },
    });
    break;
  case "bench:codec":
    bun("bench/codec.ts", ...args);
    break;
  case "bench":
    if (process.env.BENCH_BINARY === undefined && !args.some((arg) => arg.startsWith("--binary"))) build();
    bun("bench/bench.ts", ...args);
    break;
  case "test":
    if (args.length > 0) {
      bun("test", ...args);
    } else {
      check();
      build();
      process.exit(await runTests());
    }
    break;
  default:
    console.error(`run.mjs: no such task: ${task}`);
    process.exit(2);
}
