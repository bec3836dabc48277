/** JSON-RPC batches, which revision 2025-03-26 has and no other: an array of messages on one line. */
import { isUtf8 } from "node:buffer";
import { CLOSE_ARRAY, COMMA, CR, LF, OPEN_ARRAY } from "./chars.ts";
import { rescan, withLineFeed } from "./codec.ts";
import { Fault, INVALID_REQUEST, PARSE_ERROR } from "./fault.ts";
import type { CodecLimits, Invalid } from "./message.ts";

/** Messages in one batch; the v1 SDK takes no more either. */
export const MAX_BATCH = 100;

/** Whether the line begins an array. */
export function isBatch(line: Uint8Array): boolean {
  let i = 0;
  while (line[i] === 0x20 || line[i] === 0x09) i += 1;
  return line[i] === OPEN_ARRAY;
}

/** The messages of a batch as lines of their own, in their order; each is decoded like any other line. */
export function splitBatch(text: Uint8Array, limits: CodecLimits): Uint8Array[] | Invalid {
  const line = withLineFeed(text);
  try {
    if (text.length > limits.maxBytes) {
      throw new Fault(INVALID_REQUEST, `the line is longer than ${limits.maxBytes} bytes`);
    }
    if (!isUtf8(line)) throw new Fault(PARSE_ERROR, "invalid UTF-8");
    return rescan(line, limits, (scanner) => {
      const lines: Uint8Array[] = [];
      let i = scanner.space(scanner.space(0) + 1);
      if (line[i] === CLOSE_ARRAY) throw new Fault(INVALID_REQUEST, "an empty batch");
      for (;;) {
        const end = scanner.value(i, 1);
        if (lines.length === MAX_BATCH) throw new Fault(INVALID_REQUEST, `more than ${MAX_BATCH} messages in a batch`);
        const own = new Uint8Array(end - i + 1);
        own.set(line.subarray(i, end));
        own[end - i] = LF;
        lines.push(own);
        i = scanner.space(end);
        if (line[i] === CLOSE_ARRAY) break;
        if (line[i] !== COMMA) throw scanner.unexpected(i);
        i = scanner.space(i + 1);
      }
      const end = scanner.space(i + 1);
      if (end !== line.length - 1 && !(line[end] === CR && end === line.length - 2)) {
        throw line[end] === CR ? scanner.unexpected(end) : new Fault(PARSE_ERROR, "something follows the batch");
      }
      return lines;
    });
  } catch (fault) {
    if (!(fault instanceof Fault)) throw fault;
    return { kind: "invalid", code: fault.code, reason: fault.reason, blank: false };
  }
}
