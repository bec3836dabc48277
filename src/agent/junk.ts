/** Lines on stdout that are no messages, as `agent check` tells of them: counted, and the first of them kept. */
import { Failure } from "../errors.ts";
import type { Secrets } from "./secrets.ts";

/** Characters of a line of junk that are kept to find secrets in, and that are shown. */
const [KEPT, SHOWN] = [4096, 80];
/** Lines of junk: no server prints so many on its way to an answer. */
const FLOOD = 10_000;

export class Junk {
  #lines = 0;
  #first = "";
  readonly #flood = Promise.withResolvers<never>();
  /** Rejects where there are so many that nobody has to wait for an answer. */
  readonly flood = this.#flood.promise;

  constructor() {
    this.flood.catch(() => {});
  }

  add(text: string): void {
    this.#lines += 1;
    if (this.#first === "") this.#first = text.slice(0, KEPT);
    if (this.#lines !== FLOOD) return;
    const message = `it prints ${FLOOD} lines and more on stdout without an answer among them`;
    this.#flood.reject(new Failure("start_failed", message));
  }

  problems(secrets: Secrets): { message: string; hint: string }[] {
    if (this.#lines === 0) return [];
    const lines = this.#lines === 1 ? "a line" : `${this.#lines} lines`;
    const shown = secrets.maskText(this.#first, true).slice(0, SHOWN);
    return [
      {
        message: `it prints ${lines} on stdout that MCP knows nothing of, such as ${JSON.stringify(shown)}`,
        hint: "they are dropped, and each is an event in the audit log: a server logs to stderr",
      },
    ];
  }
}
