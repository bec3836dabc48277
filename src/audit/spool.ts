/**
 * The agent's durable queue of audit events on their way to the proxy. `append` returns when write(2) has: the events
 * outlive this process however it ends, and the disk has them within `syncMs` (or at once, `sync: "always"`). The proxy
 * acknowledges what it has stored; only that is dropped. After a restart everything unacknowledged is there again, and
 * may have been stored: the events' uids make that no duplicate.
 *
 * On disk: segments of JSON lines named by sequence number, and `acked`, the last number that the proxy has. An event's
 * sequence number is its place there: it is not in the event, and grows for as long as the directory lives. What is in the
 * event is its place in this boot's hash chain (`chain.ts`): lines that were never shipped keep the chain of the boot that
 * wrote them.
 */
import { closeSync, constants, openSync, readdirSync, rmSync, writeSync } from "node:fs";
import { Failure } from "../errors.ts";
import { AUDIT_SCHEMA_VERSION, type AuditEvent, type EventName } from "../event.ts";
import { openPrivateDirectory, syncDirectory } from "../identity/files.ts";
import type { Log } from "../log.ts";
import { type ChainEnd, GENESIS } from "./chain.ts";
import { DISK, type Disk, parseSegmentName, Segment } from "./segment.ts";
import { ackPath, encodeAck, loadSoundAck } from "./spool-ack.ts";
import { type EncodedLines, encodeLines, lastOf, soundFrom } from "./spool-lines.ts";
import { newUid } from "./uid.ts";

export interface SpoolOptions {
  log: Log;
  /** What may wait for the proxy, bytes; 256 MiB unless told. */
  maxBytes?: number;
  /** `group` (default): the disk has an event within `syncMs`. `always`: before `append` returns. */
  sync?: "group" | "always";
  /** Milliseconds, 50 unless told. */
  syncMs?: number;
  /** A new segment begins beyond this, bytes: a segment is deleted as a whole. */
  segmentBytes?: number;
  /** The chain of what is appended: this boot's id. Random unless told. */
  chain?: string;
  /** The agent's name, for the spool's own events. */
  agent?: string;
  /** At `maxBytes`: refuse what is to be recorded (default), or drop the oldest events and record that. */
  onFull?: "refuse" | "drop_oldest";
  disk?: Disk;
  /** Milliseconds since the epoch. */
  now?: () => number;
}

export interface Batch {
  /** Sequence number of the first; the others follow without a gap. */
  first: number;
  /** 0 when nothing waits. */
  count: number;
  /** Each event's JSON, as it stands in the file, with line feeds between them. */
  lines: string;
}

const MIB = 1024 * 1024;
/** What ends something that was let through: it has the last 1/16 of the spool to itself. */
const ENDINGS: ReadonlySet<EventName> = new Set(["mcp.session.response", "mcp.session.end"]);

/** Bytes of an event as most of them are: where there is no room for it, the spool is full. */
const ORDINARY = 1024;

export class Spool {
  /** Called after each `append`, at once. */
  onAppend: (() => void) | undefined;
  readonly #directory: string;
  readonly #log: Log;
  readonly #maxBytes: number;
  readonly #segmentBytes: number;
  readonly #always: boolean;
  readonly #syncMs: number;
  readonly #disk: Disk;
  readonly #ackFd: number;
  readonly #dropsOldest: boolean;
  readonly #agent: string | undefined;
  readonly #now: () => number;
  /** Where the boot before this one ended, as far as the disk tells; undefined for the first. */
  readonly previous: ChainEnd | undefined;
  #end: ChainEnd;
  /** Oldest first; the last is the one written to. */
  #segments: Segment[];
  #current: Segment;
  #acked: number;
  #bytes: number;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #syncing = false;
  #broken: string | undefined;
  #refusing = false;
  #closed = false;

