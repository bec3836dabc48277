/** Finds and reads the configuration file; `parse.ts` does the rest. */
import { readFileSync } from "node:fs";
import { homedir } from "node:os";
import { join, resolve } from "node:path";
import { Failure } from "../errors.ts";
import type { Config } from "./config.ts";
import { withCredentials } from "./credentials.ts";
import { parseConfig } from "./parse.ts";

export const DEFAULT_CONFIG_FILE = "/etc/mcpgate.yaml";
const MAX_BYTES = 1024 * 1024;

export interface LoadConfigOptions {
  /** `--config`; before `MCPGATE_CONFIG`, before the default file. */
  path?: string | undefined;
  env: Record<string, string | undefined>;
  /** Of this process; decides the data directory's default and whether `run_as_host_user` is required. */
  uid: number;
  /** `/etc/mcpgate.yaml` unless a test says otherwise. */
  defaultFile?: string;
  home?: string;
}

/**
 * A file that was named must exist; where nobody named one and the default file does not exist, everything is default
 * (and no service is enabled). The file's mode is not enforced: it holds no secret but, at most, a one-use token.
 * @throws Failure `config` with `FILE:LINE:COL: path.to.key: …`; `permissions` when it can't be read.
 */
export function loadConfig(o: LoadConfigOptions): Config {
  const defaultDataDir = () => (o.uid === 0 ? "/var/lib/mcpgate" : join(stateHome(o), "mcpgate"));
  const { file, named } = configFile(o);
  const text = loadText(file, named !== undefined);
  if (text === undefined) {
    return { file: undefined, dataDir: defaultDataDir(), log: { severity: "INFO", format: "text" } };
  }
  return withCredentials(parseConfig(text, { file, shownAs: named ?? file, uid: o.uid, defaultDataDir }), o.env);
}

/** The absolute path of the file that counts, and how somebody named it. */
export function configFile(o: Pick<LoadConfigOptions, "path" | "env" | "defaultFile">): {
  file: string;
  named: string | undefined;
} {
  const named = o.path ?? (o.env.MCPGATE_CONFIG || undefined);
  return { file: resolve(named ?? o.defaultFile ?? DEFAULT_CONFIG_FILE), named };
}

function stateHome(o: LoadConfigOptions): string {
  const xdg = o.env.XDG_STATE_HOME;
  // The XDG specification: a relative path there is to be ignored.
  if (xdg?.startsWith("/")) return xdg;
  return join(o.home ?? (o.env.HOME || homedir()), ".local/state");
}

/** @throws Failure `config` or `permissions`. */
export function loadText(file: string, mustExist: boolean): string | undefined {
  let bytes: Buffer;
  try {
    bytes = readFileSync(file);
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    if (code === "ENOENT" && !mustExist) return undefined;
    if (code === "ENOENT") {
      throw new Failure("config", `${file}: no such configuration file`, {
        hint: "see --config=FILE and MCPGATE_CONFIG",
      });
    }
    if (code === "EISDIR") throw new Failure("config", `${file}: is a directory, not a configuration file`);
    if (code === "EACCES" || code === "EPERM") {
      throw new Failure("permissions", `${file}: may not be read by this user`, {
        hint: `ls -l ${file} shows whose it is; as root: sudo mcpgate …`,
      });
    }
    throw new Failure("config", `${file}: ${(error as Error).message}`, { cause: error });
  }
  if (bytes.length > MAX_BYTES) throw new Failure("config", `${file}: is larger than 1 MiB`);
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    throw new Failure("config", `${file}: is not UTF-8 text`);
  }
}
