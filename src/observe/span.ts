/** What a span is to the rest of the program, whoever makes it. */

/** A place in a trace, as it travels (W3C Trace Context). */
export interface TraceContext {
  traceparent: string;
  tracestate?: string | undefined;
}

export type Attributes = Record<string, string | number | boolean>;

export interface NewSpan {
  name: string;
  kind: "client" | "server" | "internal";
  /** Undefined: it begins a trace. What is no trace context counts as none. */
  parent: TraceContext | undefined;
  attributes: Attributes;
  /** When it began, milliseconds since the epoch; now unless told. */
  at?: number;
}

export interface Span {
  /** For whoever goes on with it. Also one that is not sampled has a context, which says so. */
  readonly context: TraceContext;
  readonly sampled: boolean;
  set(attributes: Attributes): void;
  /** Something that happened within it. */
  note(event: string): void;
  /** `error`: what `error.type` is to be. */
  end(error?: string): void;
}

export interface Tracer {
  start(span: NewSpan): Span;
  /** Sends what is left, for so many milliseconds at the most. */
  close(ms: number): Promise<void>;
}
