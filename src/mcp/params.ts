/** Reads from `params` what a rule may care about, method by method (schemas 2024-11-05 to 2026-07-28). */
import { CLOSE_ARRAY, COMMA, OPEN_ARRAY, OPEN_OBJECT, QUOTE } from "./chars.ts";
import { Fault, INVALID_PARAMS } from "./fault.ts";
import { readId } from "./id.ts";
import type { CodecLimits, Id, ListKind, Target } from "./message.ts";
import type { Scanner } from "./scan.ts";
import { cleanString, Lookalikes, ObjectView, type Span } from "./view.ts";

/** The `_meta` key that ties a notification to its `subscriptions/listen` request (2026-07-28). */
export const SUBSCRIPTION_ID = "io.modelcontextprotocol/subscriptionId";

const LISTS: ReadonlyMap<string, ListKind> = new Map([
  ["tools/list", "tools"],
  ["prompts/list", "prompts"],
  ["resources/list", "resources"],
  ["resources/templates/list", "templates"],
]);

/** The methods whose requests are about something that has a name, or that are answered with names. */
const READERS: ReadonlyMap<string, (params: Params) => Target> = new Map([
  ["tools/call", (params) => named(params, "tool")],
  ["prompts/get", (params) => named(params, "prompt")],
  ["resources/read", resource],
  ["resources/subscribe", resource],
  ["resources/unsubscribe", resource],
  ["notifications/resources/updated", resource],
  ["completion/complete", completion],
  ["subscriptions/listen", listen],
  ["notifications/subscriptions/acknowledged", listen],
  ["notifications/cancelled", cancelled],
]);

interface Params {
  view: ObjectView;
  scanner: Scanner;
  limits: CodecLimits;
}

const META_KEYS = new Lookalikes(["_meta"]);
const CALL_KEYS = new Lookalikes(["name", "arguments", "_meta", "task", "inputResponses", "requestState"]);
const URI_KEYS = new Lookalikes(["uri", "_meta", "inputResponses", "requestState"]);
const COMPLETE_KEYS = new Lookalikes(["ref", "argument", "context", "_meta"]);
const REF_KEYS = new Lookalikes(["type", "name", "uri"]);
const LIST_KEYS = new Lookalikes(["cursor", "task", "_meta"]);
const LISTEN_KEYS = new Lookalikes(["notifications", "_meta"]);
const FILTER_KEYS = new Lookalikes([
  "toolsListChanged",
  "promptsListChanged",
  "resourcesListChanged",
  "resourceSubscriptions",
]);
const CANCEL_KEYS = new Lookalikes(["requestId", "reason", "_meta"]);

const NONE: Target = { kind: "none" };

/** Throws a `Fault` when the method's params are not what its schema says, as far as the gate reads them. */
export function readTarget(
  method: string,
  view: ObjectView | undefined,
  scanner: Scanner,
  limits: CodecLimits,
  bytes: Uint8Array,
): Target {
  const read = READERS.get(method);
  if (read !== undefined) return read({ view: view ?? new ObjectView(bytes), scanner, limits });
  const list = LISTS.get(method);
  if (list === undefined) {
    view?.refuseLookalikes(META_KEYS);
    return NONE;
  }
  if (view !== undefined) {
    view.refuseLookalikes(LIST_KEYS);
    // As a task, the list would come back as the answer to another request, past the filter.
    if (view.find("task") !== -1) throw new Fault(INVALID_PARAMS, "a list cannot be asked for as a task");
  }
  return { kind: "list", list };
}

function named({ view, limits }: Params, kind: "tool" | "prompt"): Target {
  view.refuseLookalikes(CALL_KEYS);
  const name = view.name("name", limits.maxNameChars);
  if (name === undefined) throw new Fault(INVALID_PARAMS, `"name" is missing`);
  if (kind === "prompt" && view.find("task") !== -1) {
    throw new Fault(INVALID_PARAMS, "a prompt cannot be asked for as a task");
  }
  const args = view.span("arguments");
  if (args !== undefined && view.bytes[args.start] !== OPEN_OBJECT) {
    throw new Fault(INVALID_PARAMS, `"arguments" is not an object`);
  }
  return { kind, name, arguments: args };
}

