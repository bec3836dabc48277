/**
 * The agent's durable queue of audit events on their way to the proxy. `append` returns when write(2) has: the events
 * outlive this process however it ends, and the disk has them within `syncMs` (or at once, `sync: "always"`). The proxy
 * acknowledges what it has stored; only that is dropped. After a restart everything unacknowledged is there again, and
 * may have been stored: the events' uids make that no duplicate.
 *
 * An event has two places: the sequence number on disk (`spool-files.ts`), which is not in it, and the one in this boot's hash
 * chain (`chain.ts`), which is: lines that were never shipped keep the chain of the boot that wrote them.
 */
import { Failure, messageOf } from "../errors.ts";
import { AUDIT_SCHEMA_VERSION, type AuditEvent, type EventName } from "../event.ts";
import { openPrivateDirectory } from "../identity/files.ts";
import type { Log } from "../log.ts";
import { type ChainEnd, GENESIS } from "./chain.ts";
import { DISK, type Disk, type Segment } from "./segment.ts";
import { type Batch, SpoolFiles } from "./spool-files.ts";
import { type EncodedLines, encodeLines, soundFrom } from "./spool-lines.ts";
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

const MIB = 1024 * 1024;
/** What ends something that was let through: it has the last 1/16 of the spool to itself. */
const ENDINGS: ReadonlySet<EventName> = new Set(["mcp.session.response", "mcp.session.end"]);

/** Bytes of an event as most of them are: where there is no room for it, the spool is full. */
const ORDINARY = 1024;

export class Spool {
  /** Called after each `append`, at once, with how many events it were. */
  onAppend: ((count: number) => void) | undefined;
  readonly #directory: string;
  readonly #log: Log;
  readonly #maxBytes: number;
  readonly #dropsOldest: boolean;
  readonly #agent: string | undefined;
  readonly #now: () => number;
  readonly #files: SpoolFiles;
  #end: ChainEnd;
  #broken: string | undefined;
  #refusing = false;

  private constructor(directory: string, options: SpoolOptions) {
    this.#directory = directory;
    this.#log = options.log;
    this.#maxBytes = options.maxBytes ?? 256 * MIB;
    this.#dropsOldest = options.onFull === "drop_oldest";
    this.#agent = options.agent;
    this.#now = options.now ?? Date.now;
    this.#end = { chain: options.chain ?? crypto.randomUUID(), n: 0, hash: GENESIS };
    this.#files = new SpoolFiles(directory, {
      log: options.log,
      segmentBytes: options.segmentBytes ?? Math.min(8 * MIB, Math.ceil(this.#maxBytes / 16)),
      sync: options.sync === "always" ? "always" : (options.syncMs ?? 50),
      disk: options.disk ?? DISK,
      onSyncFailed: (cause) => {
        this.#failed(cause);
        return this.#broken === undefined;
      },
    });
  }

