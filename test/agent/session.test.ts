/** A session by itself: with a server that is none, and a client at the other end of the link. */
import { expect, test } from "bun:test";
import type { OnStdout } from "../../src/agent/process.ts";
import { Session, type SessionOptions } from "../../src/agent/session.ts";
import type { Grant } from "../../src/identity/grant.ts";
import { end, Wire } from "../link/wire.ts";
import { recordingLog, startedFake } from "./scene.ts";

const tick = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

/** With a client at the other end, and whatever of `SessionOptions` is to be otherwise. */
function open(more: Partial<SessionOptions>) {
  const session = new Session({
    grant: {
      ...{ v: 1, sid: "s", attach: "a", user: "alice", traits: {}, app: "db", agent: "x", client_jkt: "k" },
      ...{ revision: 1, start_by: 1 },
      rules: { v: 1, roles: [{ role: "r", allow: { tools: ["*"] }, deny: {} }] },
    } satisfies Grant,
    app: { name: "db", labels: {}, description: "", shared: false, mcp: { command: "x", args: [] } },
    log: recordingLog().log,
    start: () => Promise.resolve(startedFake()),
    onSpoke: () => {},
    onFailed: () => {},
    record: () => {},
    held: () => undefined,
    budget: { take: () => true, give: () => {} },
    onEnded: () => {},
    ...more,
  });
  const client = end();
  const wire = new Wire(client, { ...end(), link: session.link });
  const pass = async () => {
    for (let i = 0; i < 20; i++) {
      wire.deliver();
      await tick();
    }
  };
  const over = async () => {
    let done = false;
    void session.end("done").then(() => {
      done = true;
    });
    while (!done) await pass();
  };
  return { session, client, pass, over };
}

test("a last line without a line feed waits, too, until the agent has heard what changed", async () => {
  const seen: string[] = [];
  let held: PromiseWithResolvers<void> | undefined;
  const { client, pass, over } = open({
    start: () => Promise.resolve(startedFake(seen)),
    held: () => held?.promise,
  });
  client.link.write(Buffer.from('{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"x"}}'));
  await pass();
  held = Promise.withResolvers();
  client.link.end();
  await pass();
  expect(seen).toEqual([]);
  const { resolve } = held;
  held = undefined;
  resolve();
  await pass();
  expect(seen).toHaveLength(1);
  await over();
});

test("a banner on stdout is no answer: the server has not started, and start_timeout counts on", async () => {
  let say: OnStdout = () => {};
  const failures: string[] = [];
  let spoke = 0;
  const { session, client, pass, over } = open({
    app: {
      ...{ name: "db", labels: {}, description: "", shared: false },
      mcp: { command: "x", args: [], limits: { startTimeout: 5 } },
    },
    start: async (onStdout) => {
      say = onStdout;
      return startedFake();
    },
    onSpoke: () => spoke++,
    onFailed: (how) => failures.push(how),
  });
  const ask = (id: number) => client.link.write(Buffer.from(`{"jsonrpc":"2.0","id":${id},"method":"ping"}\n`));
  ask(1);
  await pass();
  const soon = performance.now() + 5_500;
  void say(Buffer.from("listening on stdio\n"));
  await pass();
  expect(spoke).toBe(0);
  void say(Buffer.from('{"jsonrpc":"2.0","id":1,"result":{}}\n'));
  await pass();
  expect(spoke).toBe(1);
  ask(2);
  await pass();
  session.checkLimits(soon);
  expect(failures).toEqual([]);
  await over();
});

test("a server that only ever printed a banner: who waits hears of start_timeout", async () => {
  let say: OnStdout = () => {};
  const failures: string[] = [];
  const { session, client, pass, over } = open({
    start: async (onStdout) => {
      say = onStdout;
      return startedFake();
    },
    onFailed: (how) => failures.push(how),
  });
  client.link.write(Buffer.from('{"jsonrpc":"2.0","id":1,"method":"ping"}\n'));
  await pass();
  void say(Buffer.from("listening on stdio\n"));
  await pass();
  session.checkLimits(performance.now() + 120_500);
  await over();
  expect(failures).toEqual(["the server gave no answer within 120 s (start_timeout)"]);
  expect(Buffer.concat(client.received).toString()).toContain("start_timeout");
});
