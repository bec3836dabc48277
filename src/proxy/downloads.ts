/** The programs that the proxy offers: the one that it runs itself, and those of other platforms from a directory. */
import { createHash } from "node:crypto";
import { type BigIntStats, constants } from "node:fs";
import { type FileHandle, open, stat } from "node:fs/promises";
import { join } from "node:path";
import type { Log } from "../log.ts";
import { ownPlatform, PLATFORMS, programName } from "./platforms.ts";

/** No other file is ever opened, so a name is looked up and never becomes part of a path. */
export const PROGRAM_NAMES: readonly string[] = PLATFORMS.map(programName);

export interface OpenProgram {
  file: FileHandle;
  /** Bytes. */
  size: number;
  /** Of the whole file, 64 hex digits. */
  sha256: string;
}

export interface DownloadsOptions {
  /** Looked into at every request; need not be there. */
  directory: string;
  /** Where the program that runs can be read. It comes before what the directory has for the same platform. */
  program?: string | undefined;
  log: Log;
}

const { O_NOFOLLOW = 0, O_NONBLOCK = 0, O_RDONLY } = constants;
/** Summed between two turns of the event loop, bytes: the relay lives in it too. Less than a millisecond. */
const PIECE = 256 * 1024;

export class Downloads {
  readonly #options: DownloadsOptions;
  /** The name of the program that runs. */
  readonly #own: string | undefined;
  /** Sums of files as they were: another inode, size or time of change is another file. */
  readonly #sums = new Map<string, { stamp: string; sha256: Promise<string | undefined> }>();
  /** What was last logged of a file: once, however often strangers ask for it. */
  readonly #refusals = new Map<string, string>();
  #listing: Promise<string> | undefined;

  constructor(options: DownloadsOptions) {
    this.#options = options;
    const platform = options.program === undefined ? undefined : ownPlatform();
    this.#own = platform === undefined ? undefined : programName(platform);
  }

  /** What is on offer right now, as `sha256sum` prints it. All who ask at once get one answer, for one open file. */
  sums(): Promise<string> {
    this.#listing ??= this.#list().finally(() => {
      this.#listing = undefined;
    });
    return this.#listing;
  }

  async #list(): Promise<string> {
    const lines: string[] = [];
    for (const name of PROGRAM_NAMES) {
      const program = await this.open(name);
      if (program === undefined) continue;
      lines.push(`${program.sha256}  ${name}\n`);
      await program.file.close();
    }
    return lines.join("");
  }

  /** `name`: one of `PROGRAM_NAMES`. Undefined where it is not on offer. The caller closes the file. */
  async open(name: string): Promise<OpenProgram | undefined> {
    const { program, directory } = this.#options;
    const isOwn = name === this.#own && program !== undefined;
    let file: FileHandle;
    try {
      // Ours may be a link, /proc/self/exe. NONBLOCK: a named pipe must not hang us.
      file = await open(isOwn ? program : join(directory, name), O_RDONLY | O_NONBLOCK | (isOwn ? 0 : O_NOFOLLOW));
    } catch (error) {
      const { code = "unknown" } = error as NodeJS.ErrnoException;
      return this.#refuse(name, code === "ENOENT" ? undefined : code === "ELOOP" ? "is a symbolic link" : code);
    }
    try {
      const stats = await file.stat({ bigint: true });
      const fault = isOwn ? undefined : (faultOf(stats) ?? writable(await stat(directory, { bigint: true })));
      const sha256 = fault === undefined ? await this.#sum(name, file, stats) : undefined;
      this.#refuse(name, fault);
      if (sha256 !== undefined) return { file, size: Number(stats.size), sha256 };
    } catch (error) {
      this.#refuse(name, (error as NodeJS.ErrnoException).code ?? String(error));
    }
    await file.close();
    return undefined;
  }

  /** Whoever asks while a file is being summed waits for that one sum. */
  async #sum(name: string, file: FileHandle, stats: BigIntStats): Promise<string | undefined> {
    const stamp = stampOf(stats);
    const known = this.#sums.get(name);
    if (known?.stamp === stamp) return await known.sha256;
    const sha256 = sumOf(file, stats);
    this.#sums.set(name, { stamp, sha256 });
    try {
      const sum = await sha256;
      // changed meanwhile: it will have another stamp
      if (sum === undefined) this.#sums.delete(name);
      return sum;
    } catch (error) {
      this.#sums.delete(name);
      throw error;
    }
  }

  #refuse(name: string, reason: string | undefined): undefined {
    if (reason === undefined) {
      this.#refusals.delete(name);
    } else if (this.#refusals.get(name) !== reason) {
      this.#refusals.set(name, reason);
      const path = join(this.#options.directory, name);
      this.#options.log.warn("downloads.refused", { path, reason });
    }
  }
}

/** Hosts run these programs as root, so nobody but root and ourselves may have had a hand in them. */
function faultOf(stats: BigIntStats): string | undefined {
  if (!stats.isFile()) return "is not a plain file";
  if (stats.size === 0n) return "is empty";
  return writable(stats);
}

function writable(stats: BigIntStats): string | undefined {
  const where = stats.isFile() ? "it" : "its directory";
  if (stats.uid !== 0n && stats.uid !== BigInt(process.getuid?.() ?? 0)) return `${where} belongs to another user`;
  return (stats.mode & 0o022n) === 0n ? undefined : `other users may write ${where}`;
}

const stampOf = (stats: BigIntStats): string => [contentOf(stats), stats.ctimeNs].join(":");

/** What a write changes. Another name for the file, or other rights, change its ctime alone. */
const contentOf = ({ dev, ino, size, mtimeNs }: BigIntStats): string => [dev, ino, size, mtimeNs].join(":");

/** Undefined where the file changed under our hands. */
async function sumOf(file: FileHandle, before: BigIntStats): Promise<string | undefined> {
  const hash = createHash("sha256");
  const piece = Buffer.allocUnsafe(PIECE);
  for (let at = 0; ; ) {
    const { bytesRead } = await file.read(piece, 0, PIECE, at);
    if (bytesRead === 0) break;
    hash.update(piece.subarray(0, bytesRead));
    at += bytesRead;
  }
  return contentOf(await file.stat({ bigint: true })) === contentOf(before) ? hash.digest("hex") : undefined;
}
