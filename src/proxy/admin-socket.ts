/**
 * The admin API on the proxy's own host: the very same operations as over HTTPS, through a unix socket that only the
 * proxy's user and root can reach. One request and one answer a connection, each one line of JSON: HTTP's server here
 * does not say who the peer is, and every operation is recorded with the peer's uid.
 *
 *     → {"method": "GET", "path": "/v1/api/users", "body": …}
 *     ← {"status": 200, "body": …}
 */
import { chmodSync, rmSync } from "node:fs";
import { Failure } from "../errors.ts";
import type { Log } from "../log.ts";
import { peerUid } from "./peer-uid.ts";

export interface AdminSocketOptions {
  path: string;
  log: Log;
  fetch(request: Request, connection: { remote: string; uid: number }): Response | Promise<Response>;
}

/** `sun_path` of unix(7), with its final zero byte; the shortest of the systems we run on (macOS has 104). */
const MAX_PATH = 103;
const MAX_REQUEST = 1024 * 1024;

type Held = { text: string; decoder: TextDecoder; done: boolean; rest: Buffer | undefined };

export interface AdminSocket {
  /** Takes no more connections, and resolves when those that asked something have their answer, or after `ms`. */
  close(ms: number): Promise<void>;
}

export function openAdminSocket({ path, log, fetch }: AdminSocketOptions): AdminSocket {
  if (Buffer.byteLength(path) > MAX_PATH) {
    throw new Failure("config", `the admin socket's path is longer than ${MAX_PATH} bytes: ${path}`, {
      hint: "choose a shorter mcpgate.data_dir",
    });
  }
  rmSync(path, { force: true }); // left by a process that was killed; the directory's lock says that it is gone
  const open = new Set<Held>();
  const umask = process.umask(0o077);
  try {
    const listener = Bun.listen<Held>({
      unix: path,
      socket: {
        open(socket) {
          socket.data = { text: "", decoder: new TextDecoder(), done: false, rest: undefined };
          socket.timeout(30);
        },
        data(socket, chunk) {
          const held = socket.data;
          if (held.done) return;
          held.text += held.decoder.decode(chunk, { stream: true });
          if (held.text.length > MAX_REQUEST) {
            socket.terminate();
            return;
          }
          const end = held.text.indexOf("\n");
          if (end === -1) return;
          held.done = true;
          open.add(held);
          const uid = peerUid((socket as unknown as { fd: number }).fd);
          void answer(held.text.slice(0, end), uid, fetch)
            .catch((error: unknown) => {
              log.error("admin.failed", { error: Failure.from(error).message });
              return { status: 500, body: { error: new Failure("internal", "internal error; see the proxy's log") } };
            })
            .then((reply) => {
              held.rest = Buffer.from(`${JSON.stringify(reply)}\n`);
              write(socket, held);
            });
        },
        close: (socket) => void open.delete(socket.data),
        drain: (socket) => write(socket, socket.data),
        timeout: (socket) => socket.terminate(),
        error: (_socket, error) => log.warn("admin.socket_error", { error: error.message }),
      },
    });
    chmodSync(path, 0o600);
    return {
      async close(ms) {
        // First of all: who comes now finds that no proxy runs, and not a socket on which nobody answers.
        rmSync(path, { force: true });
        listener.stop(false);
        for (const until = performance.now() + ms; open.size > 0 && performance.now() < until; ) await Bun.sleep(10);
        listener.stop(true);
      },
    };
  } finally {
    process.umask(umask);
  }
}

function write(socket: Bun.Socket<Held>, held: Held): void {
  if (held.rest === undefined) return;
  const written = socket.write(held.rest);
  if (written < 0) return;
  if (written < held.rest.length) {
    held.rest = held.rest.subarray(written);
    return;
  }
  held.rest = undefined;
  socket.end();
}

async function answer(
  line: string,
  uid: number | undefined,
  fetch: AdminSocketOptions["fetch"],
): Promise<{ status: number; body: unknown }> {
  if (uid === undefined) {
    return { status: 403, body: { error: new Failure("access_denied", "the kernel does not say who is asking") } };
  }
  const request = JSON.parse(line) as { method?: unknown; path?: unknown; body?: unknown };
  if (typeof request.method !== "string" || typeof request.path !== "string" || !request.path.startsWith("/")) {
    return { status: 400, body: { error: new Failure("invalid", "not a request") } };
  }
  const response = await fetch(
    new Request(`http://admin${request.path}`, {
      method: request.method,
      ...(request.body === undefined
        ? {}
        : { body: JSON.stringify(request.body), headers: { "content-type": "application/json" } }),
    }),
    { remote: "admin socket", uid },
  );
  const text = await response.text();
  return { status: response.status, body: text === "" ? null : JSON.parse(text) };
}
