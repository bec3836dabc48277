/** Adds an app to an MCP client's configuration file. */
import {
  closeSync,
  fchmodSync,
  fchownSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readFileSync,
  readlinkSync,
  renameSync,
  rmSync,
  statSync,
  writeSync,
} from "node:fs";
import { homedir } from "node:os";
import { basename, dirname, join, resolve } from "node:path";
import { Failure } from "../errors.ts";
import { getMember, setMember } from "./jsonc-edit.ts";

/** How an MCP client starts one server. */
export interface ServerEntry {
  command: string;
  args: string[];
  env?: Record<string, string>;
}

/** Under which name, and how, an MCP client starts the connection to `app`. */
export function serverEntry(
  app: string,
  self: string[],
  env: Record<string, string | undefined>,
): [string, ServerEntry] {
  const [command = "mcpgate", ...program] = self;
  const entry: ServerEntry = { command, args: [...program, "client", "connect", app] };
  // MCP clients pass on a handful of variables only; without this one the client would look in another place
  const home = env.MCPGATE_HOME;
  if (home) entry.env = { MCPGATE_HOME: resolve(home) };
  return [`mcpgate-${app}`, entry];
}

/** `claude` and `cursor` stand for the files of these clients, anything else for itself. Absolute. */
export function clientConfigPath(
  client: string,
  env: Record<string, string | undefined>,
  platform: NodeJS.Platform = process.platform,
): string {
  const home = env.HOME || env.USERPROFILE || homedir();
  if (client === "cursor") return join(home, ".cursor", "mcp.json");
  if (client !== "claude") return resolve(client);
  const file = join("Claude", "claude_desktop_config.json");
  if (platform === "darwin") return join(home, "Library", "Application Support", file);
  if (platform === "win32") return join(env.APPDATA || join(home, "AppData", "Roaming"), file);
  return join(env.XDG_CONFIG_HOME || join(home, ".config"), file);
}

export interface Merged {
  /** The file that was written: symbolic links followed. */
  file: string;
  /** The file as it was before; undefined where there was none, or nothing changed. */
  backup: string | undefined;
  changed: boolean;
}

/**
 * Sets `mcpServers.NAME` in the file and leaves everything else in it as it is; of an entry that is there already only
 * `command`, `args` and `env.MCPGATE_HOME` change. The file is replaced in one step, with its mode and owner; the old
 * text is kept beside it as `.bak`. A new file is 0600.
 * @throws Failure `invalid` when the file holds no JSON object (it stays untouched); `permissions`, `conflict`.
 */
export function mergeServer(path: string, name: string, entry: ServerEntry): Merged {
  const file = followLinks(path);
  const before = readText(file);
  let after: string;
  try {
    after = withServer(before ?? "", name, entry);
  } catch (error) {
    const failure = Failure.from(error);
    throw new Failure(failure.code, `${file}: ${failure.message}`, {
      hint: "correct the file by hand; nothing in it was changed",
      cause: error,
    });
  }
  if (after === before) return { file, backup: undefined, changed: false };
  try {
    if (before === undefined) mkdirSync(dirname(file), { recursive: true });
    else replaceFile(`${file}.bak`, before, file);
    if (readText(file) !== before) throw new Failure("conflict", `${file}: changed while it was being edited`);
    replaceFile(file, after, file);
  } catch (error) {
    if (error instanceof Failure) throw error;
    throw new Failure("permissions", `${file}: can't be written (${(error as NodeJS.ErrnoException).code})`, {
      cause: error,
    });
  }
  return { file, backup: before === undefined ? undefined : `${file}.bak`, changed: true };
}

function withServer(text: string, name: string, entry: ServerEntry): string {
  const at = ["mcpServers", name] as const;
  const old = getMember(text, [...at]);
  if (typeof old !== "object" || old === null || Array.isArray(old)) return setMember(text, [...at], entry);
  let next = setMember(text, [...at, "command"], entry.command);
  next = setMember(next, [...at, "args"], entry.args);
  for (const [key, value] of Object.entries(entry.env ?? {})) next = setMember(next, [...at, "env", key], value);
  return next;
}

/** Also where the link's target does not exist yet. */
function followLinks(path: string): string {
  let file = resolve(path);
  for (let hops = 0; hops < 40; hops++) {
    try {
      file = resolve(dirname(file), readlinkSync(file));
    } catch {
      return file;
    }
  }
  throw new Failure("invalid", `${path}: too many symbolic links`);
}

function readText(file: string): string | undefined {
  let bytes: Buffer;
  try {
    bytes = readFileSync(file);
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    if (code === "ENOENT") return undefined;
    if (code === "EISDIR") throw new Failure("usage", `${file}: is a directory`);
    throw new Failure("permissions", `${file}: can't be read (${code})`, { cause: error });
  }
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    throw new Failure("invalid", `${file}: is not UTF-8 text`);
  }
}

/** Writes `path` in one step with the mode and owner of `like`, or 0600 where that does not exist. */
function replaceFile(path: string, text: string, like: string): void {
  const stat = statSync(like, { throwIfNoEntry: false });
  const temporary = join(dirname(path), `.${basename(path)}.${crypto.randomUUID()}`);
  try {
    const fd = openSync(temporary, "wx", 0o600);
    try {
      if (stat !== undefined) {
        if (process.getuid?.() === 0) fchownSync(fd, stat.uid, stat.gid);
        fchmodSync(fd, stat.mode & 0o7777);
      }
      const bytes = Buffer.from(text);
      for (let written = 0; written < bytes.length; ) written += writeSync(fd, bytes, written);
      fsyncSync(fd);
    } finally {
      closeSync(fd);
    }
    renameSync(temporary, path);
  } catch (error) {
    rmSync(temporary, { force: true });
    throw error;
  }
}
