/** The install script as a host runs it: fetched with curl from a proxy with a CA of its own, into a directory for a root. */
import { afterAll, beforeAll, beforeEach, describe, expect, setDefaultTimeout, test } from "bun:test";
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { installLine } from "../../src/cli/install-line.ts";
import { curlPin, spkiPin } from "../../src/identity/pin.ts";
import { createCa, issueLeaf } from "../../src/identity/pki.ts";
import { createLog } from "../../src/log.ts";
import { createInstallRoutes, type InstallOptions } from "../../src/proxy/install-routes.ts";
import { ownPlatform, programName } from "../../src/proxy/platforms.ts";
import { installPs1, installSh, type ScriptValues } from "../../src/proxy/scripts.ts";

setDefaultTimeout(20_000);

const NAME = programName(ownPlatform() ?? "linux-x64");
const PATH = process.env.PATH ?? "/usr/bin:/bin";
/** Like a program of ours: it says which it is, and is some megabytes long. */
const program = (version: string, mebibytes = 0) =>
  `#!/bin/sh\necho "mcpgate ${version} test"\nexit 0\n${"x".repeat(mebibytes * 1024 * 1024)}`;

let dir: string;
let root: string;
let fakes: string;
let source: string;
let certificate: { cert: string; key: string };
let pins: { caPin: string; keyPin: string };
const target = () => join(root, "usr/local/bin/mcpgate");

beforeAll(async () => {
  dir = mkdtempSync(join(tmpdir(), "mcpgate-install-"));
  const ca = await createCa("test");
  const leaf = await issueLeaf({ ca, names: ["127.0.0.1"] });
  certificate = { cert: leaf.certPem, key: leaf.keyPem };
  pins = { caPin: spkiPin(ca.certPem), keyPin: curlPin(leaf.certPem) };
});
afterAll(() => rmSync(dir, { recursive: true, force: true }));

beforeEach(() => {
  const own = mkdtempSync(join(dir, "t-"));
  root = folder(own, "root");
  fakes = folder(own, "fakes");
  folder(own, "downloads");
  source = join(own, "program");
  writeFileSync(source, program("1.0"));
});

function folder(...names: string[]): string {
  const path = join(...names);
  mkdirSync(path, { recursive: true });
  chmodSync(path, 0o755);
  return path;
}

/** A command that comes before the host's own. */
function fake(name: string, script: string): void {
  writeFileSync(join(fakes, name), `#!/bin/sh\n${script}\n`, { mode: 0o755 });
}

/** What a proxy answers with, under the same kind of certificate. */
function serve(more: Partial<InstallOptions> = {}) {
  const asked: { path: string; range: string | null }[] = [];
  const server = Bun.serve({
    hostname: "127.0.0.1",
    port: 0,
    tls: certificate,
    async fetch(request) {
      asked.push({ path: new URL(request.url).pathname, range: request.headers.get("range") });
      return (await routes(request, "192.0.2.1")) ?? new Response("nothing here", { status: 404 });
    },
  });
  const values: ScriptValues = { publicAddr: { host: "127.0.0.1", port: server.port ?? 0 }, ...pins };
  const directory = join(source, "../downloads");
  const log = createLog({ write: () => {} });
  const routes = createInstallRoutes({ ...values, directory, program: source, log, ...more });
  return { values, asked, stop: () => server.stop(true), [Symbol.asyncDispose]: () => server.stop(true) };
}

const env = (more: Record<string, string> = {}) => ({
  PATH: `${fakes}:${PATH}`,
  MCPGATE_ROOT: root,
  HOME: dir,
  ...more,
});

async function sh(argv: string[], script: string, more: Record<string, string> = {}) {
  const child = Bun.spawn(argv, {
    cwd: root,
    env: env(more),
    stdin: Buffer.from(script),
    stdout: "pipe",
    stderr: "pipe",
  });
  const [stdout, stderr, code] = await Promise.all([child.stdout.text(), child.stderr.text(), child.exited]);
  return { code, stdout, stderr };
}

/** The script as the proxy gives it out, in a shell. */
const install = (values: ScriptValues, more: Record<string, string> = {}, shell = "bash") =>
  sh([shell, "-s"], installSh(values), more);

