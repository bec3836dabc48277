/**
 * Sessions that end at a random moment of their start: `bun churn-clients.ts HOME CONFIG COUNT HOW`. Many client ends in one
 * process, through the client's own code; a line of JSON (`Attempt`) on stdout for each. With `die`, the process opens all of
 * them, ends none, and kills itself in the midst of it.
 */
import { openAdminApi } from "../../src/client/api.ts";
import { ClientSession } from "../../src/client/session.ts";
import { loadProfile } from "../../src/client/state.ts";
import { loadConfig } from "../../src/config/load.ts";
import { Failure } from "../../src/errors.ts";
import { createLog } from "../../src/log.ts";

/** In which stage of its start a session ends; `whole`: after it. */
const STAGES = ["grant", "start", "initialize", "call", "whole"] as const;
type Stage = (typeof STAGES)[number];

/** What ends it: the client's word, an admin's, or the end of the client's input. */
const ENDS = ["close", "kill", "end of input"] as const;

export interface Attempt {
  sid: string;
  app: string;
  until: Stage;
  by: (typeof ENDS)[number];
  /** What it had seen by then. */
  got: "nothing" | "a connection" | "an answer" | "all";
}

/** How many are under way at a time. */
const PARALLEL = 8;
/** The random moment within a stage, milliseconds; about twice what the stage takes. */
const WITHIN_MS: Record<Stage, number> = { grant: 300, start: 80, initialize: 100, call: 60, whole: 0 };
/** For an answer that nothing cut off. */
const PATIENCE_MS = 20_000;

const APPS = ["plain", "plain", "fleeing", "shared"] as const;
const INITIALIZE = {
  id: 0,
  method: "initialize",
  params: { protocolVersion: "2025-11-25", capabilities: {}, clientInfo: { name: "churn", version: "1" } },
};
const CALL = { id: 1, method: "tools/call", params: { name: "work", arguments: {} } };

const pick = <T>(list: readonly T[]): T => list[Math.floor(Math.random() * list.length)] as T;
const never = new Promise<never>(() => {});

const [home = "", config = "", count = "0", how = ""] = process.argv.slice(2);
const profile = await loadProfile(home);
if (profile === undefined) throw new Error("nobody is logged in");
const known = profile;
const log = createLog({ severity: "ERROR" });
const admin = await openAdminApi({ config: loadConfig({ path: config, env: {}, uid: 0 }), env: {} });

const attempt = async (until: Stage, by: Attempt["by"] | undefined): Promise<Attempt | undefined> => {
  let got: Attempt["got"] = "nothing";
  let text = "";
  const waiting = new Map<string, () => void>();
  const over = Promise.withResolvers<void>();
  const app = pick(APPS);
  const session = new ClientSession({
    app,
    log,
    profile: async () => known,
    onData: (bytes) => {
      text += Buffer.from(bytes).toString();
      for (const [part, resolve] of waiting) if (text.includes(part)) resolve();
    },
    onEnd: () => {},
    onPause: () => {},
    onClose: () => over.resolve(),
  });
  const ask = (message: { id: number; method: string; params: object }): Promise<void> => {
    const answered = new Promise<void>((resolve) => waiting.set(`"id":${message.id}`, resolve));
    session.write(Buffer.from(`${JSON.stringify({ jsonrpc: "2.0", ...message })}\n`));
    return answered;
  };
  /** Until a random moment of this stage, or the end of what is awaited, whichever comes first. */
  const within = async (stage: Stage, work: Promise<unknown>): Promise<boolean> => {
    const late = until === stage ? Bun.sleep(Math.random() * WITHIN_MS[stage]).then(() => false) : never;
    return Promise.race([work.then(() => until !== stage), over.promise.then(() => false), late]);
  };
  const live = async (): Promise<void> => {
    // Where it is refused, or cut in its first moment, there is nothing to go on with.
    const opened = session.open().then(
      () => {
        got = "a connection";
      },
      async (error: unknown) => {
        // Or the rest of them would be refused before the agent is back.
        if (Failure.from(error).code === "agent_offline") await Bun.sleep(200);
        over.resolve();
      },
    );
    if (!(await within("grant", opened))) return;
    if (until === "start") {
      await within("start", never);
      return;
    }
    if (!(await within("initialize", ask(INITIALIZE)))) return;
    got = "an answer";
    session.write(Buffer.from(`{"jsonrpc":"2.0","method":"notifications/initialized"}\n`));
    if (!(await within("call", ask(CALL)))) return;
    got = "all";
  };
  const timer = setTimeout(() => over.resolve(), PATIENCE_MS);
  await live();
  clearTimeout(timer);
  if (by === undefined) return undefined;
  if (by === "kill") {
    // One that is not on record yet can't be killed.
    await admin.call("DELETE", `/v1/api/sessions/${session.sid}`).catch((error: unknown) => {
      if (Failure.from(error).code !== "not_found") throw error;
    });
  }
  if (by === "end of input") {
    session.end();
    await Promise.race([over.promise, Bun.sleep(2_000)]);
  }
  await session.close("the client is done");
  return { sid: session.sid, app, until, by, got };
};

if (how === "die") {
  const each = () => Bun.sleep(Math.random() * 200).then(() => attempt("whole", undefined));
  void Promise.all(Array.from({ length: Number(count) }, each));
  await Bun.sleep(Math.random() * 400);
  process.kill(process.pid, "SIGKILL");
}
let left = Number(count);
const worker = async (): Promise<void> => {
  while (left-- > 0) console.log(JSON.stringify(await attempt(pick(STAGES), pick(ENDS))));
};
await Promise.all(Array.from({ length: PARALLEL }, worker));
process.exit(0);
