/** Request bodies and queries: bounded, JSON, exactly the fields that are asked for. */
import type { Context } from "hono";
import * as v from "valibot";
import { Failure } from "../../errors.ts";

/** Bytes. */
export const MAX_BODY = 64 * 1024;
export const MAX_ROLE_BODY = 256 * 1024;

/** The body as JSON, whatever it holds. Throws `Failure("invalid")` when it is too large or not JSON. */
export async function readJson(c: Context, maxBytes = MAX_BODY): Promise<unknown> {
  const text = await readText(c.req.raw, maxBytes);
  try {
    return JSON.parse(text);
  } catch {
    throw new Failure("invalid", "the request's body is not JSON");
  }
}

/** The body in `schema`'s form. Throws `Failure("invalid")`, naming the field and never its value. */
export async function readBody<S extends v.GenericSchema>(c: Context, schema: S): Promise<v.InferOutput<S>> {
  return parse(schema, await readJson(c));
}

/** The query's parameters in `schema`'s form. Throws `Failure("invalid")`; also for one that is given twice. */
export function readQuery<S extends v.GenericSchema>(c: Context, schema: S): v.InferOutput<S> {
  const query: Record<string, string> = {};
  for (const [key, values] of Object.entries(c.req.queries())) {
    const [value = "", ...rest] = values;
    if (rest.length > 0) throw new Failure("invalid", `${key}: given twice`);
    query[key] = value;
  }
  return parse(schema, query);
}

/** `value` in `schema`'s form. Throws `Failure("invalid")`, naming the field and never its value. */
export function parse<S extends v.GenericSchema>(schema: S, value: unknown): v.InferOutput<S> {
  const parsed = v.safeParse(schema, value, { abortEarly: true });
  if (parsed.success) return parsed.output;
  const [issue] = parsed.issues;
  const path = v.getDotPath(issue) ?? "body";
  // valibot's own messages quote what was received, which may be a secret: only ours are told
  if (issue.kind === "validation") throw new Failure("invalid", `${path}: ${issue.message}`);
  if (issue.expected === "never") throw new Failure("invalid", `${path}: unknown key`);
  throw new Failure(
    "invalid",
    `${path}: ${issue.received === "undefined" ? "is missing" : `must be ${issue.expected}`}`,
  );
}

async function readText(request: Request, maxBytes: number): Promise<string> {
  const tooLarge = () => new Failure("invalid", `the request's body is over ${maxBytes / 1024} KiB`);
  if (Number(request.headers.get("content-length") ?? "0") > maxBytes) throw tooLarge();
  const chunks: Uint8Array[] = [];
  let size = 0;
  // a body without a length is counted as it comes
  for await (const chunk of request.body ?? []) {
    size += chunk.byteLength;
    if (size > maxBytes) throw tooLarge();
    chunks.push(chunk);
  }
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(Buffer.concat(chunks));
  } catch {
    throw new Failure("invalid", "the request's body is not UTF-8");
  }
}
