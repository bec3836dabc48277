/** A configuration file that was made of flags: read as any other before it is written, and what is wrong is told by flag. */
import { checkConfig } from "../config/parse.ts";
import { dotted } from "../config/positions.ts";
import { Failure } from "../errors.ts";

/** `flags`: which flag a value came from, by its dotted path or the path's beginning. @throws Failure `usage`. */
export function requireRight(text: string, uid: number, flags: Record<string, string>): void {
  const [problem] = checkConfig(text, { shownAs: "flags", uid }).problems;
  if (problem === undefined) return;
  const path = dotted(problem.path);
  const flag = Object.entries(flags).find(([key]) => path === key || path.startsWith(`${key}.`));
  throw new Failure("usage", `${flag?.[1] ?? path}: ${problem.message}`, { hint: problem.hint });
}
