/** The token behind `join_params.token_name`. */
import { closeSync, constants, fstatSync, openSync, readFileSync } from "node:fs";
import { Failure } from "../errors.ts";
import type { JoinConfig } from "./config.ts";

const { O_NONBLOCK = 0, O_RDONLY } = constants;
/** Bytes; a token has 32. */
const MAX_FILE = 4096;

/**
 * The token itself, or what stands in the file that `token_name` names. Needed to join the first time only: nobody
 * should call it after that, when the file may long be gone.
 * @throws Failure `config` when its file is missing, empty or holds no token.
 */
export function loadJoinToken({ tokenName }: JoinConfig): string {
  if (!tokenName.includes("/")) return tokenName;
  const fail = (message: string): never => {
    const hint = `on the proxy's host: mcpgate tokens add --type=app --format=text; write what it prints to ${tokenName}`;
    throw new Failure("config", `join token file ${tokenName}: ${message}`, { hint });
  };
  let text: string | undefined;
  try {
    text = readPlain(tokenName);
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    if (code === "ENOENT") return fail("no such file");
    if (code === "EACCES") return fail("may not be read by this user");
    return fail(`can't be read (${code})`);
  }
  if (text === undefined) return fail("is not a plain file, or too long");
  const token = text.trim();
  return /^[\x21-\x7e]{1,512}$/.test(token) ? token : fail(token === "" ? "is empty" : "holds no token");
}

/** Undefined for what is no token's file: in a directory like /tmp a pipe, which never ends, may have its name by now. */
function readPlain(path: string): string | undefined {
  const fd = openSync(path, O_RDONLY | O_NONBLOCK);
  try {
    const stats = fstatSync(fd);
    return stats.isFile() && stats.size <= MAX_FILE ? readFileSync(fd, "utf8") : undefined;
  } finally {
    closeSync(fd);
  }
}
