/** The words of an `app_labels_expression`. */
import { Failure } from "../errors.ts";

export interface Token {
  kind: "string" | "name" | "mark" | "end";
  /** A string's content, else the word as it stands. */
  text: string;
  /** Where it begins: characters, from 1. */
  at: number;
}

const SPACE = /\s+/y;
const NAME = /[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*/y;
const STRING = /"(?:[^"\\\u0000-\u001f]|\\.)*"|`[^`]*`/y;
const MARK = /&&|\|\||==|!=|[!()[\],]/y;

/** Ends with a token of kind `end`. Throws `Failure("invalid")`. */
export function readTokens(text: string): Token[] {
  const tokens: Token[] = [];
  let at = 0;
  const match = (pattern: RegExp): string | undefined => {
    pattern.lastIndex = at;
    return pattern.exec(text)?.[0];
  };
  while (at < text.length) {
    const space = match(SPACE);
    if (space !== undefined) {
      at += space.length;
      continue;
    }
    const begin = at + 1;
    const string = match(STRING);
    const word = string ?? match(NAME) ?? match(MARK);
    if (word === undefined) {
      const what = text[at] === '"' || text[at] === "`" ? "a string without an end" : `unexpected ${text.at(at)}`;
      throw new Failure("invalid", `${what} (at character ${begin})`);
    }
    if (string !== undefined) tokens.push({ kind: "string", text: unquote(string, begin), at: begin });
    else tokens.push({ kind: /^\w/.test(word) ? "name" : "mark", text: word, at: begin });
    at += word.length;
  }
  tokens.push({ kind: "end", text: "", at: text.length + 1 });
  return tokens;
}

function unquote(string: string, at: number): string {
  if (string.startsWith("`")) return string.slice(1, -1);
  try {
    return JSON.parse(string) as string;
  } catch {
    throw new Failure("invalid", `a string with an unknown escape (at character ${at}); backquotes take none`);
  }
}
