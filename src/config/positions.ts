/** Where in a YAML text a value stands. */
import { type Document, isAlias, isMap, isScalar, isSeq, type LineCounter, type Node } from "yaml";

export type Path = (string | number)[];

export interface Place {
  /** From 1. */
  line: number;
  /** From 1. */
  column: number;
  /** How the scalar there is spelled, where it is one. */
  source?: string;
}

/** The key or value at `path`; where there is none, the nearest thing around it that is there. */
export function locate(doc: Document, lines: LineCounter, path: Path, at: "key" | "value"): Place {
  let node: unknown = doc.contents;
  let offset = startOf(node) ?? 0;
  let source: string | undefined;
  for (const [index, step] of path.entries()) {
    if (isAlias(node)) node = node.resolve(doc);
    const last = index === path.length - 1;
    if (isMap(node)) {
      const pair = node.items.find(({ key }) => String(isScalar(key) ? key.value : key) === String(step));
      if (pair === undefined) break;
      node = pair.value;
      const keyAt = startOf(pair.key);
      const valueAt = isScalar(node) && node.value === null && node.source === "" ? undefined : startOf(node);
      offset = (last && at === "value" ? (valueAt ?? keyAt) : (keyAt ?? valueAt)) ?? offset;
    } else if (isSeq(node)) {
      node = node.items[Number(step)];
      offset = startOf(node) ?? offset;
    } else break;
    source = last && isScalar(node) ? node.source : undefined;
  }
  const { line, col } = lines.linePos(offset);
  return { line: Math.max(line, 1), column: Math.max(col, 1), ...(source === undefined ? {} : { source }) };
}

const startOf = (node: unknown): number | undefined => (node as Node | null | undefined)?.range?.[0];

/** `app_service.apps[0].mcp.command`; keys that are no plain words in quotes. */
export function dotted(path: Path): string {
  return path
    .map((step, index) => {
      if (typeof step === "number") return `[${step}]`;
      const plain = /^[A-Za-z_][\w-]*$/.test(step);
      if (!plain) return `[${JSON.stringify(step.slice(0, 100))}]`;
      return index === 0 ? step : `.${step}`;
    })
    .join("");
}