/** All that lies under the root. */
const inRoot = () => readdirSync(root, { recursive: true, encoding: "utf8" });

describe("installing", () => {
  test("as the line says that is printed: checked by the key, and a second time nothing changes", async () => {
    await using proxy = serve();
    const { host, port } = proxy.values.publicAddr;
    const trust = { public_addr: `${host}:${port}`, ca_pin: pins.caPin, key_pin: pins.keyPin };
    const first = await sh(["bash"], installLine(trust, "bash"));
    expect(first.stderr).toBe(
      `mcpgate: getting ${NAME} from ${host}:${port}\nmcpgate: installed ${target()}: mcpgate 1.0 test\n`,
    );
    expect([first.code, first.stdout]).toEqual([0, ""]);
    expect(statSync(target()).mode & 0o777).toBe(0o755);
    expect(readFileSync(target())).toEqual(readFileSync(source));

    const { ino, mtimeMs } = statSync(target());
    const second = await sh(["bash"], installLine(trust, "bash"));
    expect([second.code, second.stderr]).toEqual([0, expect.stringMatching(/is up to date \(\d+\.\d+\.\d+\)\n$/)]);
    expect(statSync(target())).toMatchObject({ ino, mtimeMs });
    expect(proxy.asked.filter(({ path }) => path.endsWith(NAME))).toHaveLength(1);
    expect(readdirSync(join(root, "usr/local/bin"))).toEqual(["mcpgate"]);
  });

  test("with another proxy's key nothing is even fetched, nor by the script itself", async () => {
    await using proxy = serve();
    const { host, port } = proxy.values.publicAddr;
    const other = curlPin((await issueLeaf({ ca: await createCa("other"), names: ["127.0.0.1"] })).certPem);
    const line = installLine({ public_addr: `${host}:${port}`, ca_pin: pins.caPin, key_pin: other }, "bash");
    expect((await sh(["bash"], line)).stderr).toContain("public key does not match pinned public key");
    expect(proxy.asked).toEqual([]);
    const { code, stderr } = await install({ ...proxy.values, keyPin: other });
    expect([code, stderr]).toEqual([1, expect.stringContaining("public key does not match pinned public key")]);
    expect(proxy.asked).toEqual([]);
    expect(inRoot()).toEqual([]);
  });

  test("without a pin it takes a certificate that the host can check, and no other", async () => {
    await using proxy = serve();
    const { publicAddr } = proxy.values;
    const home = folder(root, "../home");
    const refused = { code: 1, stderr: expect.stringContaining("curl: (60)") };
    expect(await install({ publicAddr }, { HOME: home })).toMatchObject(refused);
    // nor where somebody's curl was told not to look
    writeFileSync(join(home, ".curlrc"), "insecure\n");
    expect(await install({ publicAddr }, { HOME: home })).toMatchObject(refused);
    expect([inRoot(), proxy.asked]).toEqual([[], []]);
  });

  test("a curl that takes a pin and checks nothing is not relied on", async () => {
    await using proxy = serve();
    // as one built with Rustls does
    fake(
      "curl",
      `for word; do shift; if [ "$word" = --pinnedpubkey ]; then skip=1; elif [ "$skip" = 1 ]; then skip=; else set -- "$@" "$word"; fi; done
PATH='${PATH}' exec curl "$@"`,
    );
    const { code, stderr } = await install(proxy.values);
    expect([code, stderr]).toEqual([1, expect.stringContaining("error: this curl can't check the proxy's key: curl ")]);
    expect(proxy.asked.map(({ path }) => path)).toEqual(["/"]);
    expect(inRoot()).toEqual([]);
  });

  test("a newer program takes the place of the older one in one step", async () => {
    await using proxy = serve();
    await install(proxy.values);
    writeFileSync(source, program("2.0"));
    expect((await install(proxy.values)).stderr).toContain("mcpgate 2.0 test");
    expect(readFileSync(target(), "utf8")).toBe(program("2.0"));
  });

  test("what was changed on its way is not installed, and the old program stays", async () => {
    await using proxy = serve();
    await install(proxy.values);
    writeFileSync(source, program("2.0"));
    // the real one, and then one more byte in the file that it wrote
    fake(
      "curl",
      `PATH='${PATH}' curl "$@" || exit $?\nfor out; do case $last in --output) printf x >>"$out" ;; esac; last=$out; done`,
    );
    const { code, stderr } = await install(proxy.values);
    expect([code, stderr]).toEqual([
      1,
      expect.stringContaining("error: what came is not what the proxy's SHA256SUMS says"),
    ]);
    expect(readFileSync(target(), "utf8")).toBe(program("1.0"));
    expect(readdirSync(join(root, "usr/local/bin"))).toEqual(["mcpgate"]);
  });

  test("a program that does not run here is not installed, and the old one stays", async () => {
    await using proxy = serve();
    await install(proxy.values);
    writeFileSync(source, "#!/bin/sh\necho 'no such library' >&2\nexit 127\n");
    const { code, stderr } = await install(proxy.values);
    expect([code, stderr]).toEqual([1, expect.stringContaining("does not run here: no such library")]);
    expect(readFileSync(target(), "utf8")).toBe(program("1.0"));
    expect(readdirSync(join(root, "usr/local/bin"))).toEqual(["mcpgate"]);
  });

  test("a download that is cut goes on where it stopped", async () => {
    writeFileSync(source, program("1.0", 3));
    await using proxy = serve({ deadlineMs: 200, pace: 6 * 1024 * 1024 });
    fake("sleep", "exit 0");
    expect((await install(proxy.values)).code).toBe(0);
    expect(readFileSync(target()).equals(readFileSync(source))).toBe(true);
    const [first, ...further] = proxy.asked.filter(({ path }) => path.endsWith(NAME)).map(({ range }) => range);
    expect(first).toBe(null);
    expect(further.length).toBeGreaterThan(0);
    for (const range of further) expect(range).toMatch(/^bytes=[1-9]\d*-$/);
  });

  test("a proxy that has too much to do just now is asked again, ten minutes long", async () => {
    await using proxy = serve();
    const asked = join(root, "../asked");
    const busy = (times: number) => {
      rmSync(asked, { force: true });
      fake(
        "curl",
        `case $* in *${NAME}*) echo >>'${asked}'; if [ "$(wc -l <'${asked}')" -le ${times} ]; then printf 429; exit 22; fi ;; esac
PATH='${PATH}' exec curl "$@"`,
      );
    };
    fake("sleep", `[ "$1" = 10 ]`);
    busy(100);
    const { code, stderr } = await install(proxy.values);
    expect([code, stderr]).toEqual([1, expect.stringContaining(`too many others get ${NAME} from 127.0.0.1`)]);
    expect(readFileSync(asked, "utf8")).toHaveLength(60);
    busy(12);
    expect((await install(proxy.values)).stderr).toContain("mcpgate 1.0 test");
  });

  test("one that is cut, and then there is another program, is not made of two", async () => {
    writeFileSync(source, program("1.0", 3));
    await using proxy = serve({ deadlineMs: 200, pace: 6 * 1024 * 1024 });
    fake("sleep", `rm -f '${source}'; cp '${source}.new' '${source}'`);
    writeFileSync(`${source}.new`, program("2.0"));
    const { code, stderr } = await install(proxy.values);
    // its sum was that of the older one
    expect([code, stderr]).toEqual([1, expect.stringContaining("is not what the proxy's SHA256SUMS says")]);
    expect(readdirSync(join(root, "usr/local/bin"))).toEqual([]);
    expect((await install(proxy.values)).stderr).toContain("mcpgate 2.0 test");
  });

  test.skipIf(Bun.which("dash") === null)("in a shell that knows nothing but POSIX", async () => {
    await using proxy = serve();
    expect(await install(proxy.values, {}, "dash")).toMatchObject({ code: 0, stdout: "" });
    expect(existsSync(target())).toBe(true);
  });

  test("MCPGATE_PREFIX chooses the place, and has to be absolute", async () => {
    await using proxy = serve();
    expect((await install(proxy.values, { MCPGATE_PREFIX: "/opt/a b" })).code).toBe(0);
    expect(existsSync(join(root, "opt/a b/bin/mcpgate"))).toBe(true);
    const { code, stderr } = await install(proxy.values, { MCPGATE_PREFIX: "opt" });
    expect([code, stderr]).toEqual([1, expect.stringContaining("not an absolute path: opt")]);
  });

  test("anything but --token=FILE is wrong usage", async () => {
    await using proxy = serve();
    const { code, stderr } = await sh(["bash", "-s", "--", "--help"], installSh(proxy.values));
    expect([code, stderr]).toEqual([2, expect.stringContaining("install.sh does not know --help")]);
    expect(proxy.asked).toEqual([]);
  });
});

