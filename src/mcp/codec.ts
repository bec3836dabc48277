/**
 * Bytes ↔ messages, strictly. `decode` reads from one line what the gate needs and nothing else; what it accepts has one
 * reading only, and the server gets these very bytes.
 */

import { isUtf8 } from "node:buffer";
import { CLOSE_OBJECT, COMMA, CR, LF, OPEN_ARRAY, OPEN_OBJECT, QUOTE } from "./chars.ts";
import { Fault, INVALID_PARAMS, INVALID_REQUEST, PARSE_ERROR } from "./fault.ts";
import { guessId, readId } from "./id.ts";
import { type CodecLimits, DEFAULT_CODEC_LIMITS, type Invalid, type Message } from "./message.ts";
import { readTarget } from "./params.ts";
import { Scanner } from "./scan.ts";
import { isText } from "./strings.ts";
import { cleanString, Lookalikes, ObjectView } from "./view.ts";

const MESSAGE_KEYS = new Lookalikes(["jsonrpc", "id", "method", "params", "result", "error"]);

// One is enough: decoding never waits.
const scanner = new Scanner();

/** One line, with or without its line feed, as a message; or why it is not forwarded. Never throws. */
export function decode(line: Uint8Array, limits: CodecLimits = DEFAULT_CODEC_LIMITS): Message | Invalid {
  try {
    return read(line, limits);
  } catch (fault) {
    if (!(fault instanceof Fault)) throw fault;
    return { kind: "invalid", code: fault.code, reason: fault.reason, ...guessId(line), blank: false };
  } finally {
    scanner.stop();
  }
}

function read(line: Uint8Array, limits: CodecLimits): Message | Invalid {
  if (line.length > limits.maxBytes)
    throw new Fault(INVALID_REQUEST, `the line is longer than ${limits.maxBytes} bytes`);
  const bytes = withLineFeed(line);
  if (!isUtf8(bytes)) throw new Fault(PARSE_ERROR, "invalid UTF-8");
  scanner.start(bytes, limits.maxDepth);
  const start = scanner.space(0);
  if (bytes[start] !== OPEN_OBJECT) return notAnObject(bytes, start);
  const places = new Places();
  const end = scanner.space(readMembers(bytes, start, places));
  if (end !== bytes.length - 1 && !(bytes[end] === CR && end === bytes.length - 2)) {
    throw bytes[end] === CR ? scanner.unexpected(end) : new Fault(PARSE_ERROR, "something follows the message");
  }
  if (!isText(bytes, places.jsonrpc, places.jsonrpcEnd, '"2.0"')) {
    throw new Fault(INVALID_REQUEST, `"jsonrpc" is not "2.0"`);
  }
  return places.method === 0 ? response(bytes, places, limits) : call(bytes, places, limits);
}

/** Where the protocol's own members stand; 0 for one that is not there. */
class Places {
  jsonrpc = 0;
  jsonrpcEnd = 0;
  id = 0;
  idEnd = 0;
  method = 0;
  methodEnd = 0;
  params = 0;
  result = 0;
  error = 0;
  /** The members of `params`, `result` or `error`, whichever came last. */
  body: ObjectView | undefined;
}

function readMembers(bytes: Uint8Array, start: number, places: Places): number {
  const base = scanner.openObject();
  let i = scanner.space(start + 1);
  if (bytes[i] === CLOSE_OBJECT) return i + 1;
  for (;;) {
    const value = scanner.key(i);
    let keyEnd = value - 1;
    while (bytes[keyEnd] !== QUOTE) keyEnd -= 1;
    i = scanner.space(readMember(bytes, i + 1, keyEnd, value, places));
    const byte = bytes[i];
    if (byte === CLOSE_OBJECT) break;
    if (byte !== COMMA) throw scanner.unexpected(i);
    i = scanner.space(i + 1);
  }
  scanner.closeObject(base);
  return i + 1;
}