  /**
   * Opens the spool in `directory` (made 0700), which this process must have to itself (`lockDirectory`). Throws
   * `Failure("data_dir")` when it can't be read or written.
   */
  static open(directory: string, options: SpoolOptions): Spool {
    openPrivateDirectory(directory);
    try {
      return new Spool(directory, options);
    } catch (cause) {
      if (cause instanceof Failure) throw cause;
      throw new Failure("data_dir", `can't open the audit spool ${directory}: ${messageOf(cause)}`, { cause });
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
    for (let tries = this.#files.count; this.#files.bytes + made.bytes.byteLength > limit; tries--) {
      if (!this.#dropsOldest || !canFit || tries < 0 || !this.#dropOldest()) {
        throw this.#refusal(`${Math.ceil(this.#files.bytes / 1024)} KiB of events wait for the proxy`);
      }
      made = encodeLines(events, this.#end); // the drop was recorded before them
    }
    this.#write(made);
    if (!ending) this.#refusing = false;
    this.onAppend?.(events.length);
  }

  /** The first event of a boot says where the one before it ended, so that no chain can vanish unnoticed. */
  begin(details: Record<string, unknown> = {}): void {
    const { previous } = this.#files;
    const known = previous === undefined ? {} : { previous };
    this.#write(encodeLines([this.#own("audit.chain.start", { ...details, ...known })], this.#end));
    this.onAppend?.(1);
  }

  #own(event: EventName, details: Record<string, unknown>): AuditEvent {
    const time = new Date(this.#now()).toISOString();
    const agent = this.#agent === undefined ? {} : { agent: this.#agent };
    return { event, uid: newUid(), time, v: AUDIT_SCHEMA_VERSION, ...agent, details };
  }

  #write({ bytes, lengths, end }: EncodedLines): void {
    try {
      this.#files.write(bytes, lengths);
    } catch (cause) {
      throw this.#failed(cause);
    }
    this.#end = end;
  }

  /**
   * Gives up the oldest segment. The event that says so is written first: where the process dies between the two, the
   * events are shipped after all. False: there is nothing to drop.
   */
  #dropOldest(): boolean {
    const oldest = this.#sealOldest();
    if (oldest === undefined) return false;
    const from = Math.max(this.#files.acked + 1, oldest.first);
    const [begin, end] = [soundFrom(oldest, from, 1), soundFrom(oldest, oldest.last, -1, from)];
    if (begin !== undefined && end !== undefined) {
      const details = { reason: "spool_full", chain: end.chain, from: begin.n, to: end.n, hash: end.hash };
      this.#write(encodeLines([this.#own("audit.gap", details)], this.#end));
      this.#log.error("spool.dropped", { events: oldest.last - from + 1, file: oldest.path });
    }
    this.#files.ack(oldest.last);
    return true;
  }

  #sealOldest(): Segment | undefined {
    try {
      return this.#files.sealOldest();
    } catch (cause) {
      throw this.#failed(cause);
    }
  }

  /**
   * What comes after sequence number `after` (the last acknowledged unless told): at most `maxItems` events, at least one if
   * there is one, of about `maxBytes` together. Asking again gives the same; a shipper with several batches under way passes
   * the last number that it has sent, and begins anew when it reconnects. `into`: memory for them, where they fit.
   */
  next(maxItems: number, maxBytes: number, after = this.#files.acked, into?: Buffer): Batch {
    const { acked } = this.#files;
    try {
      const batch = this.#files.read(Math.max(after, acked) + 1, maxItems, maxBytes, into);
      if (batch.count === 0 && after === acked) this.#files.ack(this.#files.last); // only spoilt lines were left, if any
      return batch;
    } catch (cause) {
      throw new Failure("data_dir", `can't read the audit spool: ${messageOf(cause)}`, { cause });
    }
  }

  /**
   * The proxy has stored everything up to and including `seq`: it is never given out again. Repeated and late calls do
   * nothing; throws `Failure("invalid")` on a number that was never given out.
   */
  ack(seq: number): void {
    if (!Number.isSafeInteger(seq) || seq > this.#files.last) {
      throw new Failure("invalid", "the proxy acknowledged audit events that this agent has not sent");
    }
    this.#files.ack(seq);
  }

  /** Where the boot before this one ended, as far as the disk tells; undefined for the first. */
  get previous(): ChainEnd | undefined {
    return this.#files.previous;
  }

  /** Events that the proxy has not acknowledged. */
  get pending(): number {
    return this.#files.last - this.#files.acked;
  }

  /** Sequence number up to which the proxy has everything. */
  get acked(): number {
    return this.#files.acked;
  }

  /** Bytes on disk, of at most `maxBytes`. */
  get bytes(): number {
    return this.#files.bytes;
  }

  /** Bytes that it may hold. */
  get limit(): number {
    return this.#maxBytes;
  }

  /** Why nothing can be recorded just now, so that no call is let through; undefined: it can. */
  get blocked(): string | undefined {
    if (this.#broken !== undefined) return this.#broken;
    if (!this.#dropsOldest && this.#files.bytes + ORDINARY > (this.#maxBytes * 15) / 16)
      return "the audit spool is full";
    return this.#refusing ? "the last audit event could not be written" : undefined;
  }

  /** Syncs and closes; appending after it fails. */
  close(): void {
    this.#broken = "the spool is closed";
    this.#files.close();
  }

  /** A full disk may have room later; one that failed to sync has lost we don't know what, and takes no more. */
  #failed(cause: unknown): Failure {
    const full = ["ENOSPC", "EDQUOT", "EFBIG"].includes(String((cause as NodeJS.ErrnoException).code));
    const message = full ? "the disk is full" : `the disk failed (${messageOf(cause)})`;
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