describe("platforms", () => {
  const tell = (system: string, machine: string) =>
    fake("uname", `case $1 in -s) echo ${system} ;; -m) echo ${machine} ;; esac`);

  test.each([
    ["Linux", "riscv64", "no program for Linux on riscv64"],
    ["FreeBSD", "amd64", "no program for FreeBSD"],
    ["MINGW64_NT-10.0", "x86_64", "/scripts/install.ps1"],
  ])("%s on %s is refused", async (system, machine, words) => {
    await using proxy = serve();
    tell(system, machine);
    expect(await install(proxy.values)).toMatchObject({ code: 1, stderr: expect.stringContaining(words) });
    expect(proxy.asked).toEqual([]);
    expect(readdirSync(root)).toEqual([]);
  });

  test.each([
    ["Linux", "aarch64", "glibc 2.36", "mcpgate-linux-arm64"],
    ["Linux", "x86_64", "glibc 2.36", "mcpgate-linux-x64"],
    ["Darwin", "arm64", "", "mcpgate-darwin-arm64"],
    ["Darwin", "x86_64", "", "mcpgate-darwin-x64"],
  ])("%s on %s with %s is %s; not offered, and then it is", async (system, machine, libc, name) => {
    await using proxy = serve({ program: undefined });
    tell(system, machine);
    fake("getconf", `case $1 in GNU_LIBC_VERSION) echo ${libc} ;; *) exit 1 ;; esac`);
    const { code, stderr } = await install(proxy.values);
    expect([code, stderr]).toEqual([1, expect.stringContaining(`this proxy does not offer ${name}`)]);
    expect(stderr).toContain("proxy_service.downloads_dir");
    writeFileSync(join(source, "../downloads", name), program("arm"), { mode: 0o644 });
    expect((await install(proxy.values)).stderr).toContain(`mcpgate: getting ${name} from`);
  });

  test("a host without curl: GNU wget does, with the same pin; BusyBox's can't check anything", async () => {
    await using proxy = serve();
    const alone = folder(fakes, "alone");
    const tools = [
      "bash",
      "sh",
      "uname",
      "getconf",
      "grep",
      "id",
      "mktemp",
      "cut",
      "sha256sum",
      "chmod",
      "mv",
      "mkdir",
    ];
    for (const tool of [...tools, "rm", "sync"]) {
      const path = Bun.which(tool);
      if (path !== null) symlinkSync(path, join(alone, tool));
    }
    writeFileSync(join(alone, "wget"), "#!/bin/sh\necho 'BusyBox v1.36.1 multi-call binary.' >&2\nexit 1\n", {
      mode: 0o755,
    });
    const without = await install(proxy.values, { PATH: alone });
    expect(without).toMatchObject({ code: 1, stderr: expect.stringContaining("this needs curl, or a GNU wget") });

    const wget = Bun.which("wget");
    if (wget === null || !(await Bun.$`${wget} --help`.nothrow().text()).includes("--pinnedpubkey")) return;
    rmSync(join(alone, "wget"));
    symlinkSync(wget, join(alone, "wget"));
    const wrong = `sha256//${"A".repeat(43)}=`;
    const refused = await install({ ...proxy.values, keyPin: wrong }, { PATH: alone });
    expect(refused).toMatchObject({ code: 1, stderr: expect.stringContaining("does not match pinned public key") });
    expect(proxy.asked).toEqual([]);
    expect((await install(proxy.values, { PATH: alone })).code).toBe(0);
    expect(readFileSync(target(), "utf8")).toBe(program("1.0"));
  });
});

