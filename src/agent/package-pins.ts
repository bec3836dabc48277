/**
 * Which copy of a package an app's server runs: the one that `mcpgate agent pin` installed, as long as the configuration
 * still asks for what was pinned. Read at each start; a pin that does not fit is a failure, never a download.
 */
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import * as v from "valibot";
import { Failure } from "../errors.ts";
import { type PackageRun, packageRun } from "./package-run.ts";

const pinFile = v.strictObject({
  v: v.literal(1),
  tool: v.picklist(["npx", "uvx"]),
  /** What the configuration asked for. */
  asked: v.strictObject({
    packages: v.array(v.string()),
    bin: v.optional(v.string()),
    options: v.array(v.string()),
  }),
  /** What that came to; the packages that those need are in the lock file. */
  packages: v.array(v.strictObject({ name: v.string(), version: v.string() })),
  /** Subresource integrity of the lock file, which has the hash of every package. */
  integrity: v.string(),
  /** Beside the pin's file. */
  dir: v.pipe(v.string(), v.regex(/^[0-9a-f-]{8,40}$/)),
  /** The program, within `dir`. */
  program: v.pipe(v.string(), v.regex(/^(?!\/)(?!.*\.\.)/)),
  /** RFC 3339. */
  pinned_at: v.string(),
});
export type PackagePin = v.InferOutput<typeof pinFile>;

export interface Program {
  command: string;
  args: string[];
  /** What it has to be able to read, beside what the app names. */
  reads: string[];
}

/** In no directory that is the agent's alone: the servers' host users read it. */
export const packagesDirectory = (dataDir: string): string => join(dataDir, "packages");

export const pinPath = (packages: string, app: string): string => join(packages, app, "pin.json");

/** Undefined where the app isn't pinned. Failure `data_dir` for a file that can't be read. */
export function loadPackagePin(packages: string, app: string): PackagePin | undefined {
  const path = pinPath(packages, app);
  let text: string;
  try {
    text = readFileSync(path, "utf8");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw unreadable(path, app, (error as Error).message);
  }
  try {
    return v.parse(pinFile, JSON.parse(text));
  } catch (cause) {
    throw unreadable(path, app, (cause as Error).message);
  }
}

const unreadable = (path: string, app: string, why: string): Failure =>
  new Failure("data_dir", `${path} can't be read: ${why}`, { hint: `mcpgate agent pin ${app} --update` });

/** What the app's server is started with. Failure `start_failed` where it is pinned to something else. */
export function programOf(packages: string, app: string, mcp: { command: string; args: string[] }): Program {
  const pin = loadPackagePin(packages, app);
  if (pin === undefined) return { command: mcp.command, args: mcp.args, reads: [] };
  const run = runOf(mcp);
  if (run === undefined || !fits(pin, run)) throw misfit(pin, app, run);
  const dir = join(packages, app, pin.dir);
  const command = join(dir, pin.program);
  if (!existsSync(command)) {
    throw new Failure("start_failed", `"${app}" is pinned, and its copy is not there: ${command}`, {
      hint: `mcpgate agent pin ${app} --update`,
    });
  }
  return { command, args: run.args, reads: [dir] };
}

/** Whether the configuration asks for what was pinned. Arguments for the server are no part of it. */
export function fits(pin: PackagePin, { tool, packages, bin, options }: PackageRun): boolean {
  const { asked } = pin;
  return pin.tool === tool && asked.bin === bin && same(asked.packages, packages) && same(asked.options, options);
}

const same = (a: readonly string[], b: readonly string[]): boolean =>
  a.length === b.length && a.every((each, i) => each === b[i]);

export function misfit({ asked }: PackagePin, app: string, run: PackageRun | undefined): Failure {
  const was = asked.packages.join(", ");
  const is = run?.packages.join(", ");
  const now =
    is === undefined ? "runs no package" : is === was ? "asks for it in another way" : `asks for ${JSON.stringify(is)}`;
  return new Failure(
    "start_failed",
    `"${app}" is pinned to what ${JSON.stringify(was)} came to, and the configuration now ${now}`,
    {
      hint: `mcpgate agent pin ${app} ${is === undefined ? "--remove" : "--update"}`,
    },
  );
}

function runOf({ command, args }: { command: string; args: string[] }): PackageRun | undefined {
  try {
    return packageRun(command, args);
  } catch {
    return undefined;
  }
}

/** `NAME@1.2.3`, or several. */
export const shownPin = ({ packages }: PackagePin): string =>
  packages.map(({ name, version }) => `${name}@${version}`).join(" ");

/** For a person who asks how things are: `NAME@1.2.3`, also of a pin that nothing fits to. */
export function pinnedTo(packages: string, app: string): string | undefined {
  try {
    const pin = loadPackagePin(packages, app);
    return pin && shownPin(pin);
  } catch (error) {
    return Failure.from(error).message;
  }
}
