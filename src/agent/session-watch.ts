/** What is seen of one session from outside: counted, timed and traced. It changes nothing about it. */
import type { EventDraft, Outcome } from "../event.ts";
import type { GateObserver } from "../gate/state.ts";
import type { Connection } from "../link/dial.ts";
import type { Buckets, Cell } from "../observe/metrics.ts";
import { CLIENT_REQUESTS } from "../rbac/defaults.ts";
import type { CallSpans } from "./call-spans.ts";
import type { AgentCounts } from "./metrics.ts";

export class SessionWatch {
  readonly #app: string;
  readonly #counts: AgentCounts;
  readonly #spans: CallSpans | undefined;
  readonly #fromClient: Cell;
  readonly #fromServer: Cell;
  /** The series of this app's calls by method: to look them up takes longer than to count. */
  readonly #ofMethod = new Map<string, { seconds: Buckets; calls: Partial<Record<Outcome, Cell>> }>();
  #joined = false;

  constructor(app: string, counts: AgentCounts, spans: CallSpans | undefined) {
    this.#app = app;
    this.#counts = counts;
    this.#spans = spans;
    this.#fromClient = counts.bytes.of(app, "from_client");
    this.#fromServer = counts.bytes.of(app, "from_server");
    counts.opened.of(app).value += 1;
  }

  /** What the gate is to tell of. */
  get gate(): GateObserver | undefined {
    return this.#spans;
  }

  /** The client is connected, for the first time or again. */
  onJoined(): void {
    if (this.#joined) this.#counts.resumed.of(this.#app).value += 1;
    this.#joined = true;
  }

  /** Bytes of the link's frames. */
  onFrame(bytes: number): void {
    this.#fromClient.value += bytes;
  }

  onStdout(bytes: number): void {
    this.#fromServer.value += bytes;
  }

  /** A text message that came beside the frames. */
  onText(from: Connection, text: string): void {
    this.#spans?.onText(from, text);
  }

  onEvents(events: readonly EventDraft[]): void {
    for (const { event, from, method = "", outcome, duration_ms = 0 } of events) {
      if (event === "mcp.session.response") {
        // Answers of the client are to what the server asked.
        if (from !== "client")
          this.#onCall(CLIENT_REQUESTS.has(method) ? method : "other", outcome ?? "unknown", duration_ms);
      } else if (event === "mcp.session.invalid") this.#counts.invalid.of(this.#app, from ?? "server").value += 1;
    }
    this.#spans?.onEvents(events);
  }

  /** `code`: what the client's end is told, an error code of ours or `end`. */
  onEnded(code: string): void {
    this.#counts.ended.of(this.#app, code).value += 1;
    this.#spans?.close();
  }

  #onCall(method: string, outcome: Outcome, ms: number): void {
    const { calls, seconds } = this.#counts;
    const known = this.#ofMethod.get(method) ?? { seconds: seconds.of(this.#app, method), calls: {} };
    this.#ofMethod.set(method, known);
    known.calls[outcome] ??= calls.of(this.#app, method, outcome);
    known.calls[outcome].value += 1;
    known.seconds.observe(ms / 1000);
  }
}
