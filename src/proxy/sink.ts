/** Where the audit log goes besides the store. */
import type { StoredText } from "../audit/store.ts";

export interface Sink {
  /** Resolves when the sink has all of them for good; the same batch comes again when it rejects. */
  send(events: readonly StoredText[]): Promise<void>;
  close(): void;
}
