/**
 * Who a server runs as: the host's own account database, by name.
 *
 * `getent passwd` where it is (glibc's NSS: /etc/passwd, LDAP, SSSD, systemd-homed, …), else /etc/passwd (musl, where
 * that file is the database); elsewhere than on Linux only the agent's own user. Not `getpwnam` through FFI: the layout of its struct differs between C libraries, and a
 * slow directory server would block the agent. Groups are not looked up here: the exec helper calls `initgroups`,
 * which asks the same database in the process that it concerns.
 */
import { existsSync, readFileSync } from "node:fs";
import { userInfo } from "node:os";
import { Failure, messageOf } from "../errors.ts";
import { spawnOwn } from "./own-child.ts";

export interface HostUser {
  name: string;
  uid: number;
  /** The primary group. */
  gid: number;
  home: string;
  shell: string;
}

/** What a lookup needs of the host; tests hand in their own. */
export interface AccountDatabase {
  /** The entry's line, `undefined` where there is none; throws when the database didn't answer. */
  find(key: string): Promise<string | undefined>;
}

const GETENT = ["/usr/bin/getent", "/bin/getent"];
const NOT_FOUND = 2;
const LOOKUP_MS = 10_000;

/** One line of passwd(5), or `undefined` where it isn't one. */
export function parsePasswdLine(line: string): HostUser | undefined {
  const [name, , uidText, gidText, , home, shell] = line.trimEnd().split(":");
  if (!name || shell === undefined || home === undefined) return undefined;
  if (!/^\d{1,10}$/.test(uidText ?? "") || !/^\d{1,10}$/.test(gidText ?? "")) return undefined;
  return { name, uid: Number(uidText), gid: Number(gidText), home: home || "/", shell: shell || "/bin/sh" };
}

/** The host's database. `getent` treats a key of digits as a uid, and so do the others. */
export const hostAccounts: AccountDatabase = {
  async find(key) {
    if (process.platform !== "linux") return findOwn(key);
    const getent = GETENT.find((path) => existsSync(path));
    if (getent === undefined) return findInFile(readFileSync("/etc/passwd", "utf8"), key);
    const lookup = spawnOwn([getent, "passwd", key], {
      stdio: ["ignore", "pipe", "ignore"],
      env: {},
      cwd: "/",
      timeout: LOOKUP_MS,
      killSignal: "SIGKILL",
    });
    const [text, code] = await Promise.all([lookup.stdout.text(), lookup.exited]);
    if (code === 0) return text.split("\n", 1)[0];
    if (code === NOT_FOUND) return undefined;
    throw new Error(`getent ended with ${lookup.signalCode ?? `code ${code}`}`);
  },
};

/** Where servers run as the agent's own user only, that user is all there is to find. */
function findOwn(key: string): string | undefined {
  const { username, uid, gid, homedir, shell } = userInfo();
  return findInFile([username, "x", Math.max(uid, 0), Math.max(gid, 0), "", homedir, shell ?? ""].join(":"), key);
}

function findInFile(text: string, key: string): string | undefined {
  const field = /^\d+$/.test(key) ? 2 : 0;
  return text.split("\n").find((line) => line.split(":")[field] === key);
}

/**
 * The account of that name. Failure `start_failed` where there is none, or where the database can't say.
 * A number is no name: `getent passwd 0` answers with root, whose name isn't the one that was asked for.
 */
export async function loadHostUser(name: string, accounts: AccountDatabase = hostAccounts): Promise<HostUser> {
  const user = /^(?!-)[^\s:/\0]{1,256}$/u.test(name) ? await load(name, `host user "${name}"`, accounts) : undefined;
  if (user === undefined || user.name !== name) {
    throw new Failure("start_failed", `host user "${name}" doesn't exist on this host`, {
      hint: `create it (useradd --system --create-home ${/^[a-z_][\w-]*$/.test(name) ? name : "NAME"}), or name another in run_as_host_user`,
    });
  }
  return user;
}

/** The account that this uid belongs to; one without an entry (a container's) gets the uid as its name and no home. */
export async function loadHostUserById(
  uid: number,
  gid: number,
  accounts: AccountDatabase = hostAccounts,
): Promise<HostUser> {
  const user = await load(String(uid), `uid ${uid}`, accounts).catch(() => undefined);
  // The gid of the process counts, not the database's: this user isn't switched to, it is there already.
  if (user?.uid === uid) return { ...user, gid };
  return { name: String(uid), uid, gid, home: "/", shell: "/bin/sh" };
}

async function load(key: string, what: string, accounts: AccountDatabase): Promise<HostUser | undefined> {
  let line: string | undefined;
  try {
    line = await accounts.find(key);
  } catch (error) {
    throw new Failure("start_failed", `can't look up ${what} on this host: ${messageOf(error)}`, {
      hint: `see what the host says: getent passwd ${JSON.stringify(key)}`,
      cause: error,
    });
  }
  return line === undefined ? undefined : parsePasswdLine(line);
}

/** Fails closed: root starts nothing without being told as whom, and nobody else can become another user. */
export async function chooseHostUser(
  name: string | undefined,
  accounts: AccountDatabase,
): Promise<{ user: HostUser; switching: boolean }> {
  const [uid, gid] = [process.geteuid?.() ?? -1, process.getegid?.() ?? -1];
  if (uid === 0) {
    if (name === undefined) {
      throw new Failure(
        "start_failed",
        "the agent runs as root, and the app doesn't say which host user its server runs as",
        {
          hint: "set run_as_host_user for the app (to root, where it really has to be root)",
        },
      );
    }
    return { user: await loadHostUser(name, accounts), switching: true };
  }
  if (name !== undefined) {
    const user = await loadHostUser(name, accounts);
    if (user.uid !== uid) {
      throw new Failure(
        "start_failed",
        `only an agent that runs as root can start a server as host user ${user.name}`,
        {
          hint: "start the agent as root, or as that user: sudo mcpgate agent start",
        },
      );
    }
  }
  return { user: await loadHostUserById(uid, gid, accounts), switching: false };
}