describe("the text of the script", () => {
  const values: ScriptValues = { publicAddr: { host: "mcpgate.example.com", port: 443 } };

  test("cut off anywhere, it does nothing", async () => {
    const script = installSh(values);
    const tripwire = join(root, "ran");
    for (const name of ["uname", "mkdir", "id", "curl", "mktemp", "getconf"])
      fake(name, `echo ${name} >>'${tripwire}'; exit 1`);
    const ends = [...Array(40).keys()].map((i) => script.length - 2 - i);
    for (let end = 1; end < script.length - 42; end += 251) ends.push(end);
    await Promise.all(
      [0, 1, 2, 3].map(async (lane) => {
        for (const end of ends.filter((_, i) => i % 4 === lane)) {
          await sh(["bash", "-s"], script.slice(0, end));
          if (existsSync(tripwire)) throw new Error(`it ran when cut at ${end} of ${script.length}`);
        }
      }),
    );
    expect(ends.length).toBeGreaterThan(60);
    await sh(["bash", "-s"], script);
    expect(existsSync(tripwire)).toBe(true);
  });

  test.skipIf(Bun.which("shellcheck") === null)("shellcheck has nothing to say (skipped without it)", async () => {
    for (const each of [values, { ...values, ...pins }]) {
      for (const shell of ["sh", "bash"]) {
        const { code, stdout } = await sh(["shellcheck", `--shell=${shell}`, "-"], installSh(each));
        expect([code, stdout]).toEqual([0, ""]);
      }
    }
  });

  const hostile = [
    "::1",
    "xn--mcpgate-n2a.example",
    "a'b",
    "'; touch pwned; '",
    "$(touch pwned)`touch pwned`",
    'a" b\\',
    "a\nb",
    "’; touch pwned; ‘",
    "$&",
    "%s%n",
  ];

  test.each(hostile)("%j as public address is a word and nothing else", async (host) => {
    fake("curl", `for word; do printf '%s\\0' "$word"; done >'${join(root, "argv")}'; exit 6`);
    fake("getconf", "exit 0");
    const child = await sh(["bash", "-s"], installSh({ publicAddr: { host, port: 8443 }, ...pins }));
    expect(child.code).toBe(1);
    const argv = readFileSync(join(root, "argv"), "utf8").split("\0");
    const address = host.includes(":") ? `[${host}]` : host;
    expect(argv).toContain(`https://${address}:8443/downloads/SHA256SUMS`);
    expect(argv).toContain(pins.keyPin);
    expect(inRoot().filter((name) => name.includes("pwned"))).toEqual([]);
  });

  /** By PowerShell's own rule: any of five characters ends the text, and two of them in a row are one. */
  test.each(hostile)("%j is one in PowerShell too", (host) => {
    const script = installPs1({ publicAddr: { host, port: 8443 }, ...pins });
    const from = script.indexOf("$baseUrl = '") + "$baseUrl = '".length;
    let [at, read] = [from, ""];
    for (; !(/['‘’‚‛]/.test(script[at] ?? "") && !/['‘’‚‛]/.test(script[at + 1] ?? "")); at++) {
      if (/['‘’‚‛]/.test(script[at] ?? "")) at++;
      read += script[at];
    }
    expect(read).toBe(`https://${host.includes(":") ? `[${host}]` : host}:8443`);
    expect(script.slice(at + 1, at + 2)).toBe("\n");
  });

  test("in PowerShell the pin is of the whole key, and nothing runs before the last line", async () => {
    const script = installPs1({ ...values, ...pins });
    const head = Buffer.from([...script.matchAll(/0x([0-9a-f]{2})/g)].map(([, hex = ""]) => hex).join(""), "hex");
    const { publicKey } = new (await import("node:crypto")).X509Certificate(certificate.cert);
    const info = publicKey.export({ type: "spki", format: "der" });
    expect(info.subarray(0, head.length)).toEqual(head);
    expect(info.length - head.length).toBe(65);
    const outside = script
      .replace(/@'\n[\s\S]*?\n'@/g, "")
      .replace(/^function Install-Mcpgate \{[\s\S]*?^\}$/m, "")
      .replace(/^#.*$/gm, "");
    expect(outside.trim()).toBe("& { Install-Mcpgate }");
  });
});
