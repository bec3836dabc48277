/** What is wrong, or questionable, at one place of a configuration file. */
import { dotted, type Path } from "./positions.ts";

export interface Problem {
  path: Path;
  /** Whether it is about the key or about what stands there. */
  at: "key" | "value";
  /** The end of a sentence that begins with the dotted path. */
  message: string;
  hint?: string | undefined;
}

export interface PlacedProblem extends Problem {
  /** From 1. */
  line: number;
  /** From 1. */
  column: number;
}

/** `FILE:LINE:COL: path.to.key: what is wrong`. */
export function placed({ path, message, line, column }: PlacedProblem, file: string): string {
  return `${file}:${line}:${column}: ${path.length === 0 ? "" : `${dotted(path)}: `}${message}`;
}
