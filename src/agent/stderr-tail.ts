/** What a server says on stderr, as lines that are safe to log, and the last of them for the error when it dies. */

import { NO_SECRETS, type Secrets } from "./secrets.ts";

export const STDERR_TAIL_LINES = 50;
/** Longer lines are cut here; what is cut is marked with `…`. Bytes. */
export const STDERR_LINE_BYTES = 4096;

const LINE_FEED = 0x0a;

// Escape sequences whole (CSI, OSC, others), then every control and bidirectional-override character.
const ESCAPES = /\u001b\[[0-?]*[ -/]*[@-~]|\u001b\][^\u0007\u001b]*(?:\u0007|\u001b\\)?|\u001b[ -/]*[0-~]?/g;
const CONTROLS = /[\u0000-\u001f\u007f-\u009f\u2028\u2029\u202a-\u202e\u2066-\u2069]/g;

/** Text without anything that moves a cursor, changes a colour or forges a second log line. */
export const strip = (text: string): string =>
  text.replace(ESCAPES, "").replaceAll("\t", " ").replace(CONTROLS, "").trimEnd();

export class StderrTail {
  /** Read as text only when somebody wants them: most lines of a flood nobody does. */
  readonly #lines: (() => string)[] = [];
  readonly #onLine: (line: () => string) => void;
  readonly #secrets: Secrets;
  #partial: Uint8Array[] = [];
  #partialBytes = 0;
  #cut = false;

  constructor(onLine: (line: () => string) => void, secrets: Secrets = NO_SECRETS) {
    this.#onLine = onLine;
    this.#secrets = secrets;
  }

  push(chunk: Uint8Array): void {
    let start = 0;
    while (start < chunk.length) {
      const end = chunk.indexOf(LINE_FEED, start);
      this.#add(chunk.subarray(start, end < 0 ? chunk.length : end));
      if (end < 0) return;
      this.#finish();
      start = end + 1;
    }
  }

  /** End of file: a last line without a line feed counts too. */
  end(): void {
    if (this.#partialBytes > 0) this.#finish();
  }

  /** The last lines, oldest first; with one that isn't finished yet. */
  lines(): string[] {
    const lines = this.#partialBytes === 0 ? this.#lines : [...this.#lines, this.#text()];
    return lines
      .map((line) => line())
      .filter((line) => line !== "")
      .slice(-STDERR_TAIL_LINES);
  }

  #add(part: Uint8Array): void {
    const room = STDERR_LINE_BYTES - this.#partialBytes;
    if (part.length > room) this.#cut = true;
    const kept = part.subarray(0, room);
    if (kept.length === 0) return;
    // A copy: a part of a large chunk would keep the whole of it.
    this.#partial.push(kept.slice());
    this.#partialBytes += kept.length;
  }

  #text(): () => string {
    const [parts, cut] = [this.#partial, this.#cut];
    const read = (): string => {
      const [first = new Uint8Array()] = parts;
      const text = strip(new TextDecoder().decode(parts.length === 1 ? first : Buffer.concat(parts)));
      return this.#secrets.maskText(text, cut) + (cut ? "…" : "");
    };
    let text: string | undefined;
    return () => {
      text ??= read();
      return text;
    };
  }

  #finish(): void {
    if (this.#partialBytes === 0) return;
    const line = this.#text();
    this.#partial = [];
    this.#partialBytes = 0;
    this.#cut = false;
    this.#lines.push(line);
    if (this.#lines.length > STDERR_TAIL_LINES) this.#lines.shift();
    this.#onLine(line);
  }
}

/** Lines a second that go to the log; a server that floods its stderr must not flood the host's journal. */
const LOGGED_PER_SECOND = 100;

/** Passes `LOGGED_PER_SECOND` lines a second, and says how many it kept back. */
export class LineRate {
  readonly #now: () => number;
  #second = Number.NEGATIVE_INFINITY;
  #passed = 0;
  #kept = 0;

  /** `now`: monotonic milliseconds. */
  constructor(now: () => number = () => performance.now()) {
    this.#now = now;
  }

  /** Whether this line may pass; and how many before it in an earlier second didn't. */
  take(): { pass: boolean; suppressed: number } {
    const now = this.#now();
    let suppressed = 0;
    if (now - this.#second >= 1000) {
      suppressed = this.flush();
      this.#second = now;
      this.#passed = 0;
    }
    this.#passed += 1;
    const pass = this.#passed <= LOGGED_PER_SECOND;
    if (!pass) this.#kept += 1;
    return { pass, suppressed };
  }

  /** How many lines were kept back since it was last said. */
  flush(): number {
    const kept = this.#kept;
    this.#kept = 0;
    return kept;
  }
}
