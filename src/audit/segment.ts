/**
 * One file of the spool: JSON lines, the first of them with the sequence number that is the file's name. A segment is written
 * by one process and only read by the ones after it, so an uncertain end is never appended to.
 */
import {
  closeSync,
  fdatasync,
  fdatasyncSync,
  ftruncateSync,
  openSync,
  readFileSync,
  readSync,
  writeSync,
} from "node:fs";
import { join } from "node:path";

const SUFFIX = ".jsonl";
const NEWLINE = 0x0a;
const OPEN_BRACE = 0x7b;
const CLOSE_BRACE = 0x7d;
export const NOTHING = Buffer.alloc(0);

/** `00000000000000000042.jsonl`: sorts by sequence number. */
export const segmentName = (first: number): string => `${String(first).padStart(20, "0")}${SUFFIX}`;

/** The sequence number in a segment's name, or `undefined` when `name` is no segment's. */
export function parseSegmentName(name: string): number | undefined {
  const first = /^\d{20}\.jsonl$/.test(name) ? Number(name.slice(0, -SUFFIX.length)) : Number.NaN;
  return Number.isSafeInteger(first) && first > 0 ? first : undefined;
}

/** What makes written data durable; tests have one that fails. */
export interface Disk {
  fdatasync(fd: number, done: (error: Error | null) => void): void;
  fdatasyncSync(fd: number): void;
}

export const DISK: Disk = { fdatasync, fdatasyncSync };

export class Segment {
  readonly first: number;
  readonly path: string;
  /** Sequence numbers whose lines a loss of power has spoilt. */
  readonly holes = new Set<number>();
  /** Offset behind each line. */
  readonly #ends: number[] = [];
  readonly #fd: number;
  readonly #disk: Disk;
  #size = 0;
  #dirty = false;
  #syncing = false;
  #closed = false;

  private constructor(first: number, path: string, fd: number, disk: Disk) {
    this.first = first;
    this.path = path;
    this.#fd = fd;
    this.#disk = disk;
  }

  /** A new segment; one of that name can only hold a line that was never finished, and is emptied. */
  static create(directory: string, first: number, disk: Disk): Segment {
    const path = join(directory, segmentName(first));
    return new Segment(first, path, openSync(path, "w+", 0o600), disk);
  }

  /** A segment of an earlier process. A line that was never finished is left out. */
  static load(directory: string, first: number): Segment {
    const path = join(directory, segmentName(first));
    const segment = new Segment(first, path, openSync(path, "r"), DISK);
    segment.#index(readFileSync(path));
    return segment;
  }

  #index(bytes: Buffer): void {
    const spoilt = bytes.includes(0); // what a file system leaves where data never reached the disk
    let start = 0;
    for (let end = bytes.indexOf(NEWLINE); end !== -1; end = bytes.indexOf(NEWLINE, start)) {
      const sound = bytes[start] === OPEN_BRACE && bytes[end - 1] === CLOSE_BRACE;
      if (!sound || (spoilt && bytes.subarray(start, end).includes(0))) this.holes.add(this.last + 1);
      this.#ends.push(end + 1);
      start = end + 1;
    }
    this.#size = start;
  }

  /** Sequence number of the last line; `first - 1` when there is none. */
  get last(): number {
    return this.first + this.#ends.length - 1;
  }

  /** Bytes of whole lines. */
  get size(): number {
    return this.#size;
  }

  /** Whether there is something that the disk may not have yet. */
  get dirty(): boolean {
    return this.#dirty;
  }

  /** Appends whole lines (`lengths`: bytes of each) in one write(2). On failure it takes back what was written of them. */
  append(bytes: Buffer, lengths: readonly number[]): void {
    try {
      const written = writeSync(this.#fd, bytes, 0, bytes.byteLength, this.#size);
      if (written !== bytes.byteLength) throw diskFull();
    } catch (error) {
      ftruncateSync(this.#fd, this.#size);
      throw error;
    }
    this.#dirty = true;
    for (const length of lengths) {
      this.#size += length;
      this.#ends.push(this.#size);
    }
  }

  /**
   * Lines from sequence number `from` on, up to `maxItems` and, but for the first, `maxBytes`; ends before a hole. They are read
   * into `into`, where that is given and large enough.
   */
  read(from: number, maxItems: number, maxBytes: number, into?: Buffer): { count: number; lines: Buffer } {
    const start = this.#offset(from);
    let count = 0;
    let end = start;
    while (count < maxItems && from + count <= this.last && !this.holes.has(from + count)) {
      const next = this.#offset(from + count + 1);
      if (count > 0 && next - start > maxBytes) break;
      end = next;
      count += 1;
    }
    if (count === 0) return { count, lines: NOTHING };
    const length = end - start;
    const bytes = into !== undefined && into.length >= length ? into : Buffer.allocUnsafe(length);
    if (readSync(this.#fd, bytes, 0, length, start) !== length) {
      throw new Error(`${this.path} is shorter than what was written to it`);
    }
    return { count, lines: bytes.subarray(0, length - 1) };
  }

  /** Offset of the line with this sequence number. */
  #offset(seq: number): number {
    return this.#ends[seq - this.first - 1] ?? 0;
  }

  /** Returns when the disk has everything. */
  syncNow(): void {
    this.#dirty = false;
    this.#disk.fdatasyncSync(this.#fd);
  }

  /** The same without blocking; rejects when the disk failed. Of a closed segment there is nothing left to keep. */
  async sync(): Promise<void> {
    if (this.#closed) return;
    this.#dirty = false;
    this.#syncing = true;
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    this.#disk.fdatasync(this.#fd, (error) => {
      this.#syncing = false;
      if (this.#closed) closeSync(this.#fd);
      if (error === null) resolve();
      else reject(error);
    });
    await promise;
  }

  /** Closes the file, after a sync that is under way. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    if (!this.#syncing) closeSync(this.#fd);
  }
}

/** write(2) that stopped half-way says no more than that; what comes next would fail with this. */
const diskFull = (): Error => Object.assign(new Error("no space left on device"), { code: "ENOSPC" });
