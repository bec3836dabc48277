/** From a proxy to an agent on a host that has nothing: the line that `tokens add` prints, run as it stands. */
import { afterAll, beforeAll, expect, setDefaultTimeout, test } from "bun:test";
import { existsSync, linkSync, mkdirSync, readFileSync, statSync } from "node:fs";
import { parse } from "yaml";
import { isRoot, PATH, Place, SLOWEST_MS, startProxy } from "./harness.ts";
import { eventually, isAlive, runCommand, type Service } from "./processes.ts";

// downloads go at a bounded pace, and one here is the whole program
setDefaultTimeout(3 * SLOWEST_MS);

let place: Place;
let proxy: Service;
let address: string;
let pin: string;

beforeAll(async () => {
  place = await Place.open();
  ({ proxy, address, pin } = await startProxy(place));
  for (const name of ["root/run/systemd/system", "fakes"]) mkdirSync(place.path(name), { recursive: true });
  place.file("fakes/sudo", '#!/bin/sh\nexec "$@"\n', 0o755);
  // What systemd does: reads the unit, starts the agent, waits until it is ready. Its data goes where the test's does.
  place.file(
    "fakes/systemctl",
    `#!/bin/sh
echo "$@" >>'${place.path("systemctl.log")}'
case $1 in
  is-active) test -e '${place.path("agent.pid")}' ;;
  enable)
    test ! -e '${place.path("agent.pid")}' || exit 0
    sed -i 's|^mcpgate:|mcpgate:\\n  data_dir: ${place.path("data")}|' '${place.path("root/etc/mcpgate.yaml")}'
    eval "set -- $(sed -n 's/^ExecStart=//p' '${place.path("root/etc/systemd/system/mcpgate.service")}')"
    "$@" >'${place.path("agent.out")}' 2>'${place.path("agent.err")}' </dev/null &
    echo $! >'${place.path("agent.pid")}'
    while kill -0 $! && ! grep -q ready '${place.path("agent.out")}'; do sleep 0.1; done ;;
esac
`,
    0o755,
  );
});

afterAll(async () => {
  const pid = agentPid();
  if (pid !== undefined) {
    process.kill(pid, "SIGTERM");
    await eventually(() => !isAlive(pid));
  }
  await proxy.stop();
  expect(await place.close()).toEqual([]);
});

const agentPid = (): number | undefined =>
  existsSync(place.path("agent.pid")) ? Number(readFileSync(place.path("agent.pid"), "utf8")) : undefined;

/** The line for a new host, and the token in it. */
async function newToken(): Promise<{ line: string; token: string }> {
  const told = await place.ok(["tokens", "add", "--type=app"]);
  const line = told.split("\n").find((each) => each.includes("install.sh")) ?? "";
  return { line, token: /^The join token: (\S+)$/m.exec(told)?.[1] ?? "" };
}

function paste(line: string) {
  const env = {
    PATH: `${place.path("fakes")}:${PATH}`,
    MCPGATE_ROOT: place.path("root"),
    HOME: place.dir,
    TMPDIR: place.dir,
  };
  return runCommand(["bash", "-c", line], { env, cwd: place.dir });
}

const log = () => readFileSync(place.path("systemctl.log"), "utf8").trimEnd().split("\n");

test("one line: the program, a configuration, a unit, an agent that has joined, and no token left", async () => {
  const { line, token } = await newToken();
  const { code, stderr } = await paste(line);
  expect([code, stderr]).toEqual([0, expect.stringContaining(`the agent runs, and is connected to ${address}`)]);
  const program = place.path("root/usr/local/bin/mcpgate");
  expect(readFileSync(program).equals(readFileSync(place.bin))).toBe(true);

  const config = place.path("root/etc/mcpgate.yaml");
  expect(statSync(config).mode & 0o777).toBe(0o600);
  const kept = place.path("root/etc/mcpgate-token");
  const { mcpgate, app_service } = parse(readFileSync(config, "utf8"));
  expect(mcpgate).toMatchObject({ proxy_server: address, ca_pin: pin, join_params: { token_name: kept } });
  expect(app_service.apps[0]).toMatchObject({
    name: "demo",
    ...(isRoot ? { mcp: { run_as_host_user: "nobody" } } : {}),
  });
  expect(readFileSync(place.path("root/etc/systemd/system/mcpgate.service"), "utf8")).toContain(
    `ExecStart=${program} agent start --config=${config}`,
  );
  expect(log()).toEqual(["daemon-reload", "try-restart mcpgate", "enable --now mcpgate"]);

  const [joined] = JSON.parse(await place.ok(["agents", "ls", "--format=json"]));
  expect(joined).toMatchObject({ online: true, apps: ["demo"] });
  expect((await runCommand(["grep", "-rl", token, place.path("root"), place.dir], { env: { PATH } })).stdout).toBe("");
});

