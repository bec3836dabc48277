/**
 * Proxy and agent as systemd runs them: what it hears from them (sd_notify), and from whom. The socket is a real one, and so
 * are the processes; systemd itself is in `systemd.test.ts`.
 */
import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { openLibc } from "../../src/libc.ts";
import { openReceiver, type Receiver } from "../systemd/receiver.ts";
import { Place, SELF, SLOWEST_MS } from "./harness.ts";
import { descendants, eventually, isAlive, type Service } from "./processes.ts";

setDefaultTimeout(SLOWEST_MS);

/** Within which a sign of life is due, milliseconds; three are given. */
const DUE_MS = 300;

let place: Place;
let proxy: Service;
let agent: Service;
const heard: { proxy: Receiver; agent: Receiver } = {} as never;
/** What systemd hears, when it asks a service for it. */
const asked = (receiver: "proxy" | "agent") => ({
  NOTIFY_SOCKET: receiver === "proxy" ? place.path("proxy.notify") : `@${place.path("agent.notify")}`,
  WATCHDOG_USEC: `${DUE_MS * 1000}`,
});
const isLinux = process.platform === "linux";

describe.skipIf(!isLinux)("as systemd runs them", () => {
  beforeAll(async () => {
    place = await Place.open();
    heard.proxy = openReceiver(asked("proxy").NOTIFY_SOCKET);
    heard.agent = openReceiver(asked("agent").NOTIFY_SOCKET);
    const mcpgate = { data_dir: place.dir, diag_addr: "off" };
    place.file("proxy.yaml", { mcpgate, proxy_service: { listen_addr: "127.0.0.1:0" } });
    proxy = place.start(["proxy", "start"], { env: asked("proxy") });
    const ready = await proxy.ready;
    const [address, ca_pin] = [/127\.0\.0\.1:\d+/.exec(ready)?.[0], /sha256:[0-9a-f]{64}/.exec(ready)?.[0]];

    // The token is where systemd puts it, and no longer in the file that the configuration names.
    const credentials = place.folder("credentials");
    const token = await place.ok(["tokens", "add", "--type=app", "--format=text"]);
    writeFileSync(`${credentials}/mcpgate.join_params.token_name`, token, { mode: 0o400 });
    const joining = { proxy_server: address, ca_pin, join_params: { token_name: place.path("gone") } };
    const demo = { name: "demo", mcp: { command: place.bin, args: ["demo-server"], run_as_host_user: SELF } };
    place.file("agent.yaml", { mcpgate: { ...mcpgate, ...joining }, app_service: { drain: "3s", apps: [demo] } });
    const env = { ...asked("agent"), CREDENTIALS_DIRECTORY: credentials };
    agent = place.start(["agent", "start", `--config=${place.path("agent.yaml")}`], { env });
    await agent.ready;
    rmSync(credentials, { recursive: true });
  });

  afterAll(async () => {
    for (const service of [agent, proxy]) await service?.stop();
    for (const receiver of Object.values(heard)) receiver.close();
    expect(await place.close()).toEqual([]);
  });

  const signs = (receiver: Receiver): number =>
    receiver.messages().filter(({ lines }) => lines.includes("WATCHDOG=1")).length;

  /** Whether a sign of life comes in a time in which several are due; those under way don't count. */
  async function isSilent(receiver: Receiver): Promise<boolean> {
    await Bun.sleep(DUE_MS / 3);
    const before = signs(receiver);
    await Bun.sleep(DUE_MS * 1.5);
    return signs(receiver) === before;
  }

  const moreSigns = (receiver: Receiver): Promise<unknown> => {
    const before = signs(receiver);
    return eventually(() => signs(receiver) > before + 2);
  };

  test("the proxy is ready, says where, and gives signs of life", async () => {
    const { pid, lines } = await heard.proxy.heard("READY=1");
    expect(pid).toBe(proxy.pid);
    expect(lines[1]).toMatch(/^STATUS=ready at 127\.0\.0\.1:\d+$/);
    await moreSigns(heard.proxy);
  });

  test("no sign of life while the thread of the proxy's store does not turn", async () => {
    const frozen = freezeThread(proxy.pid, "Worker");
    const silent = await isSilent(heard.proxy);
    frozen.thaw();
    expect(silent).toBe(true);
    await moreSigns(heard.proxy);
    expect(await place.ok(["tokens", "ls"])).toContain("app");
  });

  test.each(["proxy", "agent"] as const)("%s: a reload is told, and how it ended", async (which) => {
    const [service, receiver, file] = [which === "proxy" ? proxy : agent, heard[which], place.path(`${which}.yaml`)];
    let since = receiver.messages().length;
    process.kill(service.pid, "SIGHUP");
    const { lines } = await receiver.heard("RELOADING=1", since);
    expect(lines[1]).toMatch(/^MONOTONIC_USEC=\d+$/);
    await receiver.heard(
      "READY=1",
      receiver.messages().findLastIndex((each) => each.lines.includes("RELOADING=1")),
    );

    const before = readFileSync(file, "utf8");
    since = receiver.messages().length;
    writeFileSync(file, `${before}nonsense: 1\n`);
    process.kill(service.pid, "SIGHUP");
    await receiver.heard(/^STATUS=goes on with the configuration as it was: .*nonsense: unknown key/, since);
    since = receiver.messages().length;
    writeFileSync(file, before);
    process.kill(service.pid, "SIGHUP");
    await receiver.heard(/^STATUS=(ready at|offers)/, since);
  });

  test("the agent: systemd hears the guard, which it started, and nobody else", async () => {
    const { lines } = await heard.agent.heard("READY=1");
    expect(lines).toEqual(["READY=1", "STATUS=offers demo"]);
    await moreSigns(heard.agent);
    expect(new Set(heard.agent.messages().map(({ pid }) => pid))).toEqual(new Set([agent.pid]));
    // neither the agent proper nor what it starts knows of the socket
    for (const pid of descendants(agent.pid)) {
      expect(readFileSync(`/proc/${pid}/environ`, "utf8")).not.toMatch(/NOTIFY_SOCKET|WATCHDOG_USEC/);
    }
  });

  test("no sign of life while the agent proper does not turn, though the guard does", async () => {
    const worker = agentProper();
    process.kill(worker, "SIGSTOP");
    const silent = await isSilent(heard.agent);
    process.kill(worker, "SIGCONT");
    expect(silent).toBe(true);
    await moreSigns(heard.agent);
  });

  test("an agent that died is started again: systemd has nothing to do, and hears why", async () => {
    const worker = agentProper();
    const since = heard.agent.messages().length;
    process.kill(worker, "SIGKILL");
    await heard.agent.heard("STATUS=the agent died (SIGKILL), and is started again", since);
    await heard.agent.heard("READY=1", since);
    await moreSigns(heard.agent);
    expect(isAlive(agent.pid)).toBe(true);
  });

  test("a stop is told, and how long it may take", async () => {
    expect(await agent.stop()).toBe(0);
    const { lines } = await heard.agent.heard("STOPPING=1");
    expect(lines[1]).toBe(`EXTEND_TIMEOUT_USEC=${(3 + 15) * 1_000_000}`);
    expect(await proxy.stop()).toBe(0);
    await heard.proxy.heard("STOPPING=1");
  });
});

/** The guard's child. */
function agentProper(): number {
  const [pid] = descendants(agent.pid, 1);
  if (pid === undefined) throw new Error("no agent runs");
  return pid;
}

/** Stops one thread of a process, ptrace(2): SIGSTOP stops all of them. */
function freezeThread(pid: number, name: string): { thaw(): void } {
  const [PTRACE_DETACH, PTRACE_SEIZE, PTRACE_INTERRUPT] = [17, 0x4206, 0x4207];
  const { ptrace } = openLibc({ ptrace: { args: ["i32", "i32", "u64", "u64"], returns: "i64" } });
  const tid = Number(
    readdirSync(`/proc/${pid}/task`).find(
      (each) => readFileSync(`/proc/${pid}/task/${each}/comm`, "utf8") === `${name}\n`,
    ),
  );
  for (const request of [PTRACE_SEIZE, PTRACE_INTERRUPT]) expect(ptrace(request, tid, 0n, 0n)).toBe(0n);
  return { thaw: () => expect(ptrace(PTRACE_DETACH, tid, 0n, 0n)).toBe(0n) };
}
