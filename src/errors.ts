/**
 * One table of errors. Every failure that a person or a program may meet has a code here; the command line turns the
 * code into an exit code, the proxy's API into an HTTP status, and a code survives the trip between the two.
 */

const table = {
  // wrong usage or configuration: exit 2
  usage: { exit: 2, status: 400 },
  config: { exit: 2, status: 400 },
  // failures: exit 1
  invalid: { exit: 1, status: 400 },
  not_logged_in: { exit: 1, status: 401 },
  login_expired: { exit: 1, status: 401 },
  bad_credentials: { exit: 1, status: 401 },
  bad_proof: { exit: 1, status: 401 },
  access_denied: { exit: 1, status: 403 },
  /** Shut out by a lock: it may be over at any time. */
  locked: { exit: 1, status: 403 },
  token_invalid: { exit: 1, status: 403 },
  not_found: { exit: 1, status: 404 },
  already_exists: { exit: 1, status: 409 },
  conflict: { exit: 1, status: 409 },
  session_gone: { exit: 1, status: 410 },
  too_many_requests: { exit: 1, status: 429 },
  version_skew: { exit: 1, status: 426 },
  agent_offline: { exit: 1, status: 503 },
  unavailable: { exit: 1, status: 503 },
  start_failed: { exit: 1, status: 502 },
  server_changed: { exit: 1, status: 502 },
  timeout: { exit: 1, status: 504 },
  unreachable: { exit: 1, status: 502 },
  tls: { exit: 1, status: 502 },
  pin_mismatch: { exit: 1, status: 502 },
  port_in_use: { exit: 1, status: 500 },
  data_dir: { exit: 1, status: 500 },
  permissions: { exit: 1, status: 500 },
  internal: { exit: 1, status: 500 },
} as const satisfies Record<string, { exit: 1 | 2; status: number }>;

export type ErrorCode = keyof typeof table;

/** A failure that a person can act on: what went wrong, and in `hint` what to do (a runnable command where there is one). */
export class Failure extends Error {
  override readonly name = "Failure";
  readonly code: ErrorCode;
  readonly hint: string | undefined;

  /** `message` and `hint`: lower case at the start, no full stop, never a secret. */
  constructor(code: ErrorCode, message: string, options: { hint?: string | undefined; cause?: unknown } = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.hint = options.hint;
  }

  /** 1 for a failure, 2 for wrong usage or configuration. */
  get exitCode(): 1 | 2 {
    return table[this.code].exit;
  }

  /** The HTTP status with which the proxy's API answers. */
  get httpStatus(): number {
    return table[this.code].status;
  }

  toJSON(): FailureJson {
    return { code: this.code, message: this.message, ...(this.hint === undefined ? {} : { hint: this.hint }) };
  }

  /** A failure that travelled as JSON; anything else that came instead is `internal` or the `fallback` code. */
  static fromJSON(value: unknown, fallback: ErrorCode = "internal"): Failure {
    if (typeof value === "object" && value !== null) {
      const { code, message, hint } = value as Record<string, unknown>;
      if (typeof code === "string" && Object.hasOwn(table, code) && typeof message === "string") {
        return new Failure(code as ErrorCode, message, typeof hint === "string" ? { hint } : {});
      }
    }
    return new Failure(fallback, "the other side answered with something that is not an mcpgate error");
  }

  /** Any thrown value as a failure: itself, or `internal` with its message. */
  static from(error: unknown): Failure {
    if (error instanceof Failure) return error;
    return new Failure("internal", messageOf(error), { cause: error });
  }
}

/** What any thrown value says. */
export const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));

export type FailureJson = { code: ErrorCode; message: string; hint?: string };
