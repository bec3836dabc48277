/**
 * The app's own environment with its references read: whenever a server starts, by the agent and with the agent's rights,
 * so that the server's host user needs access to no secret store. What was read is kept nowhere but in the server and in
 * the list of what to mask; a failure says which variable and where it was to come from, never what came.
 */
import { constants } from "node:fs";
import { open } from "node:fs/promises";
import { hasSecretName } from "../audit/secrets.ts";
import type { Variable } from "../config/variable.ts";
import { Failure } from "../errors.ts";
import type { Environment } from "./launch.ts";
import { spawnOwn } from "./own-child.ts";

/** Of one value. */
const MAX_BYTES = 64 * 1024;
/** For one command. */
const COMMAND_MS = 15_000;
/** Of the agent's environment, what would change how a command runs. */
const NOT_FOR_COMMANDS = /^(LD_|DYLD_|BUN_|NODE_OPTIONS$|PYTHON)/;

export interface Loaded {
  env: Environment;
  /** Values that came by reference, and those under names that look like a secret's. */
  secrets: string[];
}

/** Failure `start_failed` when a reference can't be read. `own`: the agent's environment. */
export async function loadVariables(
  variables: Record<string, Variable>,
  own: Record<string, string | undefined> = process.env,
): Promise<Loaded> {
  const loaded = await Promise.all(
    Object.entries(variables).map(async ([name, variable]) => {
      const value = await load(name, variable, own);
      return { name, value, secret: typeof variable !== "string" || hasSecretName(name, value) };
    }),
  );
  return {
    env: Object.fromEntries(loaded.map(({ name, value }) => [name, value])),
    secrets: loaded.flatMap(({ value, secret }) => (secret ? [value] : [])),
  };
}

async function load(name: string, variable: Variable, own: Record<string, string | undefined>): Promise<string> {
  if (typeof variable === "string") return variable;
  const refuse = (what: string, hint: string): Failure =>
    new Failure("start_failed", `mcp.env: ${name}: ${what}`, { hint });
  if ("env" in variable) {
    const value = own[variable.env];
    if (value === undefined) {
      throw refuse(`the agent's environment has no ${variable.env}`, "set it where the agent is started");
    }
    return value;
  }
  let bytes: Uint8Array;
  if ("file" in variable) {
    const path = variable.file;
    bytes = await readBounded(path).catch((error: NodeJS.ErrnoException) => {
      throw refuse(`${path} can't be read: ${error.code ?? error.message}`, `ls -l ${path}`);
    });
  } else {
    const [program = ""] = variable.command;
    bytes = await runForOutput(variable.command, own).catch((error: Error) => {
      throw refuse(`${program} gave no value: ${error.message}`, "run it as the agent's user, with its arguments");
    });
  }
  try {
    // One line feed is how editors and tools end a file; any other is the value's own.
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes).replace(/\r?\n$/, "");
  } catch {
    throw refuse("what came is not UTF-8 text", "an environment holds text only");
  }
}

async function readBounded(path: string): Promise<Uint8Array> {
  // A named pipe that nobody writes would hold us for ever.
  const file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK);
  try {
    if (!(await file.stat()).isFile()) throw new Error("it is no file");
    const { bytesRead, buffer } = await file.read({ buffer: new Uint8Array(MAX_BYTES + 1) });
    if (bytesRead > MAX_BYTES) throw new Error(`it is larger than ${MAX_BYTES / 1024} KiB`);
    return buffer.subarray(0, bytesRead);
  } finally {
    await file.close();
  }
}

/** Its stderr is dropped: it may hold anything. */
async function runForOutput(argv: string[], own: Record<string, string | undefined>): Promise<Uint8Array> {
  const env = Object.fromEntries(Object.entries(own).filter(([name]) => !NOT_FOR_COMMANDS.test(name)));
  let child: Bun.Subprocess<"ignore", "pipe", "ignore">;
  try {
    child = spawnOwn(argv, { stdin: "ignore", stdout: "pipe", stderr: "ignore", env, cwd: "/", detached: true });
  } catch (error) {
    throw new Error((error as NodeJS.ErrnoException).code ?? "it can't be started");
  }
  let fault: string | undefined;
  const end = (why: string): void => {
    fault ??= why;
    try {
      process.kill(-child.pid, "SIGKILL");
    } catch {
      // It ended by itself.
    }
  };
  const timer = setTimeout(() => end(`no end within ${COMMAND_MS / 1000} s`), COMMAND_MS);
  const chunks: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of child.stdout) {
    size += chunk.length;
    if (size > MAX_BYTES) end(`more than ${MAX_BYTES / 1024} KiB`);
    else chunks.push(chunk);
  }
  const code = await child.exited;
  clearTimeout(timer);
  if (fault !== undefined) throw new Error(fault);
  if (code !== 0) throw new Error(`exit code ${code}`);
  return Buffer.concat(chunks);
}
