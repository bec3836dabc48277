/**
 * The system calls that the driver waits in: blocking, on the main thread, so that no event loop, promise or thread of
 * ours stands between a child's answer and the clock. Linux only.
 */
import { dlopen, ptr } from "bun:ffi";
import { closeSync } from "node:fs";
import { openPipe } from "../src/agent/libc.ts";

const { symbols } = dlopen("libc.so.6", {
  read: { args: ["i32", "ptr", "u64"], returns: "i64" },
  write: { args: ["i32", "ptr", "u64"], returns: "i64" },
  epoll_create1: { args: ["i32"], returns: "i32" },
  epoll_ctl: { args: ["i32", "i32", "i32", "ptr"], returns: "i32" },
  epoll_wait: { args: ["i32", "ptr", "i32", "i32"], returns: "i32" },
  poll: { args: ["ptr", "u64", "i32"], returns: "i32" },
});

export { openPipe };

const POLLIN = 1;
const one = new Int32Array(2);

/** False: nothing came within `ms`. The end of the stream counts as something. */
export function waitReadable(fd: number, ms: number): boolean {
  one[0] = fd;
  one[1] = POLLIN; // `short events, short revents`: little-endian
  return symbols.poll(ptr(one), 1n, Math.max(0, Math.ceil(ms))) > 0;
}

/** Bytes read into `buffer` at `offset`; 0 at the end of the stream. */
export function readInto(fd: number, buffer: Uint8Array, offset: number): number {
  const got = Number(symbols.read(fd, ptr(buffer, offset), BigInt(buffer.length - offset)));
  return Math.max(0, got);
}

export function writeAll(fd: number, buffer: Uint8Array, length: number): void {
  for (let done = 0; done < length; ) {
    const wrote = Number(symbols.write(fd, ptr(buffer, done), BigInt(length - done)));
    if (wrote <= 0) throw new Error("the process reads no more");
    done += wrote;
  }
}

const EPOLL_CTL_ADD = 1;
/** `struct epoll_event` is packed on x64 only. */
const [EVENT_SIZE, DATA_AT] = process.arch === "x64" ? [12, 4] : [16, 8];
const MAX_EVENTS = 512;

/** Which of many descriptors can be read. */
export class Poller {
  readonly fd: number = symbols.epoll_create1(0);
  readonly #events = new Uint8Array(EVENT_SIZE * MAX_EVENTS);
  readonly #view = new DataView(this.#events.buffer);

  add(fd: number, tag: number): void {
    const event = new Uint8Array(EVENT_SIZE);
    const view = new DataView(event.buffer);
    view.setUint32(0, POLLIN, true);
    view.setUint32(DATA_AT, tag, true);
    if (symbols.epoll_ctl(this.fd, EPOLL_CTL_ADD, fd, ptr(event)) !== 0) throw new Error("epoll_ctl failed");
  }

  close(): void {
    closeSync(this.fd);
  }

  /** The tags of those that can be read, or none after `ms`. */
  wait(ms: number): number[] {
    const count = symbols.epoll_wait(this.fd, ptr(this.#events), MAX_EVENTS, Math.max(0, Math.ceil(ms)));
    return Array.from({ length: Math.max(0, count) }, (_, i) => this.#view.getUint32(i * EVENT_SIZE + DATA_AT, true));
  }
}