test("the same again, with a new token: nothing is fetched, replaced or restarted", async () => {
  const files = ["usr/local/bin/mcpgate", "etc/mcpgate.yaml", "etc/systemd/system/mcpgate.service"];
  const before = files.map((name) => statSync(place.path("root", name)).mtimeMs);
  const calls = log().length;
  const { code, stderr } = await paste((await newToken()).line);
  expect([code, stderr]).toEqual([0, expect.stringContaining("is up to date")]);
  expect(files.map((name) => statSync(place.path("root", name)).mtimeMs)).toEqual(before);
  expect(log().slice(calls)).toEqual(["daemon-reload", "enable --now mcpgate"]);
  expect(existsSync(place.path("root/etc/mcpgate-token"))).toBe(false);
});

test("a configuration that is something else's stays, and nothing is done at all", async () => {
  const other = place.folder("other/etc");
  place.file("other/etc/mcpgate.yaml", "proxy_service: {enabled: true}\n");
  const { line } = await newToken();
  const { code, stderr } = await paste(`export MCPGATE_ROOT='${place.path("other")}'; ${line}`);
  expect([code, stderr]).toEqual([1, expect.stringContaining(`${other}/mcpgate.yaml is there already`)]);
  expect(readFileSync(`${other}/mcpgate.yaml`, "utf8")).toBe("proxy_service: {enabled: true}\n");
  expect(existsSync(place.path("other/usr"))).toBe(false);
});

test("a token that is not there, or where systemd is not: says so", async () => {
  const bare = place.folder("bare");
  const { line } = await newToken();
  const missing = await paste(`export MCPGATE_ROOT='${bare}'; ${line.replace('--token="$t"', "--token=/nowhere")}`);
  expect([missing.code, missing.stderr]).toEqual([1, expect.stringContaining("there is no token in /nowhere")]);
  expect(existsSync(place.path("bare/usr"))).toBe(false);
  place.folder("bare/usr/local/bin");
  linkSync(place.path("root/usr/local/bin/mcpgate"), place.path("bare/usr/local/bin/mcpgate"));
  const { code, stderr } = await paste(`export MCPGATE_ROOT='${bare}'; ${line}`);
  expect([code, stderr]).toEqual([0, expect.stringContaining("there is no systemd here; start the agent with:")]);
  expect(statSync(`${bare}/etc/mcpgate-token`).mode & 0o777).toBe(0o600);
  expect(parse(readFileSync(`${bare}/etc/mcpgate.yaml`, "utf8")).mcpgate.proxy_server).toBe(address);
});

test("the key by which hosts know the proxy stays when its certificate is made anew", async () => {
  const before = JSON.parse(await place.ok(["tokens", "add", "--type=app", "--format=json"]));
  await proxy.stop();
  const config = parse(readFileSync(place.path("proxy.yaml"), "utf8"));
  place.file("proxy.yaml", { ...config, proxy_service: { ...config.proxy_service, public_addr: "localhost:1" } });
  proxy = place.start(["proxy", "start"]);
  await proxy.ready;
  const after = JSON.parse(await place.ok(["tokens", "add", "--type=app", "--format=json"]));
  expect(after.public_addr).toBe("localhost:1");
  expect([after.key_pin, after.ca_pin]).toEqual([before.key_pin, before.ca_pin]);
  const url = `https://${address}/scripts/install.sh`;
  const pinned = ["curl", "-fsS", "-k", "--pinnedpubkey", after.key_pin, "-o", place.path("script"), url];
  expect(await runCommand(pinned, { env: { PATH } })).toMatchObject({ code: 0, stderr: "" });
  expect(readFileSync(place.path("script"), "utf8")).toContain("base_url='https://localhost:1'\n");
});
