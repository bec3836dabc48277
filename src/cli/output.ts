/**
 * The only place that prints.
 *
 * stdout belongs to the answer: a table for people, `--format json|yaml` for programs, and in `client connect` to MCP
 * alone, which doesn't come through here. Everything else goes to stderr. An error is two lines at most,
 *
 *     mcpgate: error: what went wrong
 *     mcpgate: hint: what to do, a command that can be run as it stands where there is one
 *
 * lower case at the start, no full stop; a warning and a notice have one line each (`mcpgate: warning: …`, `mcpgate: …`).
 * Nothing that came from elsewhere reaches a terminal with its control characters. A reader that closed our stdout has
 * had enough: that ends the command quietly, with exit code 0.
 */
import { Failure } from "../errors.ts";
import { printable } from "../log.ts";

/** Thrown when nobody reads stdout any more. */
export class ClosedOutput extends Error {
  override readonly name = "ClosedOutput";
}

export interface Output {
  /** Text for stdout, as it is; resolves when the operating system has it. */
  print(text: string): Promise<void>;
  /** One line on stderr. */
  notice(text: string): void;
  warning(text: string): void;
  /** One problem a line, then its hint. */
  error(error: unknown): void;
}

export type WriteOut = (text: string) => Promise<void>;

export function createOutput(o: { stdout?: WriteOut; stderr?: (text: string) => void } = {}): Output {
  const stdout = o.stdout ?? standardOutput();
  const stderr = o.stderr ?? ((text: string) => void process.stderr.write(text));
  return {
    async print(text) {
      try {
        await stdout(text);
      } catch (error) {
        const code = (error as NodeJS.ErrnoException).code;
        if (code === "EPIPE") throw new ClosedOutput();
        throw new Failure("internal", `can't write to standard output: ${code ?? String(error)}`, { cause: error });
      }
    },
    notice: (text) => stderr(`mcpgate: ${printable(text)}\n`),
    warning: (text) => stderr(`mcpgate: warning: ${printable(text)}\n`),
    error(error) {
      const failure = Failure.from(error);
      for (const line of failure.message.split("\n")) stderr(`mcpgate: error: ${printable(line)}\n`);
      for (const line of failure.hint?.split("\n") ?? []) stderr(`mcpgate: hint: ${printable(line)}\n`);
    },
  };
}

/**
 * `process.stdout.write` followed by an exit loses what is beyond 64 KiB on a pipe. Bun's writer does not, but a full
 * disk shows only in the promise of `write`, not in that of `flush`: both are awaited.
 */
function standardOutput(): WriteOut {
  let writer: ReturnType<typeof Bun.stdout.writer> | undefined;
  return async (text) => {
    writer ??= Bun.stdout.writer();
    await writer.write(text);
    await writer.flush();
  };
}

export type Cell = string | number | boolean | undefined;

/** Padded columns with dashes under their headers; ends with a newline. The last column is not padded. */
export function table(headers: string[], rows: Cell[][]): string {
  const lines = rows.map((row) => headers.map((_, index) => printable(String(row[index] ?? ""))));
  const widths = headers.map((header, index) =>
    lines.reduce((most, line) => Math.max(most, width(line[index] ?? "")), width(header)),
  );
  const all = [headers, widths.map((size) => "-".repeat(size)), ...lines];
  return all
    .map(
      (cells) =>
        `${cells
          .map((cell, i) => pad(cell, widths[i] ?? 0))
          .join(" ")
          .trimEnd()}\n`,
    )
    .join("");
}

const width = (text: string): number => Bun.stringWidth(text);
const pad = (text: string, size: number): string => text + " ".repeat(Math.max(0, size - width(text)));

export const json = (value: unknown): string => `${JSON.stringify(value, undefined, 2)}\n`;

/** YAML of a value; objects in the order of their keys. The library is loaded only when it is asked for. */
export async function yaml(value: unknown): Promise<string> {
  const { stringify } = await import("yaml");
  return stringify(value, { lineWidth: 0 });
}

export type Format = "text" | "json" | "yaml";

/** A listing in the format that was asked for. */
export async function render(format: Format, value: unknown, text: () => string): Promise<string> {
  if (format === "json") return json(value);
  if (format === "yaml") return await yaml(value);
  return text();
}
