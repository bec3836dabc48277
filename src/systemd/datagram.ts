/** What neither Bun nor Node offers and sd_notify(3) needs, for Linux: datagrams to unix sockets, and the kernel's clock. */
import { ptr } from "bun:ffi";
import { openLibc } from "../libc.ts";

const [AF_UNIX, SOCK_DGRAM, SOCK_CLOEXEC] = [1, 2, 0o2000000];
const [MSG_DONTWAIT, MSG_NOSIGNAL] = [0x40, 0x4000];
const CLOCK_MONOTONIC = 1;
/** Of `struct sockaddr_un`, unix(7). */
const MAX_PATH = 108;

const signatures = {
  socket: { args: ["i32", "i32", "i32"], returns: "i32" },
  sendto: { args: ["i32", "ptr", "u64", "i32", "ptr", "u32"], returns: "i64" },
} as const;

/** Sends one datagram; false where it did not get there. Never waits. */
export type SendDatagram = (text: string) => boolean;

/**
 * `address`: an absolute path, or an abstract socket's name after an `@`. `undefined` where it can't be reached: another
 * kind of address, or another system.
 */
export function openDatagramSocket(address: string): SendDatagram | undefined {
  if (process.platform !== "linux" || !/^[/@]./.test(address)) return undefined;
  const path = new TextEncoder().encode(address);
  if (path.length >= MAX_PATH) return undefined;
  if (address.startsWith("@")) path[0] = 0;
  const libc = openLibc(signatures);
  const fd = libc.socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return undefined;
  // A path ends with a zero byte; an abstract name is as long as it says.
  const sockaddr = new Uint8Array(2 + path.length + (address.startsWith("/") ? 1 : 0));
  new Uint16Array(sockaddr.buffer, 0, 1)[0] = AF_UNIX;
  sockaddr.set(path, 2);
  return (text) => {
    const bytes = new TextEncoder().encode(text);
    const flags = MSG_DONTWAIT | MSG_NOSIGNAL;
    const sent = libc.sendto(fd, ptr(bytes), BigInt(bytes.length), flags, ptr(sockaddr), sockaddr.length);
    return Number(sent) === bytes.length;
  };
}

const clock = { clock_gettime: { args: ["i32", "ptr"], returns: "i32" } } as const;

/** Microseconds of CLOCK_MONOTONIC, clock_gettime(2); the runtime's own count begins with the process. Linux only. */
export function monotonicMicroseconds(): bigint {
  const time = new BigInt64Array(2);
  openLibc(clock).clock_gettime(CLOCK_MONOTONIC, ptr(time));
  const [seconds = 0n, nanoseconds = 0n] = time;
  return seconds * 1_000_000n + nanoseconds / 1_000n;
}