/** Notes where a member stands; the index after its value. */
function readMember(bytes: Uint8Array, key: number, keyEnd: number, value: number, places: Places): number {
  if (isText(bytes, key, keyEnd, "jsonrpc")) {
    places.jsonrpc = value;
    places.jsonrpcEnd = scanner.value(value, 1);
    return places.jsonrpcEnd;
  }
  if (isText(bytes, key, keyEnd, "id")) {
    places.id = value;
    places.idEnd = scanner.value(value, 1);
    return places.idEnd;
  }
  if (isText(bytes, key, keyEnd, "method")) {
    places.method = value;
    places.methodEnd = scanner.value(value, 1);
    return places.methodEnd;
  }
  if (isText(bytes, key, keyEnd, "params")) places.params = value;
  else if (isText(bytes, key, keyEnd, "result")) places.result = value;
  else if (isText(bytes, key, keyEnd, "error")) places.error = value;
  else {
    MESSAGE_KEYS.check(bytes, key, keyEnd);
    return scanner.value(value, 1);
  }
  if (bytes[value] !== OPEN_OBJECT) return scanner.value(value, 1);
  places.body = new ObjectView(bytes);
  return places.body.scan(scanner, value, 2);
}

function call(bytes: Uint8Array, places: Places, limits: CodecLimits): Message {
  if (places.result !== 0 || places.error !== 0) {
    throw new Fault(INVALID_REQUEST, "both a request and a response");
  }
  if (bytes[places.method] !== QUOTE) throw new Fault(INVALID_REQUEST, `"method" is not a string`);
  const method = readMethod(bytes, places);
  const params = places.params === 0 ? undefined : places.body;
  if (params === undefined && places.params !== 0) throw new Fault(INVALID_PARAMS, `"params" is not an object`);
  const id = places.id === 0 ? undefined : readId(bytes, { start: places.id, end: places.idEnd }, limits.maxIdChars);
  const target = readTarget(method, params, scanner, limits, bytes);
  if (id === undefined) return { kind: "notification", method, params, target, bytes };
  return { kind: "request", id, method, params, target, bytes };
}

function readMethod(bytes: Uint8Array, places: Places): string {
  try {
    return cleanString(bytes, places.method + 1, places.methodEnd - 1, "method", 256);
  } catch (fault) {
    throw fault instanceof Fault ? new Fault(INVALID_REQUEST, fault.reason) : fault;
  }
}

function response(bytes: Uint8Array, places: Places, limits: CodecLimits): Message {
  if (places.result === 0 && places.error === 0) {
    throw new Fault(INVALID_REQUEST, "neither a request nor a response");
  }
  if (places.result !== 0 && places.error !== 0) throw new Fault(INVALID_REQUEST, "both a result and an error");
  if (places.params !== 0) throw new Fault(INVALID_REQUEST, `a response with "params"`);
  const ok = places.result !== 0;
  if (places.body === undefined) throw new Fault(INVALID_REQUEST, `"${ok ? "result" : "error"}" is not an object`);
  if (places.id === 0) throw new Fault(INVALID_REQUEST, "a response without an id");
  const id = readId(bytes, { start: places.id, end: places.idEnd }, limits.maxIdChars);
  return { kind: "response", id, ok, body: places.body, bytes };
}

function notAnObject(bytes: Uint8Array, start: number): Invalid {
  const byte = bytes[start];
  const rest = { kind: "invalid", blank: false } as const;
  if (byte === LF || (byte === CR && start === bytes.length - 2)) {
    return { ...rest, code: PARSE_ERROR, reason: "an empty line", blank: true };
  }
  if (byte === OPEN_ARRAY) {
    return {
      ...rest,
      code: INVALID_REQUEST,
      reason: "a batch where none may be (only revision 2025-03-26 has them): send one message a line",
    };
  }
  if (byte === 0xef && bytes[start + 1] === 0xbb && bytes[start + 2] === 0xbf) {
    return { ...rest, code: PARSE_ERROR, reason: "a byte order mark", ...guessId(bytes.subarray(start + 3)) };
  }
  return { ...rest, code: PARSE_ERROR, reason: "not a JSON object" };
}

/** The line with a line feed at its end, which the scanner needs: the last line of a stream may lack it. */
export function withLineFeed(line: Uint8Array): Uint8Array {
  if (line[line.length - 1] === LF) return line;
  const out = new Uint8Array(line.length + 1);
  out.set(line);
  out[line.length] = LF;
  return out;
}

/** The scanner of this module, for those who read deeper into a decoded line (`lists.ts`, `inputs.ts`). */
export function rescan<T>(bytes: Uint8Array, limits: CodecLimits, work: (scanner: Scanner) => T): T {
  scanner.start(bytes, limits.maxDepth);
  try {
    return work(scanner);
  } finally {
    scanner.stop();
  }
}
