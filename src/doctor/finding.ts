/** What the doctor found, check by check; and checks that always end. */
import { Failure } from "../errors.ts";
import { printable } from "../log.ts";

/** What of mcpgate a finding is about; `host`: all of it. */
export type Part = "host" | "client" | "agent" | "proxy";
/** `skip`: could not be looked at, because of another finding. */
export type State = "ok" | "warn" | "fail" | "skip";

export interface Finding {
  part: Part;
  check: string;
  state: State;
  /** Lower case, no full stop, never a secret. */
  message: string;
  /** The command or the line that mends it. */
  fix?: string;
}

export interface Reporter {
  ok(message: string): Finding;
  warn(message: string, fix?: string): Finding;
  fail(message: string, fix?: string): Finding;
  skip(message: string): Finding;
  /** A failure as it would meet a person elsewhere, with its hint. */
  failure(error: unknown, prefix?: string): Finding;
}

export function report(part: Part, check: string): Reporter {
  const make = (state: State) => (message: string, fix?: string) => ({
    ...{ part, check, state, message: printable(message) },
    ...(fix === undefined ? {} : { fix: printable(fix) }),
  });
  const fail = make("fail");
  return {
    ok: make("ok"),
    warn: make("warn"),
    fail,
    skip: make("skip"),
    failure(error, prefix = "") {
      const { message, hint } = Failure.from(error);
      return fail(`${prefix}${message}`, hint);
    },
  };
}

/**
 * One check; whatever it does, it is over in `ms`, and what it throws is a finding. `soFar`: takes what was found on the way,
 * which is what there is to tell when the rest fails or takes too long.
 */
export async function bounded(
  part: Part,
  check: string,
  ms: number,
  work: (soFar: Finding[]) => Promise<Finding | Finding[]> | Finding | Finding[],
): Promise<Finding[]> {
  const late = Promise.withResolvers<Finding[]>();
  const say = report(part, check);
  const soFar: Finding[] = [];
  const timer = setTimeout(
    () =>
      late.resolve([...soFar, say.fail(`did not end within ${ms / 1000} s`, "what it looks at hangs: see its log")]),
    ms,
  );
  try {
    return [await Promise.race([(async () => work(soFar))(), late.promise])].flat();
  } catch (error) {
    return [...soFar, say.failure(error)];
  } finally {
    clearTimeout(timer);
  }
}
