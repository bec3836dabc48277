/**
 * `app_service.allow_commands`: which command lines the proxy may have this host run. A rule is a whole argument vector, the
 * command first, and an argument is compared with the rule's at its place, exactly and with regard to case.
 *
 * - `*` in an argument stands for one or more letters, digits, `.`, `_` and `-`, and for nothing else: no `/`, so that a
 *   path or an image's name keeps its folder; no `:`, `@`, `=` or `,`, with which one argument becomes another place to
 *   fetch from or a second option; no space. What it stands for never begins an option: an argument with a `-` in front is
 *   matched only by a rule with a `-` in front. Nor does it make a `.` or `..` of a path's segment.
 * - `**` as the last argument stands for any number of arguments, also none, whatever they are.
 * - There are no other wildcards and no escapes: an argument with a `*` in it can only be matched by `**`.
 *
 * The command itself is named as it is started: a rule for `docker` covers no `/opt/docker`, and the other way round. A `*`
 * is allowed in it in the last segment of an absolute path, as in `/opt/mcp/*`.
 */

export type CommandRule = readonly string[];

/** Of one rule or command line, and characters of one argument. */
export const MAX_ARGUMENTS = 256;
export const MAX_ARGUMENT_CHARS = 4096;

const REST = "**";
/** What a `*` stands for. */
const WILD = /^[A-Za-z0-9._-]+$/;

/** What is wrong with a rule: the end of a sentence, and the place of the argument that it is about. */
export function ruleFault(rule: CommandRule): { index: number; message: string } | undefined {
  const [command = ""] = rule;
  if (command === "") return { index: 0, message: "names no command" };
  if (command.includes("*") && !/^\/(?:[^*]*\/)?[^/*]*\*[^/*]*$/.test(command)) {
    return { index: 0, message: "is no command: a * may stand in the last segment of an absolute path only" };
  }
  const index = rule.findIndex((part, i) => part.includes(REST) && !(part === REST && i === rule.length - 1));
  return index < 0 ? undefined : { index, message: "holds a **, which stands alone and last" };
}

/** Whether a rule covers the command line. */
export function isAllowedCommand(rules: readonly CommandRule[], command: string, args: readonly string[]): boolean {
  return rules.some((rule) => covers(rule, [command, ...args]));
}

function covers(rule: CommandRule, line: readonly string[]): boolean {
  if (rule.length === 0 || ruleFault(rule) !== undefined) return false;
  const open = rule.at(-1) === REST;
  const parts = open ? rule.slice(0, -1) : rule;
  if (open ? line.length < parts.length : line.length !== parts.length) return false;
  return parts.every((part, i) => matches(part, line[i] ?? ""));
}

function matches(part: string, argument: string): boolean {
  if (!part.includes("*")) return part === argument;
  if (argument.startsWith("-") && !part.startsWith("-")) return false;
  const wanted = part.split("/");
  const given = argument.split("/");
  // No `*` crosses a slash, so the segments stand one against the other.
  return wanted.length === given.length && wanted.every((segment, i) => matchesSegment(segment, given[i] ?? ""));
}

function matchesSegment(wanted: string, given: string): boolean {
  if (!wanted.includes("*")) return wanted === given;
  if (given === "." || given === "..") return false;
  const parts = wanted.split("*");
  const first = parts[0] ?? "";
  const last = parts.at(-1) ?? "";
  if (!given.startsWith(first)) return false;
  // The leftmost place for each part is as good as any other, so there is no going back, however long the argument is.
  let at = first.length;
  for (const part of parts.slice(1, -1)) {
    const found = given.indexOf(part, at + 1);
    if (found < 0 || !WILD.test(given.slice(at, found))) return false;
    at = found + part.length;
  }
  const end = given.length - last.length;
  return end > at && given.endsWith(last) && WILD.test(given.slice(at, end));
}
