/** Questions to the person at the terminal, and standard input as a whole. */
import { closeSync, openSync, writeSync } from "node:fs";
import type { ReadStream } from "node:tty";
import { Failure } from "../errors.ts";

export interface Terminal {
  /** One line, as it is typed. */
  ask(question: string): Promise<string>;
  /** One line that the terminal doesn't show. */
  askSecret(question: string): Promise<string>;
  close(): void;
}

const MAX_ANSWER = 4096;
const MAX_STDIN = 1024 * 1024;

/** stdin and stdout may be pipes: the terminal itself is asked. */
export function openTerminal(): Terminal | undefined {
  let input: ReadStream;
  let write: (text: string) => void;
  if (process.platform === "win32") {
    if (!process.stdin.isTTY) return undefined;
    input = process.stdin as ReadStream;
    write = (text) => process.stderr.write(text);
  } else {
    let fd: number;
    try {
      fd = openSync("/dev/tty", "r+");
    } catch {
      return undefined;
    }
    // Loaded here and not above: with all that it needs it takes 2.5 ms, of every start.
    input = new (process.getBuiltinModule("node:tty").ReadStream)(fd);
    if (!input.isTTY) {
      closeSync(fd);
      return undefined;
    }
    write = (text) => writeSync(fd, text);
  }
  return terminalOn(input, write);
}

function terminalOn(input: ReadStream, write: (text: string) => void): Terminal {
  /** Typed ahead, or pasted in one go: the lines after the one that was asked for. */
  let pending = "";

  async function question(text: string, secret: boolean): Promise<string> {
    // before the question: what is typed at once must not be echoed
    if (secret) input.setRawMode(true);
    write(text);
    try {
      const line = await readLine();
      if (line.length > MAX_ANSWER) throw new Failure("invalid", "the answer is too long");
      return line;
    } finally {
      if (secret) {
        input.setRawMode(false);
        write("\n");
      }
      input.pause();
    }
  }

  function readLine(): Promise<string> {
    return new Promise((resolve, reject) => {
      let line = "";
      const done = (settle: () => void, rest = "") => {
        pending = rest;
        input.off("data", onData).off("end", onEnd).off("error", onEnd);
        settle();
      };
      const onEnd = () => done(() => reject(new Failure("invalid", "no answer from the terminal")));
      const take = (text: string) => {
        const characters = [...text];
        for (const [index, character] of characters.entries()) {
          if (character === "\r" || character === "\n") {
            return done(
              () => resolve(line),
              characters
                .slice(index + 1)
                .join("")
                .replace(/^\n/, ""),
            );
          }
          if (character === "\u0003") return done(interrupt);
          if (character === "\u0004") {
            if (line === "") return onEnd();
          } else if (character === "\u007f" || character === "\b") line = [...line].slice(0, -1).join("");
          else if (character === "\u0015") line = "";
          else if (line.length <= MAX_ANSWER) line += character;
        }
      };
      // Ctrl-C reaches us as a character while the terminal is raw: give it its meaning back
      const interrupt = () => {
        input.setRawMode(false);
        process.kill(process.pid, "SIGINT");
        reject(new Failure("invalid", "interrupted"));
      };
      const onData = (chunk: Buffer | string) => take(chunk.toString("utf8"));
      input.on("data", onData).on("end", onEnd).on("error", onEnd);
      input.resume();
      if (pending !== "") take(pending);
    });
  }

  return {
    ask: (text) => question(text, false),
    askSecret: (text) => question(text, true),
    close: () => void (process.platform === "win32" ? input.pause() : input.destroy()),
  };
}

export async function readAllOfStdin(): Promise<string> {
  const decoder = new TextDecoder("utf-8", { fatal: true });
  const chunks: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of Bun.stdin.stream()) {
    size += chunk.length;
    if (size > MAX_STDIN) throw new Failure("invalid", "standard input is larger than 1 MiB");
    chunks.push(chunk);
  }
  try {
    return decoder.decode(Buffer.concat(chunks));
  } catch {
    throw new Failure("invalid", "standard input is not UTF-8 text");
  }
}
