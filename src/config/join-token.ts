/** The token behind `join_params.token_name`. */
import { readFileSync } from "node:fs";
import { Failure } from "../errors.ts";
import type { JoinConfig } from "./config.ts";

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
  let text: string;
  try {
    text = readFileSync(tokenName, "utf8");
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    if (code === "ENOENT") return fail("no such file");
    if (code === "EACCES") return fail("may not be read by this user");
    return fail(`can't be read (${code})`);
  }
  const token = text.trim();
  return /^[\x21-\x7e]{1,512}$/.test(token) ? token : fail(token === "" ? "is empty" : "holds no token");
}
