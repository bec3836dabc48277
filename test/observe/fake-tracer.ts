/** A tracer whose spans can be looked at. */
import type { Attributes, NewSpan, Tracer } from "../../src/observe/span.ts";

export interface FakeSpan extends NewSpan {
  set: Attributes;
  notes: string[];
  /** Undefined while it runs; `ok`, or the error. */
  ended: string | undefined;
  traceparent: string;
}

export function fakeTracer(): { tracer: Tracer; spans: FakeSpan[] } {
  const spans: FakeSpan[] = [];
  const tracer: Tracer = {
    start(span) {
      const [, trace = "0".repeat(31).concat("1")] = span.parent?.traceparent.split("-") ?? [];
      const id = String(spans.length + 1).padStart(16, "0");
      const fake: FakeSpan = { ...span, set: {}, notes: [], ended: undefined, traceparent: `00-${trace}-${id}-01` };
      spans.push(fake);
      return {
        context: { traceparent: fake.traceparent },
        sampled: true,
        set: (attributes) => void Object.assign(fake.set, attributes),
        note: (event) => void fake.notes.push(event),
        end: (error) => {
          fake.ended = error ?? "ok";
        },
      };
    },
    close: async () => {},
  };
  return { tracer, spans };
}

export const TRACEPARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
