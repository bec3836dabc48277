/**
 * Sink `http`: POST of JSON lines (application/x-ndjson). Any answer but 2xx means: again, with the same `Idempotency-Key`,
 * which names the sink and the first and the last event of the batch.
 */
import type { SecretReference, SinkConfig } from "../config/config.ts";
import { Failure } from "../errors.ts";
import { readSecretFile } from "../identity/files.ts";
import type { Sink } from "./sink.ts";

const ANSWER_MS = 30_000;

export function httpSink(config: Extract<SinkConfig, { type: "http" }>, env: Record<string, string | undefined>): Sink {
  const closed = new AbortController();
  return {
    async send(events) {
      const [first, last] = [events[0], events.at(-1)];
      // looked up each time: a file that was rotated works from then on
      const token = config.token === undefined ? undefined : lookUp(config.token, env);
      const response = await fetch(config.url, {
        method: "POST",
        headers: {
          "content-type": "application/x-ndjson",
          "idempotency-key": `${config.name}-${first?.uid}-${last?.uid}`,
          ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
        },
        body: events.map(({ text }) => text).join(""),
        // a redirect would hand the token to somebody else
        redirect: "manual",
        signal: AbortSignal.any([closed.signal, AbortSignal.timeout(ANSWER_MS)]),
      });
      await response.body?.cancel();
      if (!response.ok) throw new Failure("unavailable", `${new URL(config.url).host} answered ${response.status}`);
    },
    close: () => closed.abort(),
  };
}

function lookUp(reference: SecretReference, env: Record<string, string | undefined>): string {
  if ("env" in reference) {
    const value = env[reference.env];
    if (value === undefined || value === "") throw new Failure("config", `${reference.env} is not set`);
    return value;
  }
  const value = readSecretFile(reference.file);
  if (value === undefined) throw new Failure("config", `${reference.file} is not there`);
  return value.trim();
}
