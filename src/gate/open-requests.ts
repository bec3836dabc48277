/**
 * The requests of one side that wait for their answers: exact, and bounded by refusing. Nothing is ever evicted: an
 * answer is filtered by the request that it answers, so forgetting the request would be forgetting the filter.
 */
import type { Id, ListKind } from "../mcp/message.ts";

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
  readonly #open = new Map<Id, OpenRequest>();
  /** Ids of requests that were given up: taken until their late answer came. */
  readonly #closed = new Set<Id>();

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
    return this.#open.has(id) || this.#closed.has(id);
  }

  get(id: Id): OpenRequest | undefined {
    return this.#open.get(id);
  }

  add(request: OpenRequest): void {
    this.#open.set(request.id, request);
  }

  /** An answer with this id came: the request that it answers, `late` when that was given up, or nothing. */
  answer(id: Id): OpenRequest | "late" | undefined {
    const request = this.#open.get(id);
    if (request === undefined) return this.#closed.delete(id) ? "late" : undefined;
    this.#open.delete(id);
    return request;
  }

  /** Give a request up, its id stays taken until the late answer came. */
  giveUp(id: Id): OpenRequest | undefined {
    const request = this.#open.get(id);
    if (request !== undefined) {
      this.#open.delete(id);
      this.#closed.add(id);
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
