/**
 * The spool's files: segments of JSON lines named by sequence number, and `acked`, the last number that the proxy has. An
 * event's sequence number is its place there: it is not in the event, and grows for as long as the directory lives.
 */
import { closeSync, constants, openSync, readdirSync, rmSync, writeSync } from "node:fs";
import { messageOf } from "../errors.ts";
import { syncDirectory } from "../identity/files.ts";
import type { Log } from "../log.ts";
import type { ChainEnd } from "./chain.ts";
import { type Disk, NOTHING, parseSegmentName, Segment } from "./segment.ts";
import { ackPath, encodeAck, loadSoundAck } from "./spool-ack.ts";
import { lastOf } from "./spool-lines.ts";

export interface SpoolFilesOptions {
  log: Log;
  /** A new segment begins beyond this, bytes: a segment is deleted as a whole. */
  segmentBytes: number;
  /** Milliseconds until the disk has what was written; `always`: before `write` returns. */
  sync: number | "always";
  disk: Disk;
  /** The disk failed while nobody waited for it. False: it is not to be tried again. */
  onSyncFailed(cause: unknown): boolean;
}

export interface Batch {
  /** Sequence number of the first; the others follow without a gap. */
  first: number;
  /** 0 when nothing waits. */
  count: number;
  /** Each event's JSON, as it stands in the file, with line feeds between them; UTF-8. */
  lines: Buffer;
}

export class SpoolFiles {
  readonly #directory: string;
  readonly #options: SpoolFilesOptions;
  readonly #ackFd: number;
  /** Where the boot before this one ended, as far as the disk tells; undefined for the first. */
  readonly previous: ChainEnd | undefined;
  /** Oldest first; the last is the one written to. */
  readonly #segments: Segment[];
  #current: Segment;
  #acked: number;
  #bytes: number;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #syncing = false;
  #closed = false;

  /** Reads what there is in `directory`, which this process must have to itself. Throws what the file system says. */
  constructor(directory: string, options: SpoolFilesOptions) {
    const { log, disk } = options;
    const names = readdirSync(directory).map(parseSegmentName);
    const firsts = names.filter((first) => first !== undefined).sort((a, b) => a - b);
    const found = firsts.map((first) => Segment.load(directory, first));
    this.#directory = directory;
    this.#options = options;
    this.#acked = loadSoundAck(directory, found, log);
    this.previous = lastOf(found);
    this.#current = Segment.create(directory, Math.max(this.#acked, found.at(-1)?.last ?? 0) + 1, disk);
    syncDirectory(directory);
    // an empty one of that very name was replaced just now
    for (const segment of found) if (segment.first === this.#current.first) segment.close();
    this.#segments = [...found.filter(({ first }) => first < this.#current.first), this.#current];
    this.#bytes = found.reduce((sum, { size }) => sum + size, 0);
    this.#ackFd = openSync(ackPath(directory), constants.O_WRONLY | constants.O_CREAT, 0o600);
    writeSync(this.#ackFd, encodeAck(this.#acked), 0);
    this.#drop();
  }

  /** Sequence number of the last event. */
  get last(): number {
    return this.#current.last;
  }

  /** Sequence number up to which the proxy has everything. */
  get acked(): number {
    return this.#acked;
  }

  /** Bytes on disk. */
  get bytes(): number {
    return this.#bytes;
  }

  /** Segments, the one that is written to included. */
  get count(): number {
    return this.#segments.length;
  }

  /** Whole lines (`lengths`: bytes of each), all or none, in one write(2). Throws what the file system says. */
  write(bytes: Buffer, lengths: readonly number[]): void {
    const { segmentBytes, sync } = this.#options;
    if (this.#current.size >= segmentBytes) this.#rotate();
    this.#current.append(bytes, lengths);
    if (sync === "always") this.#current.syncNow();
    this.#bytes += bytes.byteLength;
    if (sync !== "always") this.#syncLater(sync);
  }

  /**
   * From sequence number `from` on: at most `maxItems` events, at least one if there is one, of about `maxBytes` together; in
   * `into`, where they fit.
   */
  read(from: number, maxItems: number, maxBytes: number, into?: Buffer): Batch {
    let first = from;
    if (this.#closed) return { first, count: 0, lines: NOTHING };
    for (const segment of this.#segments) {
      first = Math.max(first, segment.first);
      while (segment.holes.has(first)) first += 1;
      if (first <= segment.last) return { first, ...segment.read(first, Math.max(1, maxItems), maxBytes, into) };
    }
    return { first, count: 0, lines: NOTHING };
  }

  /** Everything up to and including `seq` is never read again. Repeated and late calls do nothing. */
  ack(seq: number): void {
    if (seq <= this.#acked || this.#closed) return;
    this.#acked = seq;
    try {
      writeSync(this.#ackFd, encodeAck(seq), 0);
    } catch (cause) {
      this.#options.log.warn("spool.ack_not_kept", { error: messageOf(cause) }); // events are sent twice after a restart: no harm
    }
    this.#drop();
  }

  /** The oldest segment, to which nothing is written any more; undefined: there is nothing in any. Throws as `write` does. */
  sealOldest(): Segment | undefined {
    if (this.#segments.length === 1) {
      if (this.#current.last < this.#current.first) return undefined;
      this.#rotate();
    }
    const [oldest] = this.#segments;
    return oldest === this.#current ? undefined : oldest;
  }

  /** Syncs and closes. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    clearTimeout(this.#timer);
    for (const segment of this.#segments) {
      try {
        if (segment.dirty || segment === this.#current) segment.syncNow();
      } catch (cause) {
        this.#options.log.error("spool.sync_failed", { error: messageOf(cause) });
      }
      segment.close();
    }
    closeSync(this.#ackFd);
  }

  #rotate(): void {
    const segment = Segment.create(this.#directory, this.#current.last + 1, this.#options.disk);
    syncDirectory(this.#directory);
    this.#segments.push(segment);
    this.#current = segment;
    this.#drop();
  }

  /** Deletes segments that the proxy has the whole of. */
  #drop(): void {
    while (true) {
      const [oldest] = this.#segments;
      if (oldest === undefined || oldest === this.#current || oldest.last > this.#acked) return;
      this.#segments.shift();
      this.#bytes -= oldest.size;
      oldest.close();
      try {
        rmSync(oldest.path, { force: true });
      } catch (cause) {
        this.#options.log.warn("spool.not_deleted", { file: oldest.path, error: messageOf(cause) }); // the next start tries again
      }
    }
  }

  #syncLater(ms: number): void {
    if (this.#timer !== undefined || this.#syncing) return;
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      void this.#sync(ms);
    }, ms);
    this.#timer.unref(); // `close` syncs; and the kernel has the events already
  }

  async #sync(ms: number): Promise<void> {
    this.#syncing = true;
    let goesOn = true;
    try {
      for (const segment of this.#segments.filter(({ dirty }) => dirty)) await segment.sync();
    } catch (cause) {
      goesOn = this.#options.onSyncFailed(cause);
    }
    this.#syncing = false;
    if (!this.#closed && goesOn && this.#segments.some(({ dirty }) => dirty)) this.#syncLater(ms);
  }
}
