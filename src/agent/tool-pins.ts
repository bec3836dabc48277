/**
 * The definitions of each app's tools as this agent has seen them: one file an app in the data directory. The first
 * whole set is trusted; after that every new or changed definition is an event, and where the app says
 * `tool_pinning: enforce` it is held back until an admin approved that very definition.
 */
import { join } from "node:path";
import * as v from "valibot";
import type { AppConfig } from "../config/config.ts";
import { Failure } from "../errors.ts";
import type { EventDraft } from "../event.ts";
import type { ToolPins } from "../gate/pinning.ts";
import { readSecretFile, writeSecretFile } from "../identity/files.ts";
import { readDefinition } from "./tool-definition.ts";
import { diffDefinitions, showDefinition } from "./tool-diff.ts";

/** Tools of one app that are remembered. Those beyond are told about and, under `enforce`, held back. */
const MAX_TOOLS = 1000;

/** Of all definitions together, the text is kept up to so many characters; the rest only by their hashes. */
const MAX_KEPT = 700_000;

/** Of all diffs in one report, characters. */
const MAX_DIFFS = 50_000;

const definition = v.strictObject({ hash: v.string(), text: v.optional(v.string()) });
const file = v.strictObject({
  v: v.literal(1),
  begun: v.boolean(),
  tools: v.record(
    v.string(),
    v.strictObject({
      /** Absent: never approved. */
      pinned: v.optional(definition),
      /** What waits for approval. */
      pending: v.optional(definition),
    }),
  ),
});
type KeptDefinition = v.InferOutput<typeof definition>;
type Pins = v.InferOutput<typeof file>;
type Pin = Pins["tools"][string];

/** How one tool stands, for the proxy. */
export interface PinReport {
  tool: string;
  pinned: string | null;
  pending: string | null;
  /** What waits for approval, for people. */
  diff: string[];
}

/** The pins of each app that has them. Throws what `AppPins` throws. */
export function loadPins(dir: string, apps: readonly AppConfig[]): ReadonlyMap<string, AppPins> {
  const pins = new Map<string, AppPins>();
  for (const { name, toolPinning = "warn" } of apps) {
    if (toolPinning !== "off") pins.set(name, new AppPins(dir, name, toolPinning));
  }
  return pins;
}

export class AppPins implements ToolPins {
  readonly app: string;
  /** `tool_pinning: enforce`, as it is now. */
  enforce: boolean;
  /** How a tool stands has changed, and is saved. */
  onChanged: () => void = () => {};
  readonly #path: string;
  readonly #tools: Map<string, Pin>;
  #begun: boolean;
  #dirty = false;

  /**
   * `dir`: the agent's directory. Throws `Failure("data_dir")` for a file that can't be read: to begin anew would be to
   * trust whatever is there now.
   */
  constructor(dir: string, app: string, mode: "warn" | "enforce") {
    this.app = app;
    this.enforce = mode === "enforce";
    this.#path = join(dir, "pins", `${app}.json`);
    const known = readPins(this.#path);
    this.#tools = new Map(Object.entries(known.tools));
    this.#begun = known.begun;
  }

  get begun(): boolean {
    return this.#begun;
  }

  /** Nothing was seen yet. */
  get isBlank(): boolean {
    return !this.#begun && this.#tools.size === 0;
  }

  see(tool: string, json: Uint8Array, own: boolean): { hash: string; events: EventDraft[] } {
    const now = readDefinition(json);
    const { hash } = now;
    const pin = this.#tools.get(tool);
    if (pin?.pinned?.hash === hash) {
      // What waited is not there any more.
      if (pin.pending !== undefined) this.#put(tool, { pinned: pin.pinned });
      return { hash, events: [] };
    }
    if (pin?.pending?.hash === hash || (pin === undefined && this.#tools.size >= MAX_TOOLS))
      return { hash, events: [] };
    const first = !this.#begun && own;
    const trusted = !this.enforce || first;
    const kept = { hash, ...(now.text === undefined ? {} : { text: now.text }) };
    this.#put(tool, trusted ? { pinned: kept } : { ...pin, pending: kept });
    const was = pin?.pinned;
    const details = {
      hash,
      hidden: !trusted,
      ...(this.#begun ? {} : { first_use: true }),
      ...(was === undefined
        ? { definition: showDefinition(now.text) }
        : { was: was.hash, diff: diffDefinitions(was.text, now.text) }),
    };
    return { hash, events: [{ event: was === undefined ? "mcp.tool.new" : "mcp.tool.changed", tool, details }] };
  }

  begin(): void {
    if (this.#begun) return;
    this.#begun = true;
    this.#touch();
  }

  holds(tool: string, hash: string): boolean {
    return this.#tools.get(tool)?.pinned?.hash === hash;
  }

  /** An admin has approved these definitions; another one that waits by now still waits. True: something was released. */
  approve(approved: readonly { tool: string; hash: string }[]): boolean {
    let any = false;
    for (const { tool, hash } of approved) {
      const pending = this.#tools.get(tool)?.pending;
      if (pending?.hash !== hash) continue;
      this.#put(tool, { pinned: pending });
      any = true;
    }
    this.save();
    return any;
  }

  /** For the proxy, and so for `mcpgate apps pins`. */
  get report(): PinReport[] {
    let room = MAX_DIFFS;
    return [...this.#tools].map(([tool, { pinned, pending }]) => {
      const diff = pending === undefined || room < 0 ? [] : diffOf(pinned, pending);
      for (const line of diff) room -= line.length;
      return { tool, pinned: pinned?.hash ?? null, pending: pending?.hash ?? null, diff };
    });
  }

  /** Called when the events about what was seen are in the spool: a definition is forgotten rather than never told about. */
  save(): void {
    if (!this.#dirty) return;
    this.#dirty = false;
    let room = MAX_KEPT;
    const kept = (each: KeptDefinition | undefined) => {
      room -= each?.text?.length ?? 0;
      return each === undefined || room >= 0 ? each : { hash: each.hash };
    };
    const tools = [...this.#tools].map(([tool, { pinned, pending }]) => [
      tool,
      { pinned: kept(pinned), pending: kept(pending) },
    ]);
    writeSecretFile(this.#path, JSON.stringify({ v: 1, begun: this.#begun, tools: Object.fromEntries(tools) }));
    this.onChanged();
  }

  #put(tool: string, pin: Pin): void {
    this.#tools.set(tool, pin);
    this.#touch();
  }

  #touch(): void {
    this.#dirty = true;
  }
}

const diffOf = (was: KeptDefinition | undefined, is: KeptDefinition): string[] =>
  was === undefined ? showDefinition(is.text) : diffDefinitions(was.text, is.text);

function readPins(path: string): Pins {
  const text = readSecretFile(path);
  if (text === undefined) return { v: 1, begun: false, tools: {} };
  try {
    return v.parse(file, JSON.parse(text));
  } catch (cause) {
    throw new Failure("data_dir", `${path}: is no file of tool pins`, {
      cause,
      hint: `to trust the tools as they are now, remove it: rm ${path}`,
    });
  }
}
