/**
 * Programs on their way to whoever asks: nobody has to say who they are, so it is few at a time, at a bounded pace and for
 * a bounded time. A download that was cut goes on where it stopped (RFC 9110, 14).
 */
import type { FileHandle } from "node:fs/promises";
import { Failure } from "../errors.ts";
import { addressKey } from "./api/limits.ts";
import type { OpenProgram } from "./downloads.ts";
import { Strangers } from "./strangers.ts";

export interface HandoutOptions {
  /** Downloads at once. */
  inAll?: number;
  perAddress?: number;
  /** Of all downloads together, bytes a second: what they cost the proxy's one thread and its line. */
  pace?: number;
  /** One download at the most, milliseconds. */
  deadlineMs?: number;
}

const PIECE = 128 * 1024;
const RETRY_SECONDS = 10;
/** Times may be asked for ahead of the clock by this much, milliseconds: timers are not exact. */
const SLACK_MS = 20;

export class Handout {
  readonly #strangers: Strangers;
  readonly #msPerByte: number;
  readonly #deadlineMs: number;
  /** When the next piece is due, as `performance.now` tells it. */
  #due = 0;
  /** The last turn that somebody waits for. */
  #turns = Promise.resolve();

  constructor({ inAll = 16, perAddress = 4, pace = 32 * 1024 * 1024, deadlineMs = 15 * 60_000 }: HandoutOptions = {}) {
    this.#strangers = new Strangers({ inAll, perAddress });
    this.#msPerByte = 1000 / pace;
    this.#deadlineMs = deadlineMs;
  }

  /** `open`: not called where there are too many downloads already. */
  async answer(
    request: Request,
    remote: string,
    open: () => Promise<OpenProgram | undefined>,
  ): Promise<Response | undefined> {
    const from = addressKey(remote);
    if (!this.#strangers.enter(from)) {
      const failure = new Failure("too_many_requests", "too many downloads right now", {
        hint: "try again in a while",
      });
      return Response.json({ error: failure }, { status: 429, headers: { "retry-after": String(RETRY_SECONDS) } });
    }
    const leave = () => this.#strangers.leave(from);
    let program: OpenProgram | undefined;
    try {
      program = await open();
    } finally {
      if (program === undefined) leave();
    }
    if (program === undefined) return undefined;
    const { status, headers, part } = answerTo(request, program);
    if (part === undefined) {
      leave();
      await program.file.close();
      return new Response(null, { status, headers });
    }
    return new Response(this.#stream(program.file, part, leave), { status, headers });
  }

  #stream(file: FileHandle, { from, to }: Part, leave: () => void): ReadableStream<Uint8Array> {
    let at = from;
    let over = false;
    let reading = false;
    let deadline: NodeJS.Timeout | undefined;
    const end = () => {
      if (over) return;
      over = true;
      clearTimeout(deadline);
      leave();
      // not under a read: by then its number could be another file's
      if (!reading) void file.close();
    };
    return new ReadableStream<Uint8Array>(
      {
        start: (controller) => {
          deadline = setTimeout(() => {
            end();
            controller.error(); // with an error, the runtime would print it
          }, this.#deadlineMs);
        },
        pull: async (controller) => {
          const wanted = Math.min(PIECE, to - at);
          await this.#turn(wanted, () => over);
          if (over) return;
          reading = true;
          const piece = new Uint8Array(wanted);
          const { bytesRead } = await file.read(piece, 0, wanted, at).catch(() => ({ bytesRead: 0 }));
          reading = false;
          if (over) {
            await file.close();
            return;
          }
          at += bytesRead;
          if (bytesRead > 0) controller.enqueue(piece.subarray(0, bytesRead));
          if (bytesRead > 0 && at < to) return;
          end();
          // The connection is cut where bytes are missing, so that nobody takes a part for the whole.
          if (at < to) controller.error();
          else controller.close();
        },
        cancel: end,
      },
      { highWaterMark: 0 },
    );
  }

  /**
   * Resolves when it is the turn of the next `bytes`, of whichever download. One after the other, and who is gone by then
   * takes no time of the others': or else those who only ask and leave would put everybody off for as long as they like.
   */
  #turn(bytes: number, isGone: () => boolean): Promise<void> {
    this.#turns = this.#turns.then(async () => {
      if (isGone()) return;
      const now = performance.now();
      const due = Math.max(this.#due, now - SLACK_MS);
      this.#due = due + bytes * this.#msPerByte;
      if (due > now) await Bun.sleep(due - now);
    });
    return this.#turns;
  }
}

/** From `from` to before `to`, bytes. */
interface Part {
  from: number;
  to: number;
}

/**
 * `part` is absent where nothing but the headers is wanted, or there. Bun sends a stream without its length (chunked), so
 * only HEAD tells that; that a download is not whole shows all the same, by its missing end and its sum.
 */
function answerTo(request: Request, { size, sha256 }: OpenProgram) {
  const etag = `"${sha256}"`;
  const headers: Record<string, string> = {
    "content-type": "application/octet-stream",
    "x-content-type-options": "nosniff",
    "cache-control": "no-cache",
    "accept-ranges": "bytes",
    etag,
  };
  const ifRange = request.headers.get("if-range");
  const asked = ifRange === null || ifRange === etag ? parseRange(request.headers.get("range")) : undefined;
  if (asked !== undefined && asked.from >= size) {
    return { status: 416, headers: { ...headers, "content-range": `bytes */${size}` } };
  }
  const part: Part = { from: asked?.from ?? 0, to: Math.min(asked?.to ?? size, size) };
  if (asked !== undefined) headers["content-range"] = `bytes ${part.from}-${part.to - 1}/${size}`;
  const status = asked === undefined ? 200 : 206;
  if (request.method !== "HEAD") return { status, headers, part };
  return { status, headers: { ...headers, "content-length": String(part.to - part.from) } };
}

/** One range with a beginning; what else the header may say is answered with the whole, as servers may. */
function parseRange(header: string | null): { from: number; to: number | undefined } | undefined {
  const [, first, last] = /^bytes=(\d{1,15})-(\d{0,15})$/.exec(header ?? "") ?? [];
  if (first === undefined || last === undefined) return undefined;
  const [from, to] = [Number(first), last === "" ? undefined : Number(last) + 1];
  return to !== undefined && to <= from ? undefined : { from, to };
}
