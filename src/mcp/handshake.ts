/**
 * What a server says of itself, in the results of `initialize` and `server/discover`. The gate changes one thing there:
 * lists that the server has are declared as lists that may change, because a change of rules changes them.
 */
import { OPEN_OBJECT } from "./chars.ts";
import { rescan } from "./codec.ts";
import type { CodecLimits, ListKind, Notification, Response } from "./message.ts";
import { type Edit, setMember, splice } from "./splice.ts";
import { ObjectView } from "./view.ts";

export interface Introduction {
  /** The answer with `listChanged: true` in the capabilities of each list that the server has. */
  line: Uint8Array;
  /** The lists that the server has. */
  lists: ListKind[];
  /** `protocolVersion`: the revision that was negotiated; undefined where it isn't said. */
  revision: string | undefined;
}

const LISTS = ["tools", "prompts", "resources"] as const;

export function readIntroduction(answer: Response, limits: CodecLimits): Introduction {
  const { bytes, body } = answer;
  const lists: ListKind[] = [];
  const edits: Edit[] = [];
  const span = body.span("capabilities");
  if (span !== undefined && bytes[span.start] === OPEN_OBJECT) {
    rescan(bytes, limits, (scanner) => {
      const capabilities = new ObjectView(bytes);
      capabilities.scan(scanner, span.start, 3);
      for (const kind of LISTS) {
        const place = capabilities.span(kind)?.start;
        if (place === undefined || bytes[place] !== OPEN_OBJECT) continue;
        lists.push(kind);
        const capability = new ObjectView(bytes);
        capability.scan(scanner, place, 4);
        if (!capability.is("listChanged", "true")) edits.push(setMember(capability, place, "listChanged", "true"));
      }
    });
  }
  return { line: splice(bytes, edits), lists, revision: revisionOf(answer) };
}

const revisionOf = ({ body }: Response): string | undefined =>
  ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"].find((each) => body.is("protocolVersion", `"${each}"`));

const LISTENS = {
  tools: "toolsListChanged",
  prompts: "promptsListChanged",
  resources: "resourcesListChanged",
} as const;

/**
 * `notifications/subscriptions/acknowledged` (2026-07-28) with the lists in it that the gate itself tells about. The very
 * same bytes where they are all there.
 */
export function acknowledgeLists(message: Notification, lists: readonly ListKind[], limits: CodecLimits): Uint8Array {
  const { bytes, params } = message;
  const span = params?.span("notifications");
  if (span === undefined || bytes[span.start] !== OPEN_OBJECT) return bytes;
  return rescan(bytes, limits, (scanner) => {
    const filter = new ObjectView(bytes);
    filter.scan(scanner, span.start, 3);
    const missing = LISTS.filter((kind) => lists.includes(kind) && !filter.is(LISTENS[kind], "true"));
    const there = missing.filter((kind) => filter.find(LISTENS[kind]) !== -1);
    const edits = there.map((kind) => setMember(filter, span.start, LISTENS[kind], "true"));
    const added = missing.filter((kind) => !there.includes(kind)).map((kind) => `"${LISTENS[kind]}":true`);
    if (added.length > 0) {
      const text = added.join(",") + (filter.places.length === 0 ? "" : ",");
      edits.push({ start: span.start + 1, end: span.start + 1, text });
    }
    return splice(bytes, edits);
  });
}
