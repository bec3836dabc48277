/** What systemd is to those that it starts: a unix datagram socket, which hears who sent what. Linux only. */
import { ptr } from "bun:ffi";
import { closeSync } from "node:fs";
import { openLibc } from "../../src/libc.ts";
import { eventually } from "../e2e/processes.ts";

const [AF_UNIX, SOCK_DGRAM, SOL_SOCKET, SO_PASSCRED, MSG_DONTWAIT] = [1, 2, 1, 16, 0x40];

const signatures = {
  socket: { args: ["i32", "i32", "i32"], returns: "i32" },
  bind: { args: ["i32", "ptr", "u32"], returns: "i32" },
  setsockopt: { args: ["i32", "i32", "i32", "ptr", "u32"], returns: "i32" },
  recvmsg: { args: ["i32", "ptr", "i32"], returns: "i64" },
} as const;

export interface Message {
  /** Of the sender, by the kernel's word. */
  pid: number;
  /** `READY=1` and the like. */
  lines: string[];
}

export interface Receiver {
  /** All that has come so far. */
  messages(): Message[];
  /** The first one with this line that came after `since` (an index), once it is there. */
  heard(line: string | RegExp, since?: number): Promise<Message>;
  close(): void;
}

/** `address`: a path, or an abstract name after an `@`. */
export function openReceiver(address: string): Receiver {
  const libc = openLibc(signatures);
  const fd = libc.socket(AF_UNIX, SOCK_DGRAM, 0);
  const name = new TextEncoder().encode(address);
  if (address.startsWith("@")) name[0] = 0;
  const sockaddr = new Uint8Array([AF_UNIX, 0, ...name, ...(address.startsWith("/") ? [0] : [])]);
  const on = new Int32Array([1]);
  if (libc.bind(fd, ptr(sockaddr), sockaddr.length) !== 0) throw new Error(`can't bind ${address}`);
  libc.setsockopt(fd, SOL_SOCKET, SO_PASSCRED, ptr(on), 4);
  const all: Message[] = [];
  const take = () => {
    for (let next = receive(libc, fd); next !== undefined; next = receive(libc, fd)) all.push(next);
    return all;
  };
  return {
    messages: take,
    heard: (line, since = 0) =>
      eventually(() =>
        take()
          .slice(since)
          .find(({ lines }) => lines.some((each) => (typeof line === "string" ? each === line : line.test(each)))),
      ),
    close: () => closeSync(fd),
  };
}

/** recvmsg(2), with the `struct ucred` that comes along. */
function receive(libc: ReturnType<typeof openLibc<typeof signatures>>, fd: number): Message | undefined {
  const [data, control] = [new Uint8Array(4096), new Uint8Array(64)];
  const iovec = new BigUint64Array([BigInt(ptr(data)), BigInt(data.length)]);
  const header = new BigUint64Array([0n, 0n, BigInt(ptr(iovec)), 1n, BigInt(ptr(control)), BigInt(control.length), 0n]);
  const length = Number(libc.recvmsg(fd, ptr(header), MSG_DONTWAIT));
  if (length < 0) return undefined;
  // struct cmsghdr (length, level, type), then pid, uid, gid
  const pid = new DataView(control.buffer).getInt32(16, true);
  return { pid, lines: new TextDecoder().decode(data.subarray(0, length)).split("\n") };
}
