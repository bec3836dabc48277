/**
 * One request to the proxy's API over HTTPS, with a proof of possession (RFC 9449's shape, in the `DPoP` header) where
 * a key is given. Nothing in it is a bearer secret: a copied request is refused, for its nonce was used.
 */
import * as v from "valibot";
import { formatHostPort } from "../config/host-port.ts";
import { Failure } from "../errors.ts";
import type { KeyPair } from "../identity/keys.ts";
import { signProof } from "../identity/proof.ts";
import { publicUrl } from "../identity/url.ts";
import { reach, readText, type Trust, tlsOptions } from "./trust.ts";

export type Method = "GET" | "POST" | "PUT" | "PATCH" | "DELETE";

export interface ApiRequest<S extends v.GenericSchema> {
  trust: Trust;
  key?: KeyPair | undefined;
  method: Method;
  path: string;
  body?: unknown;
  /** What the answer must look like; unknown keys of a newer proxy pass where the schema is `v.object`. */
  schema: S;
}

const MAX_ANSWER = 256 * 1024 * 1024;

/** Fails with what the proxy answered, or `unreachable` or `tls`. */
export async function request<S extends v.GenericSchema>(options: ApiRequest<S>): Promise<v.InferOutput<S>> {
  const { trust, key, method, path } = options;
  let nonce = key === undefined ? undefined : await freshNonce(trust);
  for (let attempt = 0; ; attempt++) {
    const response = await send(options, nonce);
    const body = await readBody(response, trust);
    if (response.ok) {
      const parsed = v.safeParse(options.schema, body);
      if (parsed.success) return parsed.output;
      throw new Failure(
        "unreachable",
        `the proxy ${formatHostPort(trust.proxy)} answered ${method} ${path} with something unexpected`,
        {
          hint: "compare the versions: mcpgate version, and server_version of the proxy",
        },
      );
    }
    const next = response.headers.get("dpop-nonce");
    const failure = Failure.fromJSON((body as { error?: unknown } | undefined)?.error, "unreachable");
    if (failure.code === "bad_proof" && next !== null && nonce !== undefined && attempt === 0) {
      nonce = next;
      continue;
    }
    throw failure;
  }
}

async function send<S extends v.GenericSchema>(options: ApiRequest<S>, nonce: string | undefined): Promise<Response> {
  const { trust, key, method, path, body } = options;
  const url = publicUrl(trust.proxy, path);
  const headers: Record<string, string> = { accept: "application/json" };
  if (body !== undefined) headers["content-type"] = "application/json";
  if (key !== undefined && nonce !== undefined) headers.dpop = await signProof({ key, method, url, nonce });
  return reach(trust.proxy, url, {
    method,
    headers,
    tls: tlsOptions(trust),
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
}

async function freshNonce(trust: Trust): Promise<string> {
  const response = await reach(trust.proxy, publicUrl(trust.proxy, "/v1/nonce"), { tls: tlsOptions(trust) });
  const nonce = response.headers.get("dpop-nonce") ?? undefined;
  await response.body?.cancel();
  if (nonce === undefined) {
    throw new Failure("unreachable", `${formatHostPort(trust.proxy)} is no mcpgate proxy`, {
      hint: "check the address and the port",
    });
  }
  return nonce;
}

async function readBody(response: Response, trust: Trust): Promise<unknown> {
  const text = await readText(response, MAX_ANSWER);
  if (text === undefined) throw new Failure("unreachable", `the answer of ${formatHostPort(trust.proxy)} is too large`);
  try {
    return text === "" ? undefined : JSON.parse(text);
  } catch {
    return undefined;
  }
}
