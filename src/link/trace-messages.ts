/** The text messages on a session's connections, beside its frames, and only where the client traces its calls. */
import * as v from "valibot";

/** Characters of a message about a trace. */
export const MAX_TRACE = 4096;
const callId = v.union([v.pipe(v.string(), v.maxLength(256)), v.pipe(v.number(), v.safeInteger())]);

/** client → proxy → agent: the call with this id, which comes next, is part of that trace (W3C Trace Context). */
export const trace = v.object({
  t: v.literal("trace"),
  id: callId,
  traceparent: v.pipe(v.string(), v.regex(/^[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$/)),
  tracestate: v.optional(v.pipe(v.string(), v.regex(/^[\x20-\x7e]{0,512}$/))),
});
/** agent → proxy, client → proxy: the call is answered. */
export const traced = v.object({ t: v.literal("traced"), id: callId });
export type TraceHint = v.InferOutput<typeof trace>;
