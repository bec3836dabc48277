/** Files that a command writes for people: made, and never written over. */
import { closeSync, constants, fsyncSync, openSync, unlinkSync, writeFileSync } from "node:fs";
import { resolve } from "node:path";
import type { ArgsDef } from "citty";
import { Failure } from "../errors.ts";
import type { Context } from "./context.ts";

/** `-o` of the commands that print a file, or write it. */
export const outputFlag = {
  output: {
    type: "string",
    alias: "o",
    valueHint: "FILE",
    description: "write it to a new file; one that is there stays as it is. Printed unless given",
  },
} as const satisfies ArgsDef;

/**
 * Prints the text, or makes a file of it and says so. `mode`: of the file, whatever the umask takes away.
 * @throws Failure `already_exists`, `permissions`, or `data_dir` where it can't be written; then there is no file.
 */
export async function printOrMake(
  { out }: Pick<Context, "out">,
  { output, text, mode }: { output: string | undefined; text: string; mode: number },
): Promise<void> {
  if (output === undefined) {
    await out.print(text);
    return;
  }
  makeFile(resolve(output), text, mode);
  await out.print(`${resolve(output)} has been written\n`);
}

function makeFile(path: string, text: string, mode: number): void {
  const { O_CREAT, O_EXCL, O_WRONLY } = constants;
  let fd: number;
  try {
    fd = openSync(path, O_WRONLY | O_CREAT | O_EXCL, mode);
  } catch (error) {
    throw refused(path, error);
  }
  try {
    writeFileSync(fd, text);
    fsyncSync(fd);
  } catch (error) {
    unlinkSync(path);
    throw refused(path, error);
  } finally {
    closeSync(fd);
  }
}

function refused(path: string, cause: unknown): Failure {
  const { code, message } = cause as NodeJS.ErrnoException;
  if (code === "EEXIST") {
    return new Failure("already_exists", `${path} is there already, and has not been touched`, {
      hint: `look at it, and move it away: mv ${path} ${path}.old`,
    });
  }
  if (code === "ENOENT") {
    const hint = `mkdir -p ${resolve(path, "..")}`;
    return new Failure("data_dir", `${path} can't be written: its directory is not there`, { hint, cause });
  }
  if (code === "EACCES" || code === "EPERM") {
    return new Failure("permissions", `${path} may not be written by this user`, { hint: "as root: sudo mcpgate …" });
  }
  return new Failure("data_dir", `${path} can't be written: ${message}`, { cause });
}