function resource({ view, limits }: Params): Target {
  view.refuseLookalikes(URI_KEYS);
  const uri = view.name("uri", limits.maxNameChars);
  if (uri === undefined) throw new Fault(INVALID_PARAMS, `"uri" is missing`);
  return { kind: "resource", uri };
}

function completion(params: Params): Target {
  params.view.refuseLookalikes(COMPLETE_KEYS);
  const ref = inner(params, "ref");
  if (ref === undefined) throw new Fault(INVALID_PARAMS, `"ref" is missing`);
  ref.refuseLookalikes(REF_KEYS);
  const prompt = ref.is("type", '"ref/prompt"');
  if (!prompt && !ref.is("type", '"ref/resource"')) throw new Fault(INVALID_PARAMS, `"ref" has an unknown type`);
  const [key, other] = prompt ? ["name", "uri"] : ["uri", "name"];
  // A server may look at what is there, and not at the type.
  if (ref.find(other) !== -1) throw new Fault(INVALID_PARAMS, `"ref" has both a "name" and a "uri"`);
  const name = ref.name(key, params.limits.maxNameChars);
  if (name === undefined) throw new Fault(INVALID_PARAMS, `"ref" has no "${key}"`);
  return { kind: "completion", of: prompt ? "prompt" : "resource", name };
}

function listen(params: Params): Target {
  params.view.refuseLookalikes(LISTEN_KEYS);
  const filter = inner(params, "notifications");
  if (filter === undefined) throw new Fault(INVALID_PARAMS, `"notifications" is missing`);
  filter.refuseLookalikes(FILTER_KEYS);
  const lists: ListKind[] = [];
  if (filter.is("toolsListChanged", "true")) lists.push("tools");
  if (filter.is("promptsListChanged", "true")) lists.push("prompts");
  if (filter.is("resourcesListChanged", "true")) lists.push("resources");
  const uris = filter.span("resourceSubscriptions");
  return { kind: "listen", id: subscription(params), uris: uris === undefined ? [] : texts(params, uris), lists };
}

function cancelled({ view, limits }: Params): Target {
  view.refuseLookalikes(CANCEL_KEYS);
  const id = view.span("requestId");
  return { kind: "cancelled", id: id === undefined ? undefined : readId(view.bytes, id, limits.maxIdChars) };
}

function subscription(params: Params): Id | undefined {
  const meta = inner(params, "_meta");
  const id = meta?.span(SUBSCRIPTION_ID);
  return id === undefined ? undefined : readId(params.view.bytes, id, params.limits.maxIdChars);
}

/** The members of an object inside params. */
function inner({ view, scanner }: Params, key: string): ObjectView | undefined {
  const span = view.span(key);
  if (span === undefined) return undefined;
  if (view.bytes[span.start] !== OPEN_OBJECT) throw new Fault(INVALID_PARAMS, `"${key}" is not an object`);
  const object = new ObjectView(view.bytes);
  object.scan(scanner, span.start, 3);
  return object;
}

/** An array of clean strings. */
function texts({ view, scanner, limits }: Params, span: Span): string[] {
  const { bytes } = view;
  if (bytes[span.start] !== OPEN_ARRAY) throw new Fault(INVALID_PARAMS, `"resourceSubscriptions" is not an array`);
  const out: string[] = [];
  let i = scanner.space(span.start + 1);
  while (bytes[i] !== CLOSE_ARRAY) {
    if (bytes[i] !== QUOTE)
      throw new Fault(INVALID_PARAMS, `"resourceSubscriptions" holds something else than strings`);
    const end = scanner.string(i);
    out.push(cleanString(bytes, i + 1, end - 1, "resourceSubscriptions", limits.maxNameChars));
    i = scanner.space(end);
    if (bytes[i] === COMMA) i = scanner.space(i + 1);
  }
  return out;
}
