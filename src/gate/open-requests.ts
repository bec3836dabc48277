/**
 * The requests of one side that wait for their answers: exact, and bounded by refusing. Nothing is ever evicted: an
 * answer is filtered by the request that it answers, so forgetting the request would be forgetting the filter.
 */
import { type Id, idKey, type ListKind } from "../mcp/message.ts";

export interface OpenRequest {
  id: Id;
  method: string;
  /** The answer is this list and goes through the filter. */
  list: ListKind | undefined;
  /** The `uid` of the request's event. */
  event: string;
  /** Monotonic milliseconds. */
  at: number;
  /** `subscriptions/listen`: the lists whose changes the client wants to hear of. */
  asks: readonly ListKind[];
  /** `subscriptions/listen`: the lists whose changes it was told that it will hear of. */
  listens: ListKind[];
}

export class OpenRequests {
  readonly #maxOpen: number;
  readonly #maxClosed: number;
  readonly #open = new Map<string, OpenRequest>();
  /** Ids of requests that were given up: taken until their late answer came. */
  readonly #closed = new Set<string>();

  constructor(maxOpen: number, maxClosed: number) {
    this.#maxOpen = maxOpen;
    this.#maxClosed = maxClosed;
  }

  get size(): number {
    return this.#open.size;
  }

  /** Whether one more request fits. */
  get full(): boolean {
    return this.#open.size >= this.#maxOpen || this.#closed.size + this.#open.size >= this.#maxClosed + this.#maxOpen;
  }

  /** Whether no new request may have this id. */
  isTaken(id: Id): boolean {
    const key = idKey(id);
    return this.#open.has(key) || this.#closed.has(key);
  }

  get(id: Id): OpenRequest | undefined {
    return this.#open.get(idKey(id));
  }

  add(request: OpenRequest): void {
    this.#open.set(idKey(request.id), request);
  }

  /** An answer with this id came: the request that it answers, `late` when that was given up, or nothing. */
  answer(id: Id): OpenRequest | "late" | undefined {
    const key = idKey(id);
    const request = this.#open.get(key);
    if (request === undefined) return this.#closed.delete(key) ? "late" : undefined;
    this.#open.delete(key);
    return request;
  }

  /** Give a request up, its id stays taken until the late answer came. */
  giveUp(id: Id): OpenRequest | undefined {
    const key = idKey(id);
    const request = this.#open.get(key);
    if (request !== undefined) {
      this.#open.delete(key);
      this.#closed.add(key);
    }
    return request;
  }

  /** All open requests, which are open no more. */
  drain(): OpenRequest[] {
    const all = [...this.#open.values()];
    this.#open.clear();
    return all;
  }

  [Symbol.iterator](): IterableIterator<OpenRequest> {
    return this.#open.values();
  }
}
