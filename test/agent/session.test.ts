/** What a session does while its agent can't hear the proxy. */
import { expect, test } from "bun:test";
import type { Exit, ServerProcess } from "../../src/agent/process.ts";
import { NO_SECRETS } from "../../src/agent/secrets.ts";
import { Session } from "../../src/agent/session.ts";
import type { Grant } from "../../src/identity/grant.ts";
import { end, Wire } from "../link/wire.ts";
import { recordingLog } from "./scene.ts";

const tick = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

test("a last line without a line feed waits, too, until the agent has heard what changed", async () => {
  const seen: string[] = [];
  const exited = Promise.withResolvers<Exit>();
  const server: ServerProcess = {
    pid: 1,
    secrets: NO_SECRETS,
    writable: true,
    write: (bytes) => seen.push(new TextDecoder().decode(bytes)) > 0,
    drain: () => Promise.resolve(),
    endInput: () => {},
    stderrTail: () => [],
    exited: exited.promise,
    stop: () => {
      exited.resolve({ code: 0, signal: null, message: "exited with code 0" });
      return exited.promise;
    },
  };
  let held: PromiseWithResolvers<void> | undefined;
  const session = new Session({
    grant: {
      ...{ v: 1, sid: "s", attach: "a", user: "alice", traits: {}, app: "db", agent: "x", client_jkt: "k" },
      ...{ revision: 1, start_by: 1 },
      rules: { v: 1, roles: [{ role: "r", allow: { tools: ["*"] }, deny: {} }] },
    } satisfies Grant,
    app: { name: "db", labels: {}, description: "", shared: false, mcp: { command: "x", args: [] } },
    log: recordingLog().log,
    start: () => Promise.resolve(server),
    onSpoke: () => {},
    onFailed: () => {},
    record: () => {},
    held: () => held?.promise,
    budget: { take: () => true, give: () => {} },
    onEnded: () => {},
  });
  const client = end();
  const wire = new Wire(client, { ...end(), link: session.link });
  const pass = async () => {
    for (let i = 0; i < 20; i++) {
      wire.deliver();
      await tick();
    }
  };
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
  let over = false;
  void session.end("done").then(() => {
    over = true;
  });
  while (!over) await pass();
});
