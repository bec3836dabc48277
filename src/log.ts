/**
 * Logs: one event a line on stderr, with stable keys. Never parameters, results or tokens: a caller passes only fields
 * that it names, and keys that look like secrets are redacted all the same.
 */
export type Severity = "DEBUG" | "INFO" | "WARN" | "ERROR";
export type LogFields = Record<string, string | number | boolean | undefined>;

export interface Log {
  debug(event: string, fields?: LogFields): void;
  info(event: string, fields?: LogFields): void;
  warn(event: string, fields?: LogFields): void;
  error(event: string, fields?: LogFields): void;
  /** A log whose lines all carry these fields too. */
  child(fields: LogFields): Log;
}

/** The log of a process; those that came of it (`child`) follow it. */
export interface RootLog extends Log {
  /** Lines below it are dropped from now on. */
  setSeverity(severity: Severity): void;
}

export interface LogOptions {
  severity?: Severity;
  format?: "text" | "json";
  /** Where a finished line goes; stderr unless told. */
  write?: (line: string) => void;
  now?: () => Date;
}

const SECRET_KEY = /pass|secret|token|credential|private|authorization|cookie|api_?key/i;
const LEVEL: Record<Severity, number> = { DEBUG: 0, INFO: 1, WARN: 2, ERROR: 3 };

/** Control characters would let a server's stderr or a name forge or hide log lines. */
export const printable = (text: string): string =>
  text.replace(/[\u0000-\u001f\u007f-\u009f\u2028\u2029\u202a-\u202e\u2066-\u2069]/g, (c) => {
    if (c === "\t") return " ";
    return `\\u${c.charCodeAt(0).toString(16).padStart(4, "0")}`;
  });

export function createLog(options: LogOptions = {}): RootLog {
  const write = options.write ?? ((line: string) => process.stderr.write(line));
  const now = options.now ?? (() => new Date());
  const line = options.format === "json" ? jsonLine : textLine;
  let least = LEVEL[options.severity ?? "INFO"];
  const wrap = (base: LogFields): Log => {
    const at = (severity: Severity) => (event: string, fields?: LogFields) => {
      if (LEVEL[severity] >= least) write(line(now(), severity, event, { ...base, ...fields }));
    };
    return {
      debug: at("DEBUG"),
      info: at("INFO"),
      warn: at("WARN"),
      error: at("ERROR"),
      child: (fields) => wrap({ ...base, ...fields }),
    };
  };
  return {
    ...wrap({}),
    setSeverity: (severity) => {
      least = LEVEL[severity];
    },
  };
}

function clean(fields: LogFields): [string, string | number | boolean][] {
  const out: [string, string | number | boolean][] = [];
  for (const [key, value] of Object.entries(fields)) {
    if (value === undefined) continue;
    out.push([key, SECRET_KEY.test(key) ? "<redacted>" : value]);
  }
  return out;
}

function jsonLine(time: Date, severity: string, event: string, fields: LogFields): string {
  const always = { time: time.toISOString(), severity, event };
  // Twice: they come first, and no field takes their place.
  return `${JSON.stringify({ ...always, ...Object.fromEntries(clean(fields)), ...always })}\n`;
}

function textLine(time: Date, severity: string, event: string, fields: LogFields): string {
  const rest = clean(fields).map(([key, value]) => {
    const text = printable(String(value));
    return `${key}=${/[\s"=]/.test(text) || text === "" ? JSON.stringify(text) : text}`;
  });
  return `${[time.toISOString(), severity.padEnd(5), printable(event), ...rest].join(" ")}\n`;
}
