/** What a message is about, for its event. */
import type { EventDraft } from "../event.ts";
import type { Notification, Request } from "../mcp/message.ts";
import type { GateState } from "./state.ts";

export function subject(state: GateState, { target, bytes }: Request | Notification): Partial<EventDraft> {
  switch (target.kind) {
    case "tool":
    case "prompt": {
      const args = target.arguments;
      const name = target.kind === "tool" ? { tool: target.name } : { prompt: target.name };
      return args === undefined ? name : { ...name, arguments: state.redact(bytes.subarray(args.start, args.end)) };
    }
    case "resource":
      return { resource: target.uri };
    case "completion":
      return target.of === "prompt" ? { prompt: target.name } : { resource: target.name };
    case "listen":
      return target.uris.length === 0 ? {} : { details: shownUris(target.uris) };
    default:
      return {};
  }
}

/** Of one event, characters: the proxy takes no line that is much longer, and one that it does not take names no user. */
const MAX_SHOWN = 32 * 1024;

/** The first resources, and of how many. */
function shownUris(uris: readonly string[]): Record<string, unknown> {
  const resources: string[] = [];
  let room = MAX_SHOWN;
  for (const uri of uris.slice(0, 100)) {
    room -= uri.length;
    if (room < 0) break;
    resources.push(uri);
  }
  return resources.length === uris.length ? { resources } : { resources, of: uris.length };
}