  private constructor(directory: string, options: SpoolOptions, found: Segment[], acked: number) {
    this.#directory = directory;
    this.#log = options.log;
    this.#maxBytes = options.maxBytes ?? 256 * MIB;
    this.#segmentBytes = options.segmentBytes ?? Math.min(8 * MIB, Math.ceil(this.#maxBytes / 16));
    this.#always = options.sync === "always";
    this.#syncMs = options.syncMs ?? 50;
    this.#disk = options.disk ?? DISK;
    this.#dropsOldest = options.onFull === "drop_oldest";
    this.#agent = options.agent;
    this.#now = options.now ?? Date.now;
    this.#end = { chain: options.chain ?? crypto.randomUUID(), n: 0, hash: GENESIS };
    this.previous = lastOf(found);
    this.#acked = acked;
    this.#current = Segment.create(directory, Math.max(acked, found.at(-1)?.last ?? 0) + 1, this.#disk);
    syncDirectory(directory);
    // an empty one of that very name was replaced just now
    for (const segment of found) if (segment.first === this.#current.first) segment.close();
    this.#segments = [...found.filter(({ first }) => first < this.#current.first), this.#current];
    this.#bytes = found.reduce((sum, { size }) => sum + size, 0);
    this.#ackFd = openSync(ackPath(directory), constants.O_WRONLY | constants.O_CREAT, 0o600);
    writeSync(this.#ackFd, encodeAck(acked), 0);
    this.#drop();
  }

  /**
   * Opens the spool in `directory` (made 0700), which this process must have to itself (`lockDirectory`). Throws
   * `Failure("data_dir")` when it can't be read or written.
   */
  static open(directory: string, options: SpoolOptions): Spool {
    openPrivateDirectory(directory);
    try {
      const names = readdirSync(directory).map(parseSegmentName);
      const firsts = names.filter((first) => first !== undefined).sort((a, b) => a - b);
      const found = firsts.map((first) => Segment.load(directory, first));
      return new Spool(directory, options, found, loadSoundAck(directory, found, options.log));
    } catch (cause) {
      if (cause instanceof Failure) throw cause;
      throw new Failure("data_dir", `can't open the audit spool ${directory}: ${reason(cause)}`, { cause });
    }
  }

  /**
   * Appends events, all or none, in one write(2), and returns when it has been made. Throws `Failure("unavailable")` when
   * the spool or the disk is full, or the disk failed: then what these events are about must not happen.
   */
  append(events: readonly AuditEvent[]): void {
    if (events.length === 0) return;
    if (this.#broken !== undefined) throw this.#refusal(this.#broken);
    const ending = events.every(({ event }) => ENDINGS.has(event));
    const limit = this.#maxBytes * (ending ? 1 : 15 / 16);
    let made = encodeLines(events, this.#end);
    const canFit = made.bytes.byteLength <= limit;
    for (let tries = this.#segments.length; this.#bytes + made.bytes.byteLength > limit; tries--) {
      if (!this.#dropsOldest || !canFit || tries < 0 || !this.#dropOldest()) {
        throw this.#refusal(`${Math.ceil(this.#bytes / 1024)} KiB of events wait for the proxy`);
      }
      made = encodeLines(events, this.#end); // the drop was recorded before them
    }
    this.#write(made);
    if (!ending) this.#refusing = false;
    this.onAppend?.();
  }

  /** The first event of a boot says where the one before it ended, so that no chain can vanish unnoticed. */
  begin(details: Record<string, unknown> = {}): void {
    const previous = this.previous === undefined ? {} : { previous: this.previous };
    this.#write(encodeLines([this.#own("audit.chain.start", { ...details, ...previous })], this.#end));
    this.onAppend?.();
  }

  #own(event: EventName, details: Record<string, unknown>): AuditEvent {
    const time = new Date(this.#now()).toISOString();
    const agent = this.#agent === undefined ? {} : { agent: this.#agent };
    return { event, uid: newUid(), time, v: AUDIT_SCHEMA_VERSION, ...agent, details };
  }

  #write({ bytes, lengths, end }: EncodedLines): void {
    try {
      if (this.#current.size >= this.#segmentBytes) this.#rotate();
      this.#current.append(bytes, lengths);
      if (this.#always) this.#current.syncNow();
    } catch (cause) {
      throw this.#failed(cause);
    }
    this.#end = end;
    this.#bytes += bytes.byteLength;
    if (!this.#always) this.#syncLater();
  }

  /**
   * Gives up the oldest segment. The event that says so is written first: where the process dies between the two, the
   * events are shipped after all. False: there is nothing to drop.
   */
  #dropOldest(): boolean {
    if (this.#segments.length === 1) {
      if (this.#current.last < this.#current.first) return false;
      try {
        this.#rotate();
      } catch (cause) {
        throw this.#failed(cause);
      }
    }
    const [oldest] = this.#segments;
    if (oldest === undefined || oldest === this.#current) return false;
    const from = Math.max(this.#acked + 1, oldest.first);
    const [begin, end] = [soundFrom(oldest, from, 1), soundFrom(oldest, oldest.last, -1, from)];
    if (begin !== undefined && end !== undefined) {
      const details = { reason: "spool_full", chain: end.chain, from: begin.n, to: end.n, hash: end.hash };
      this.#write(encodeLines([this.#own("audit.gap", details)], this.#end));
      this.#log.error("spool.dropped", { events: oldest.last - from + 1, file: oldest.path });
    }
    this.ack(oldest.last);
    return true;
  }

  /**
   * What comes after sequence number `after` (the last acknowledged unless told): at most `maxItems` events, at least one if
   * there is one, of about `maxBytes` together. Asking again gives the same; a shipper with several batches under way passes
   * the last number that it has sent, and begins anew when it reconnects.
   */
  next(maxItems: number, maxBytes: number, after = this.#acked): Batch {
    let from = Math.max(after, this.#acked) + 1;
    if (this.#closed) return { first: from, count: 0, lines: "" };
    for (const segment of this.#segments) {
      from = Math.max(from, segment.first);
      while (segment.holes.has(from)) from += 1;
      if (from > segment.last) continue;
      try {
        return { first: from, ...segment.read(from, Math.max(1, maxItems), maxBytes) };
      } catch (cause) {
        throw new Failure("data_dir", `can't read the audit spool: ${reason(cause)}`, { cause });
      }
    }
    if (after === this.#acked) this.ack(this.#current.last); // only spoilt lines were left, if any
    return { first: from, count: 0, lines: "" };
  }

  /**
   * The proxy has stored everything up to and including `seq`: it is never given out again. Repeated and late calls do
   * nothing; throws `Failure("invalid")` on a number that was never given out.
   */
  ack(seq: number): void {
    if (!Number.isSafeInteger(seq) || seq > this.#current.last) {
      throw new Failure("invalid", "the proxy acknowledged audit events that this agent has not sent");
    }
    if (seq <= this.#acked || this.#closed) return;
    this.#acked = seq;
    try {
      writeSync(this.#ackFd, encodeAck(seq), 0);
    } catch (cause) {
      this.#log.warn("spool.ack_not_kept", { error: reason(cause) }); // events are sent twice after a restart: no harm
    }
    this.#drop();
  }

  /** Events that the proxy has not acknowledged. */
  get pending(): number {
    return this.#current.last - this.#acked;
  }

  /** Sequence number up to which the proxy has everything. */
  get acked(): number {
    return this.#acked;
  }

  /** Bytes on disk, of at most `maxBytes`. */
  get bytes(): number {
    return this.#bytes;
  }

  /** Bytes that it may hold. */
  get limit(): number {
    return this.#maxBytes;
  }

  /** Why nothing can be recorded just now, so that no call is let through; undefined: it can. */
  get blocked(): string | undefined {
    if (this.#broken !== undefined) return this.#broken;
    if (!this.#dropsOldest && this.#bytes + ORDINARY > (this.#maxBytes * 15) / 16) return "the audit spool is full";
    return this.#refusing ? "the last audit event could not be written" : undefined;
  }

  /** Syncs and closes; appending after it fails. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#broken = "the spool is closed";
    clearTimeout(this.#timer);
    for (const segment of this.#segments) {
      try {
        if (segment.dirty || segment === this.#current) segment.syncNow();
      } catch (cause) {
        this.#log.error("spool.sync_failed", { error: reason(cause) });
      }
      segment.close();
    }
    closeSync(this.#ackFd);
  }

  #rotate(): void {
    const segment = Segment.create(this.#directory, this.#current.last + 1, this.#disk);
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
        this.#log.warn("spool.not_deleted", { file: oldest.path, error: reason(cause) }); // the next start tries again
      }
    }
  }

  #syncLater(): void {
    if (this.#timer !== undefined || this.#syncing) return;
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      void this.#sync();
    }, this.#syncMs);
    this.#timer.unref(); // `close` syncs; and the kernel has the events already
  }

  async #sync(): Promise<void> {
    this.#syncing = true;
    try {
      for (const segment of this.#segments.filter(({ dirty }) => dirty)) await segment.sync();
    } catch (cause) {
      this.#failed(cause);
    }
    this.#syncing = false;
    if (!this.#closed && this.#broken === undefined && this.#segments.some(({ dirty }) => dirty)) this.#syncLater();
  }

  /** A full disk may have room later; one that failed to sync has lost we don't know what, and takes no more. */
  #failed(cause: unknown): Failure {
    const full = ["ENOSPC", "EDQUOT", "EFBIG"].includes(String((cause as NodeJS.ErrnoException).code));
    const message = full ? "the disk is full" : `the disk failed (${reason(cause)})`;
    if (!full) this.#broken ??= message;
    return this.#refusal(message, cause);
  }

  #refusal(why: string, cause?: unknown): Failure {
    if (!this.#refusing) this.#log.error("spool.refuses", { directory: this.#directory, reason: why });
    this.#refusing = true; // one line in the log, not one for each call
    return new Failure("unavailable", `calls can't be recorded in the audit log, so none are let through: ${why}`, {
      hint: `on the agent's host: see that the proxy is reachable and that the disk of ${this.#directory} has room`,
      cause,
    });
  }
}

const reason = (error: unknown): string => (error instanceof Error ? error.message : String(error));
