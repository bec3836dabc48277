/**
 * The link's frames, version 1. Each is one binary WebSocket message; the proxy relays them without reading them.
 *
 *     HELLO  0 | version u8 | received u64        first on every connection, both ways
 *     DATA   1 | offset u64 | received u64 | bytes
 *     ACK    2 | received u64
 *     END    3 | offset u64                       no more data; takes one offset of its own
 *     CLOSE  4 | JSON {code, message}             the session is over
 *     PING   5 | token u32
 *     PONG   6 | token u32
 *
 * Offsets count the bytes of one direction from the session's start; `received` is how much of the other direction
 * this side's decoder holds, so everything before it can be forgotten. Integers are big-endian; a u64 stays below 2^53.
 */

export const LINK_VERSION = 1;
/** What this program speaks. The client says which it knows, and the agent chooses; the proxy need know none of them. */
export const LINK_VERSIONS: readonly number[] = [LINK_VERSION];

/** The newest version that both know; undefined: there is none. */
export function chooseVersion(offered: readonly number[], known = LINK_VERSIONS): number | undefined {
  return [...known].sort((a, b) => b - a).find((version) => offered.includes(version));
}
export const DATA_HEADER = 17;
/** Bytes of payload in one frame at the most: bounds what the proxy has to take as one WebSocket message. */
export const MAX_PAYLOAD = 256 * 1024;
export const MAX_FRAME = DATA_HEADER + MAX_PAYLOAD;

export type Frame =
  | { type: "hello"; version: number; received: number }
  | { type: "data"; offset: number; received: number; bytes: Uint8Array }
  | { type: "ack"; received: number }
  | { type: "end"; offset: number }
  | { type: "close"; code: string; message: string }
  | { type: "ping"; token: number }
  | { type: "pong"; token: number };

const HELLO = 0;
const DATA = 1;
const ACK = 2;
const END = 3;
const CLOSE = 4;
const PING = 5;
const PONG = 6;

// Byte by byte: a DataView for each frame costs more than all else that is done with the frame.
function putU32(into: Uint8Array, at: number, value: number): void {
  into[at] = value >>> 24;
  into[at + 1] = value >>> 16;
  into[at + 2] = value >>> 8;
  into[at + 3] = value;
}

function getU32(from: Uint8Array, at: number): number {
  const high = ((from[at] ?? 0) << 24) | ((from[at + 1] ?? 0) << 16);
  return (high | ((from[at + 2] ?? 0) << 8) | (from[at + 3] ?? 0)) >>> 0;
}

function putU64(into: Uint8Array, at: number, value: number): void {
  putU32(into, at, Math.floor(value / 0x1_0000_0000));
  putU32(into, at + 4, value >>> 0);
}

const getU64 = (from: Uint8Array, at: number): number => getU32(from, at) * 0x1_0000_0000 + getU32(from, at + 4);

/** One allocation and one copy: the frame that is sent is also what is kept for replay. */
export function encodeData(offset: number, received: number, bytes: Uint8Array): Uint8Array {
  const frame = new Uint8Array(DATA_HEADER + bytes.length);
  frame[0] = DATA;
  putU64(frame, 1, offset);
  putU64(frame, 9, received);
  frame.set(bytes, DATA_HEADER);
  return frame;
}

/** Before a kept frame is sent again: what this side holds by now. */
export function restampData(frame: Uint8Array, received: number): void {
  putU64(frame, 9, received);
}

export function encodeFrame(frame: Exclude<Frame, { type: "data" }>): Uint8Array {
  switch (frame.type) {
    case "hello": {
      const bytes = new Uint8Array(10);
      bytes[0] = HELLO;
      bytes[1] = frame.version;
      putU64(bytes, 2, frame.received);
      return bytes;
    }
    case "ack":
      return withU64(ACK, frame.received);
    case "end":
      return withU64(END, frame.offset);
    case "close": {
      const text = new TextEncoder().encode(JSON.stringify({ code: frame.code, message: frame.message }));
      const bytes = new Uint8Array(1 + text.length);
      bytes[0] = CLOSE;
      bytes.set(text, 1);
      return bytes;
    }
    case "ping":
    case "pong": {
      const bytes = new Uint8Array(5);
      bytes[0] = frame.type === "ping" ? PING : PONG;
      putU32(bytes, 1, frame.token);
      return bytes;
    }
  }
}

function withU64(type: number, value: number): Uint8Array {
  const bytes = new Uint8Array(9);
  bytes[0] = type;
  putU64(bytes, 1, value);
  return bytes;
}

/** `undefined` for anything that is not a frame of this version: the connection is then given up, never the session. */
export function decodeFrame(bytes: Uint8Array): Frame | undefined {
  const length = bytes.length;
  switch (bytes[0]) {
    case HELLO:
      return length === 10 ? { type: "hello", version: bytes[1] ?? 0, received: getU64(bytes, 2) } : undefined;
    case DATA:
      if (length <= DATA_HEADER || length > MAX_FRAME) return undefined;
      return { type: "data", offset: getU64(bytes, 1), received: getU64(bytes, 9), bytes: bytes.subarray(DATA_HEADER) };
    case ACK:
      return length === 9 ? { type: "ack", received: getU64(bytes, 1) } : undefined;
    case END:
      return length === 9 ? { type: "end", offset: getU64(bytes, 1) } : undefined;
    case CLOSE:
      return decodeClose(bytes.subarray(1));
    case PING:
      return length === 5 ? { type: "ping", token: getU32(bytes, 1) } : undefined;
    case PONG:
      return length === 5 ? { type: "pong", token: getU32(bytes, 1) } : undefined;
    default:
      return undefined;
  }
}

function decodeClose(bytes: Uint8Array): Frame | undefined {
  if (bytes.length > 4096) return undefined;
  try {
    const { code, message } = JSON.parse(new TextDecoder().decode(bytes)) as Record<string, unknown>;
    if (typeof code !== "string" || typeof message !== "string") return undefined;
    return { type: "close", code, message };
  } catch {
    return undefined;
  }
}
