/** The proxy's API as the command line calls it: through the admin socket of this host's proxy, or as a logged-in user. */
import { existsSync } from "node:fs";
import { join } from "node:path";
import * as v from "valibot";
import type { Config } from "../config/config.ts";
import { Failure } from "../errors.ts";
import { type Method, request } from "../link/request.ts";
import { clientHome, loginCommand, requireProfile } from "./state.ts";

export interface ApiClient {
  /** Fails with what the proxy answered. */
  call<T>(method: Method, path: string, body?: unknown): Promise<T>;
  close(): void;
}

type Env = Record<string, string | undefined>;

/** The admin socket when this host runs the proxy, else the logged-in user's own rights. */
export async function openAdminApi(o: { config: Config | undefined; env: Env }): Promise<ApiClient> {
  const socket = o.config === undefined ? undefined : join(o.config.dataDir, "proxy", "admin.sock");
  if (socket !== undefined && existsSync(socket)) return adminSocketClient(socket);
  try {
    return await openUserApi(o);
  } catch (error) {
    const failure = Failure.from(error);
    if (failure.code !== "not_logged_in") throw failure;
    const what = `no proxy runs on this host (${socket ?? "no configuration"}), and nobody is logged in`;
    throw new Failure("not_logged_in", what, { hint: `${whereElse(o.config)}: ${LOGIN}` });
  }
}

const LOGIN = "mcpgate client login --proxy=HOST:PORT --user=NAME";

/** Whoever is not root looks for a proxy of their own, unless the configuration says where its data is. */
function whereElse(config: Config | undefined): string {
  if (config?.proxy === undefined) return "run it on the proxy's host with the proxy's --config, or log in as an admin";
  const start = "start it (mcpgate proxy start, or systemctl start mcpgate)";
  return `${process.getuid?.() === 0 ? start : "run it as root (sudo mcpgate …), if root runs the proxy"}, or log in as an admin`;
}

export async function openUserApi({ env }: { env: Env }): Promise<ApiClient> {
  const profile = await requireProfile(clientHome(env));
  const { trust, key } = profile;
  return {
    async call<T>(method: Method, path: string, body?: unknown): Promise<T> {
      try {
        return (await request({ trust, key, method, path, body, schema: v.unknown() })) as T;
      } catch (error) {
        throw withLogin(Failure.from(error), loginCommand(profile));
      }
    },
    close() {},
  };
}

function withLogin(failure: Failure, hint: string): Failure {
  const known = failure.code === "not_logged_in" || failure.code === "login_expired";
  return known ? new Failure(failure.code, failure.message, { hint }) : failure;
}

const ANSWER_MS = 60_000;

function adminSocketClient(path: string): ApiClient {
  return {
    async call<T>(method: Method, apiPath: string, body?: unknown): Promise<T> {
      const answer = parseAnswer(await exchange(path, `${JSON.stringify({ method, path: apiPath, body })}\n`));
      if (answer.status < 400) return answer.body as T;
      throw Failure.fromJSON((answer.body as { error?: unknown } | null)?.error);
    },
    close() {},
  };
}

/** One line there, one line back. */
function exchange(path: string, line: string): Promise<string> {
  const { promise, resolve, reject } = Promise.withResolvers<string>();
  const decoder = new TextDecoder();
  let rest = Buffer.from(line);
  let answer = "";
  const flush = (socket: Bun.Socket) => {
    const written = socket.write(rest);
    if (written > 0) rest = rest.subarray(written);
  };
  const fail = (error: unknown) => {
    const { code } = error as { code?: string };
    const denied = code === "EACCES" || code === "EPERM";
    reject(
      denied
        ? new Failure("permissions", `the proxy's admin socket ${path} is not yours to use`, {
            hint: "run it as the proxy's user or root: sudo mcpgate …, or log in as an admin",
          })
        : new Failure("unreachable", `the proxy does not answer on ${path}`, { hint: "mcpgate proxy start" }),
    );
  };
  Bun.connect({
    unix: path,
    socket: {
      open(socket) {
        socket.timeout(ANSWER_MS / 1000);
        flush(socket);
      },
      drain: flush,
      data(_socket, chunk) {
        answer += decoder.decode(chunk, { stream: true });
      },
      close() {
        if (answer.endsWith("\n")) resolve(answer);
        else fail({});
      },
      timeout: (socket) => socket.terminate(),
      error: (_socket, error) => fail(error),
      connectError: (_socket, error) => fail(error),
    },
  }).catch(fail);
  return promise;
}

function parseAnswer(text: string): { status: number; body: unknown } {
  const parsed = v.safeParse(v.object({ status: v.number(), body: v.unknown() }), JSON.parse(text));
  if (!parsed.success) throw new Failure("unreachable", "the proxy's answer is not of this version");
  return parsed.output;
}
