/**
 * A host of its own that systemd runs: a container of namespaces, in which systemd is the first process, for root on a
 * machine where systemd is installed, whether or not it runs there. Nothing of it reaches the machine: processes, mounts,
 * network and control groups are the container's.
 */
import { existsSync, mkdirSync, readdirSync, readFileSync, rmdirSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { isRoot, Place } from "./harness.ts";
import { argvOf, descendants, type Ended, eventually, runCommand } from "./processes.ts";

const SYSTEMD = ["/usr/lib/systemd/systemd", "/lib/systemd/systemd"].find((path) => existsSync(path));

export class SystemdHost {
  /** Its directory is `/opt` there. */
  readonly place: Place;
  readonly #group: string;
  readonly #outer: Bun.Subprocess;
  /** Who made the namespaces, and systemd, as this machine counts. */
  #unshare: number | undefined;
  #pid: number | undefined;

  private constructor(place: Place, group: string, outer: Bun.Subprocess) {
    this.place = place;
    this.#group = group;
    this.#outer = outer;
  }

  /** A string says why there can be none here. */
  static async boot(): Promise<SystemdHost | string> {
    if (process.platform !== "linux" || !isRoot) return "namespaces are root's to make, on Linux";
    if (SYSTEMD === undefined) return "systemd is not installed (apt-get install systemd)";
    const mounted = /^\S+ (\S+) cgroup2 /m.exec(readFileSync("/proc/mounts", "utf8"))?.[1];
    if (mounted === undefined) return "no control groups, version 2";
    const group = join(mounted, `mcpgate-test-${process.pid}`);
    const place = await Place.open();
    const units = place.folder("units", 0o755);
    // What units are ordered by without having to say so.
    for (const name of ["test", "sysinit", "basic", "shutdown", "multi-user", "network-online"]) {
      writeFileSync(join(units, `${name}.target`), "[Unit]\nDefaultDependencies=no\n");
    }
    place.file("boot.sh", bootScript(place.dir, group), 0o755);
    try {
      mkdirSync(group);
    } catch (error) {
      await place.close();
      return `no control group can be made: ${(error as Error).message}`;
    }
    const namespaces = ["--fork", "--pid", "--mount", "--ipc", "--uts", "--net", "--kill-child"];
    // Nothing of it outlives a test that was killed for long.
    const outer = Bun.spawn(
      ["timeout", "--signal=KILL", "120", "unshare", ...namespaces, "bash", place.path("boot.sh")],
      {
        env: { PATH: "/usr/sbin:/usr/bin:/sbin:/bin", container: "mcpgate-test", SYSTEMD_UNIT_PATH: "/opt/units" },
        stdio: ["ignore", "pipe", "pipe"],
        detached: true,
      },
    );
    const said = Promise.all([outer.stdout.text(), outer.stderr.text()]);
    const host = new SystemdHost(place, group, outer);
    try {
      await eventually(async () => {
        if (outer.exitCode !== null) throw new Error("it ended");
        const [unshare] = descendants(outer.pid, 1);
        const [first] = unshare === undefined ? [] : descendants(unshare, 1);
        host.#unshare = unshare;
        // Before it is systemd, the machine's own may still be in sight there.
        host.#pid = first !== undefined && argvOf(first).includes("--unit=test.target") ? first : undefined;
        return host.#pid !== undefined && (await host.run(["systemctl", "is-system-running"])).stdout === "running\n";
      });
      return host;
    } catch {
      await host.stop();
      return `systemd does not come up in a container here: ${(await said).join("").trim().slice(-300)}`;
    }
  }

  /** A command there, as root. */
  run(argv: string[], stdin?: string): Promise<Ended> {
    if (this.#pid === undefined) throw new Error("the container is not up");
    const enter = ["nsenter", "-t", `${this.#pid}`, "-m", "-p", "-i", "-u", "-n", "-C"];
    const env = { PATH: "/usr/sbin:/usr/bin:/sbin:/bin:/opt", HOME: "/opt", SYSTEMD_UNIT_PATH: "/opt/units" };
    return runCommand([...enter, ...argv], { env, cwd: "/", stdin });
  }

  /** The stdout of one that has to succeed. */
  async ok(argv: string[], stdin?: string): Promise<string> {
    const { code, stdout, stderr } = await this.run(argv, stdin);
    if (code !== 0) throw new Error(`${argv.join(" ")} ended with code ${code}:\n${stderr}${stdout}${this.logs()}`);
    return stdout;
  }

  /** What systemd says of a unit. */
  async show(unit: string): Promise<Record<string, string>> {
    const text = await this.ok(["systemctl", "show", unit]);
    return Object.fromEntries(
      text.split("\n").map((line) => [line.split("=", 1)[0] ?? "", line.replace(/^[^=]*=/, "")]),
    );
  }

  /** Lines of a drop-in, the way in which an admin changes a unit; its output goes to a file. */
  dropIn(unit: string, lines: string): void {
    const dir = this.place.folder(`units/${unit}.service.d`, 0o755);
    const log = `StandardOutput=append:/opt/${unit}.log\nStandardError=append:/opt/${unit}.log\n`;
    writeFileSync(join(dir, "test.conf"), `[Service]\n${log}${lines}`);
  }

  logs(): string {
    return readdirSync(this.place.dir)
      .filter((name) => name.endsWith(".log"))
      .map((name) => `\n${name}:\n${readFileSync(this.place.path(name), "utf8")}`)
      .join("");
  }

  /** Processes of a unit, as this machine counts, with their command lines. */
  processes(unit: string): { pid: number; argv: string[] }[] {
    const group = join(this.#group, "system.slice", `${unit}.service`);
    const pids = (dir: string): number[] =>
      !existsSync(dir)
        ? []
        : [
            ...readFileSync(join(dir, "cgroup.procs"), "utf8").split("\n").filter(Boolean).map(Number),
            ...readdirSync(dir).flatMap((name) =>
              statSync(join(dir, name)).isDirectory() ? pids(join(dir, name)) : [],
            ),
          ];
    return pids(group).map((pid) => ({ pid, argv: readFileSync(`/proc/${pid}/cmdline`, "utf8").split("\0") }));
  }

  async stop(): Promise<string[]> {
    // With it goes the first process of the namespace, and so all of them.
    if (this.#unshare !== undefined && this.#outer.exitCode === null) process.kill(this.#unshare, "SIGKILL");
    await this.#outer.exited;
    await eventually(() => removeGroups(this.#group));
    return this.place.close();
  }
}

/** Everything that systemd may write is a file system of its own, or read-only. */
const bootScript = (dir: string, group: string): string => `
set -e
[ "$1" = inside ] || { echo $$ >${group}/cgroup.procs; exec unshare --cgroup bash ${dir}/boot.sh inside; }
mount --make-rprivate /
mount -t proc proc /proc
mount --bind /proc/sys /proc/sys
mount -o remount,bind,ro /proc/sys
umount -R /sys/fs/cgroup
mount -t cgroup2 none /sys/fs/cgroup
mount --bind ${dir} /opt
mount --bind /etc /etc
mount -o remount,bind,ro /etc
for path in /run /var/lib /var/log /var/tmp /tmp; do mount -t tmpfs -o mode=755 tmpfs $path; done
chmod 1777 /tmp /var/tmp
mount --make-rshared /
exec ${SYSTEMD} --system --unit=test.target --log-target=console --log-level=notice --show-status=0
`;

/** Whether nothing of it is left. */
function removeGroups(path: string): boolean {
  try {
    for (const entry of readdirSync(path, { withFileTypes: true })) {
      if (entry.isDirectory() && !removeGroups(join(path, entry.name))) return false;
    }
    rmdirSync(path);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "ENOENT";
  }
}
