/** Runs the command line in this process, with everything around it faked, and captures what it prints. */

import type { Context, Services } from "../../src/cli/context.ts";
import { createOutput } from "../../src/cli/output.ts";
import { runCli } from "../../src/cli/run.ts";
import type { Terminal } from "../../src/cli/terminal.ts";
import type { ApiClient } from "../../src/client/api.ts";
import { createLog } from "../../src/log.ts";

export interface Captured {
  exitCode: number;
  stdout: string;
  stderr: string;
}

export interface Call {
  method: string;
  path: string;
  body?: unknown;
}

export interface Faked {
  env?: Record<string, string>;
  uid?: number;
  stdin?: string;
  terminal?: Terminal;
  /** Answers the API's calls, the admin's and the user's alike; a thrown failure is its error. */
  api?: (call: Call) => unknown;
  services?: Partial<Services>;
  /** SIGTERM, as it were. */
  stopped?: Promise<void>;
  onPrint?: (text: string) => void;
}

export async function capture(argv: string[], faked: Faked = {}): Promise<Captured> {
  let stdout = "";
  let stderr = "";
  const context: Context = {
    out: createOutput({
      stdout: async (text) => {
        stdout += text;
        faked.onPrint?.(text);
      },
      stderr: (text) => {
        stderr += text;
      },
    }),
    env: { HOME: "/nowhere", MCPGATE_CONFIG: "/dev/null", ...faked.env },
    uid: faked.uid ?? 1000,
    self: ["/usr/local/bin/mcpgate"],
    respawn: ["/proc/self/exe"],
    createLog,
    readStdin: async () => faked.stdin ?? unexpected("reads stdin"),
    openTerminal: () => faked.terminal,
    onHangUp: () => () => {},
    untilStopped: () => faked.stopped ?? new Promise(() => {}),
    openAdminApi: async () => client(faked),
    openUserApi: async () => client(faked),
    services: new Proxy(
      { openGuard: async () => undefined, ...faked.services },
      {
        get: (services, name) => Reflect.get(services, name) ?? (() => unexpected(`calls ${String(name)}`)),
      },
    ) as Services,
  };
  return { exitCode: await runCli(argv, context), stdout, stderr };
}

/** An API that gives these answers, one after the other, and notes what it was asked. */
export function fakeApi(...answers: unknown[]): { api: (call: Call) => unknown; calls: Call[] } {
  const calls: Call[] = [];
  const api = (call: Call) => {
    calls.push(call);
    const answer = answers.shift() ?? unexpected(`calls ${call.method} ${call.path}`);
    if (answer instanceof Error) throw answer;
    return answer;
  };
  return { api, calls };
}

/** A terminal that gives these answers; it notes the questions. */
export function fakeTerminal(answers: string[]): { terminal: Terminal; questions: string[] } {
  const questions: string[] = [];
  const answer = async (question: string) => {
    questions.push(question);
    return answers.shift() ?? unexpected("asks once more");
  };
  return { terminal: { ask: answer, askSecret: answer, close() {} }, questions };
}

function client(faked: Faked): ApiClient {
  return {
    async call<T>(method: string, path: string, body?: unknown): Promise<T> {
      const call = { method, path, ...(body === undefined ? {} : { body }) };
      return (faked.api?.(call) ?? unexpected(`calls ${method} ${path}`)) as T;
    },
    close() {},
  };
}

function unexpected(what: string): never {
  throw new Error(`the command ${what}, which the test did not expect`);
}
