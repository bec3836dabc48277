/** The documents of a file that `mcpgate create -f` is given. */
import { readFileSync } from "node:fs";
import { LineCounter, parseAllDocuments } from "yaml";
import { nearest } from "../config/nearest.ts";
import { Failure } from "../errors.ts";
import type { Context } from "./context.ts";

export interface ResourceDocument {
  /** FILE:LINE of its first line. */
  place: string;
  document: unknown;
  /** `metadata.name`, where it is one. */
  name: string | undefined;
}

/**
 * Every document of the file (`-`: standard input), YAML or JSON, also a list of them: all are read before the first
 * one is created.
 * @throws Failure `usage` when there is no file; `config` with FILE:LINE:COL when it is no YAML, or no role.
 */
export async function loadDocuments(context: Context, file: string): Promise<ResourceDocument[]> {
  const text = file === "-" ? await context.readStdin() : readText(file);
  const lines = new LineCounter();
  const parsed = parseAllDocuments(text, { lineCounter: lines, prettyErrors: false, logLevel: "error" });
  const resources: ResourceDocument[] = [];
  for (const document of Array.isArray(parsed) ? parsed : []) {
    const broken = document.errors[0];
    if (broken !== undefined) {
      const { line, col } = lines.linePos(broken.pos[0]);
      const [message = ""] = broken.message.split("\n");
      throw new Failure("config", `${file}:${line}:${col}: ${message.charAt(0).toLowerCase()}${message.slice(1)}`);
    }
    const value: unknown = document.toJS({ maxAliasCount: 100 });
    if (value === null || value === undefined) continue;
    const place = `${file}:${lines.linePos(document.contents?.range?.[0] ?? 0).line}`;
    for (const each of Array.isArray(value) ? value : [value]) resources.push(checkKind(each, place));
  }
  if (resources.length > 0) return resources;
  throw new Failure("config", `${file}: holds no document`, { hint: "for an example: mcpgate get role/mcp-user" });
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

function checkKind(document: unknown, place: string): ResourceDocument {
  const { kind, metadata } = (document ?? {}) as { kind?: unknown; metadata?: { name?: unknown } | null };
  if (kind !== "role") {
    const near = typeof kind === "string" ? nearest(kind, ["role"]) : undefined;
    const found = kind === undefined ? "the document has no kind" : `the document has the kind ${JSON.stringify(kind)}`;
    const hint = near === undefined ? "only roles can be created: kind: role" : `did you mean: kind: ${near}`;
    throw new Failure("config", `${place}: ${found}`, { hint });
  }
  const name = metadata?.name;
  return { place, document, name: typeof name === "string" && name !== "" ? name : undefined };
}
