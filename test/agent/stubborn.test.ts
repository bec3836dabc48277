/** Real, stubborn processes, under agents that are root and that aren't: counted by pid afterwards, there are none. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { chmodSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { loadHostUser } from "../../src/agent/host-user.ts";
import { ENTRY, eventually, hostUser, isAlive, isLinux, isRoot, makeFolder, start } from "./scene.ts";

let folder: ReturnType<typeof makeFolder>;
beforeAll(() => {
  folder = makeFolder("hydra.sh", "stubborn.sh");
  chmodSync(folder.path, 0o777);
});
afterAll(() => folder.remove());

/** Each notes the pids of all that it starts in $PIDS, one a line, and says `READY`. */
const servers: Record<string, string> = {
  "ignores SIGTERM": `trap '' TERM; echo $$ >>"$PIDS"; echo READY; while :; do sleep 1000; done`,
  "traps SIGINT and ignores the end of its stdin": `trap 'echo no' INT; echo $$ >>"$PIDS"; echo READY; exec sleep 1000`,
  "flees by double fork and setsid": `(setsid sh -c 'echo $$ >>"$PIDS"; exec sleep 1000' &); echo $$ >>"$PIDS"
    while [ "$(wc -l <"$PIDS")" -lt 2 ]; do :; done; echo READY; cat`,
  "forks 100 children": `echo $$ >>"$PIDS"; i=0
    while [ $i -lt 100 ]; do sleep 1000 & echo $! >>"$PIDS"; i=$((i + 1)); done; echo READY; wait`,
  "floods its stdout": `echo $$ >>"$PIDS"; exec yes READY`,
  "floods its stderr": `echo $$ >>"$PIDS"; echo READY; head -c 1000000000 /dev/zero | tr '\\0' x >&2`,
  "never reads its stdin": `echo $$ >>"$PIDS"; echo READY; exec sleep 1000`,
  "prints junk": `echo $$ >>"$PIDS"; printf '\\377\\000junk\\n{]\\nREADY\\n'; exec cat`,
  "exits at once": `echo $$ >>"$PIDS"; echo READY`,
};

const nobody = isRoot ? await loadHostUser("nobody") : undefined;
const agents: [string, { host?: string | undefined; uid?: number; gid?: number }][] = [
  ["an agent that is root, a server that isn't", { host: hostUser }],
  ["an agent and a server that are root", { host: "root" }],
  ["an agent that isn't root", { uid: nobody?.uid ?? -1, gid: nobody?.gid ?? -1 }],
];

describe.skipIf(!isLinux).each(isRoot ? agents : [["an agent that isn't root", {}] as (typeof agents)[number]])(
  "%s",
  (_, { host, ...ids }) => {
    test.each(Object.entries(servers))(
      "%s",
      async (name, script) => {
        const pids = join(folder.path, `pids-${name.replaceAll(" ", "-")}`);
        rmSync(pids, { force: true });
        writeFileSync(pids, "");
        chmodSync(pids, 0o666);
        const options = {
          ...{ command: "sh", args: ["-c", script], env: { PIDS: pids }, hostUser: host, source: ENTRY },
          contain: `s${process.pid}`,
        };
        const agent = Bun.spawn([process.execPath, ENTRY, "agent", JSON.stringify(options)], {
          stdio: ["pipe", "pipe", "inherit"],
          env: { PATH: "/usr/bin:/bin", HOME: "/" },
          ...ids,
        });
        let said = "";
        let ready = false;
        const read = (async () => {
          const decoder = new TextDecoder();
          for await (const chunk of agent.stdout) {
            said = (said + decoder.decode(chunk)).slice(-1000);
            ready ||= said.includes("READY");
          }
        })();
        const noted = (): number[] => readFileSync(pids, "utf8").split("\n").filter(Boolean).map(Number);
        await eventually(() => ready, 10_000);
        agent.stdin.end();
        expect(await agent.exited).toBe(0);
        await read;
        expect(noted().length).toBe(name.startsWith("forks") ? 101 : name.startsWith("flees") ? 2 : 1);
        expect(noted().filter(isAlive)).toEqual([]);
      },
      20_000,
    );
  },
);

test.skipIf(!isLinux)(
  "a gigabyte on stderr, half of it in one line: neither kept nor logged, and the server goes on",
  async () => {
    const before = process.memoryUsage.rss();
    const began = performance.now();
    const half = "head -c 500000000 /dev/zero";
    const lines =
      "yes 'one of five million lines on stderr, as a server in a loop of errors prints them, over and over' | head -c 500000000";
    const script = `${half} | tr '\\0' x >&2; echo >&2; ${lines} >&2; echo >&2; echo the end >&2; echo alive`;
    const { server, output, entries } = await start({ command: "sh", args: ["-c", script] });
    expect((await server.exited).code).toBe(0);
    expect(output()).toBe("alive\n");
    expect(server.stderrTail().at(-1)).toBe("the end");
    // A hundred lines a second are logged, and once a second how many were not.
    expect(entries.length).toBeLessThan(110 * ((performance.now() - began) / 1000 + 2));
    // Of a gigabyte; what the collector has not given back yet is in it.
    expect((process.memoryUsage.rss() - before) / 1024 / 1024).toBeLessThan(400);
  },
  60_000,
);

/** `MCPGATE_STARTS=1000` for the full number. */
const STARTS = Number(process.env.MCPGATE_STARTS ?? 150);

test.skipIf(!isLinux)(
  "many servers, ended at random moments of their start: the ledger is exact, and nothing has leaked",
  async () => {
    const options = { count: STARTS, tag: `c${process.pid}`, hostUser, source: ENTRY };
    const child = Bun.spawn([process.execPath, ENTRY, "churn", JSON.stringify(options)], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    const left = JSON.parse(await child.stdout.text());
    expect(left).toMatchObject({
      spawned: STARTS + 24,
      exited: STARTS + 24,
      running: 0,
      fds: 0,
      children: 0,
      groups: 0,
    });
    expect(left.grownMiB).toBeLessThan(64);
    if (STARTS > 200) console.log(left);
  },
  300_000,
);
