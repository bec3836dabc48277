/** The documents of a file that `mcpgate create -f` is given. */
import { readFileSync } from "node:fs";
import { LineCounter, parseAllDocuments } from "yaml";
import { nearest } from "../config/nearest.ts";
import { locate, type Path } from "../config/positions.ts";
import { Failure } from "../errors.ts";
import type { Context } from "./context.ts";

/** What documents can be of. */
export const KINDS = ["role", "lock", "token", "app"] as const;
export type Kind = (typeof KINDS)[number];

export interface ResourceDocument {
  kind: Kind;
  document: unknown;
  /** `metadata.name`, where it is one. */
  name: string | undefined;
  /** FILE:LINE:COL of what is at a dotted path (`spec.allow.mcp`) in the document, or of the document itself. */
  placeOf(path: string): string;
}

/**
 * Every document of the file (`-`: standard input), YAML or JSON, also a list of them: all are read before the first
 * one is created.
 * @throws Failure `usage` when there is no file; `config` with FILE:LINE:COL when it is no YAML, or of no known kind.
 */
export async function loadDocuments(context: Context, file: string): Promise<ResourceDocument[]> {
  const text = file === "-" ? await context.readStdin() : readText(file);
  const shownAs = file === "-" ? "standard input" : file;
  const lines = new LineCounter();
  const parsed = parseAllDocuments(text, { lineCounter: lines, prettyErrors: false, logLevel: "error" });
  const resources: ResourceDocument[] = [];
  for (const document of Array.isArray(parsed) ? parsed : []) {
    const broken = document.errors[0];
    if (broken !== undefined) {
      const { line, col } = lines.linePos(broken.pos[0]);
      const [message = ""] = broken.message.split("\n");
      throw new Failure("config", `${shownAs}:${line}:${col}: ${message.charAt(0).toLowerCase()}${message.slice(1)}`);
    }
    const value: unknown = document.toJS({ maxAliasCount: 100 });
    if (value === null || value === undefined) continue;
    const placeIn = (prefix: Path) => (path: string) => {
      const steps = [...prefix, ...path.split(".").filter((step) => step !== "")];
      const { line, column } = locate(document, lines, steps, "key");
      return `${shownAs}:${line}:${column}`;
    };
    if (!Array.isArray(value)) resources.push(checkKind(value, placeIn([])));
    else for (const [index, each] of value.entries()) resources.push(checkKind(each, placeIn([index])));
  }
  if (resources.length > 0) return resources;
  throw new Failure("config", `${shownAs}: holds no document`, { hint: "for an example: mcpgate get role/mcp-user" });
}

/** What is wrong with a document begins with its dotted path: where that is in the file goes before it. */
export function placed(placeOf: ResourceDocument["placeOf"], error: Failure, hint = error.hint): Failure {
  const [, path = ""] = /^([a-z_][^\s:]*): /.exec(error.message) ?? [];
  return new Failure(error.code, `${placeOf(path)}: ${error.message}`, { hint, cause: error });
}

function readText(file: string): string {
  try {
    return readFileSync(file, "utf8");
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    throw new Failure("usage", `${file}: ${code === "ENOENT" ? "no such file" : `can't be read (${code})`}`, {
      hint: "mcpgate create -f FILE, or - for standard input",
    });
  }
}

function checkKind(document: unknown, placeOf: ResourceDocument["placeOf"]): ResourceDocument {
  const { kind: given, metadata } = (document ?? {}) as { kind?: unknown; metadata?: { name?: unknown } | null };
  const kind = KINDS.find((known) => known === given);
  if (kind === undefined) {
    const near = typeof given === "string" ? nearest(given, KINDS) : undefined;
    const found = given === undefined ? "kind: is required" : `kind: ${JSON.stringify(given)} can't be created`;
    const hint = near === undefined ? `known: kind: ${KINDS.join(", kind: ")}` : `did you mean: kind: ${near}`;
    throw new Failure("config", `${placeOf("kind")}: ${found}`, { hint });
  }
  const name = metadata?.name;
  return { kind, document, placeOf, name: typeof name === "string" && name !== "" ? name : undefined };
}
