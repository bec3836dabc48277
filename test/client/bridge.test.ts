import { describe, expect, test } from "bun:test";
import { Failure } from "../../src/errors.ts";
import { call, INFO, INITIALIZE, type Json, Scene } from "./fake-session.ts";

const open = async (): Promise<Scene> => {
  const scene = new Scene();
  await scene.initialize();
  return scene;
};
const errorOf = (message: Json | undefined) => message?.error as { code: number; message: string; data: Json };

describe("a session that ends", () => {
  test("answers every open request once: why, that the outcome is unknown, and what to do", async () => {
    const scene = await open();
    await scene.send(call(1));
    await scene.send(call("two"));
    await scene.send(call(3));
    scene.session.say({ id: 3, result: {} });
    scene.take();
    scene.session.die("the server exited with code 3", "server_exited");
    const errors = scene.take();
    expect(errors.map(({ id }) => id)).toEqual([1, "two"]);
    for (const { code, message, data } of errors.map(errorOf)) {
      expect(code).toBe(-31001);
      expect(message).toContain("the server exited with code 3");
      expect(message).toContain("not known: check before you repeat it");
      expect(data).toEqual({ code: "server_exited", outcome: "unknown" });
    }
    scene.session.say({ id: 1, result: {} });
    expect(scene.take()).toEqual([]);
  });

  test("a request that the MCP client cancelled gets no error", async () => {
    const scene = await open();
    await scene.send(call(1));
    await scene.send({ method: "notifications/cancelled", params: { requestId: 1 } });
    scene.session.die("gone");
    expect(scene.take()).toEqual([]);
  });

  test("a subscription that the server ended gets no error, and another request's cancellation changes nothing", async () => {
    const scene = await open();
    await scene.send({ id: 5, method: "subscriptions/listen", params: { notifications: {} } });
    await scene.send(call(6));
    for (const requestId of [5, 6]) scene.session.say({ method: "notifications/cancelled", params: { requestId } });
    scene.take();
    scene.session.die("gone");
    expect(scene.take().map(({ id }) => id)).toEqual([6]);
  });

  test("the next request opens another one, which repeats the handshake under an id of its own", async () => {
    const scene = await open();
    scene.session.die("gone");
    const sent = scene.send(call(7));
    await scene.answerHandshake();
    await sent;
    const [initialize, initialized, request] = scene.session.received;
    expect(initialize).toEqual({ jsonrpc: "2.0", ...INITIALIZE, id: expect.stringMatching(/^mcpgate-/) });
    expect(initialized).toEqual({ jsonrpc: "2.0", method: "notifications/initialized" });
    expect(request).toEqual({ jsonrpc: "2.0", ...call(7) });
    scene.session.say({ id: 7, result: { ok: true } });
    const shown = scene.take();
    expect(shown.map(({ method, id }) => method ?? id)).toEqual([
      "notifications/message",
      "notifications/tools/list_changed",
      7,
    ]);
    expect(JSON.stringify(shown[0])).toContain("what the server held in memory is lost");
    expect(scene.logged.map(([event]) => event)).toContain("session.renewed");
  });

  test("without a handshake the next request is just sent", async () => {
    const scene = new Scene();
    scene.session.opened.resolve();
    const modern = call(1, { _meta: { "io.modelcontextprotocol/protocolVersion": "2026-07-28" } });
    await scene.send(modern);
    scene.session.die("gone");
    expect(scene.take().map(({ id }) => id)).toEqual([1]);
    const sent = scene.send({ ...modern, id: 2 });
    scene.session.opened.resolve();
    await sent;
    expect(scene.session.received).toEqual([{ jsonrpc: "2.0", ...modern, id: 2 }]);
    expect(scene.take()).toEqual([]);
  });

  describe("takes nothing after its server's last word", () => {
    const lastWord = async (...calls: Json[]): Promise<Scene> => {
      const scene = await open();
      for (const each of calls) await scene.send(each);
      scene.session.events.onEnd();
      return scene;
    };

    test("a request that comes then waits, and goes to the next session", async () => {
      const scene = await lastWord();
      const { session } = scene;
      const before = session.received.length;
      const sent = scene.send(call(2));
      await scene.send({ method: "notifications/roots/list_changed" });
      session.die("the server exited");
      await Bun.sleep(0);
      await scene.answerHandshake();
      await sent;
      expect(session.received.length).toBe(before);
      expect(scene.session.received.at(-1)).toMatchObject({ id: 2 });
    });

    test("calls that came too late go to the next session, in order, but to no third", async () => {
      const scene = await lastWord(call(1), call(2));
      scene.session.die("the server exited");
      expect(scene.take()).toEqual([]);
      await scene.answerHandshake();
      await scene.session.got(4);
      expect(scene.session.received.slice(2).map(({ id }) => id)).toEqual([1, 2]);
      scene.take();
      scene.session.say({ id: 1, result: {} });
      scene.session.events.onEnd();
      scene.session.die("the server exited again");
      const [one, two, ...more] = scene.take();
      expect([one?.id, two?.id, more]).toEqual([1, 2, []]);
      expect(errorOf(two)).toMatchObject({
        code: -31005,
        message: expect.stringContaining("before this call reached the server: send it again"),
        data: { outcome: "not_sent" },
      });
      expect(scene.sessions.length).toBe(2);
    });

    test("a request that waited for a session which ended as it opened goes to the one after it", async () => {
      const scene = await open();
      scene.session.die("gone");
      const sent = scene.send(call(1));
      const second = scene.session;
      // the client is told of the new session as soon as it is open, before the request that waited for it goes on
      scene.onShown = () => {
        scene.onShown = () => {};
        second.events.onEnd();
      };
      await scene.answerHandshake();
      while (scene.shown.length === 0) await Bun.sleep(0);
      second.die("gone again");
      await Bun.sleep(0);
      await scene.answerHandshake();
      await sent;
      expect(scene.sessions.map(({ received }) => received.some(({ id }) => id === 1))).toEqual([false, false, true]);
    });

    test("and are told why when the next session ends in its handshake", async () => {
      const scene = await lastWord(call(1));
      scene.session.die("the server exited");
      scene.session.opened.resolve();
      await scene.session.got(1);
      scene.session.die("the server exited again");
      await Bun.sleep(0);
      expect(scene.take()).toMatchObject([{ id: 1, error: { message: expect.stringContaining("exited again") } }]);
      expect(scene.sessions.length).toBe(2);
    });

    test("and where there is no next session, they are told why", async () => {
      const scene = await lastWord(call(1));
      scene.session.die("the server exited");
      scene.session.opened.reject(new Failure("agent_offline", "no agent"));
      await Bun.sleep(0);
      expect(scene.take()).toMatchObject([{ id: 1, error: { data: { code: "agent_offline" } } }]);
    });

    test("large ones are not kept for it, and their sender is told to send them again", async () => {
      const scene = await lastWord(call(1, { arguments: { text: "x".repeat(300_000) } }));
      scene.session.die("the server exited");
      expect(errorOf(scene.take()[0]).data.outcome).toBe("not_sent");
    });
  });

  test("notifications and late answers begin no session", async () => {
    const scene = await open();
    scene.session.die("gone");
    await scene.send({ method: "notifications/roots/list_changed" });
    await scene.send({ id: 9, result: {} });
    expect(scene.sessions.length).toBe(1);
  });

  test("a new session that can't be had is answered with why, and the request after it tries again", async () => {
    const scene = await open();
    scene.session.die("gone");
    const sent = scene.send(call(1));
    scene.session.opened.reject(new Failure("login_expired", "the login has expired", { hint: "log in" }));
    await sent;
    expect(errorOf(scene.take()[0])).toMatchObject({ code: -31005, data: { code: "login_expired", hint: "log in" } });
    const again = scene.send(call(2));
    await scene.answerHandshake();
    await again;
    expect(scene.session.received.at(-1)).toMatchObject({ id: 2 });
  });

  test("a new session that ends in its handshake answers the request that waits, as one that was never sent", async () => {
    const scene = await open();
    scene.session.die("gone");
    const sent = scene.send(call(1));
    scene.session.opened.resolve();
    await scene.session.got(1);
    scene.session.die("the server was killed");
    await sent;
    const [answer, ...more] = scene.take();
    expect(more).toEqual([]);
    expect(errorOf(answer)).toMatchObject({ code: -31005, message: expect.stringContaining("the server was killed") });
  });
});

describe("a server that changed", () => {
  const changes: [string, Json, string][] = [
    ["version", { ...INFO, serverInfo: { name: "server", version: "2" } }, "it was server 1 and is server 2"],
    ["protocol", { ...INFO, protocolVersion: "2025-06-18" }, "spoke revision 2025-11-25 and speaks 2025-06-18"],
    ["capabilities", { ...INFO, capabilities: { tools: {} } }, "its capabilities are not the same"],
  ];
  test.each(changes)("in its %s is refused until a new handshake", async (_what, info, text) => {
    const scene = await open();
    scene.session.die("gone");
    const sent = scene.send(call(1));
    await scene.answerHandshake(info);
    await sent;
    expect(errorOf(scene.take()[0])).toMatchObject({
      message: expect.stringContaining(text),
      data: { code: "server_changed", hint: "reconnect the server in your MCP client" },
    });
    expect(scene.session.closedWith).toBeDefined();
    expect(scene.session.received.length).toBe(1);

    await scene.send(call(2));
    expect(errorOf(scene.take()[0]).data.code).toBe("server_changed");
    expect(scene.sessions.length).toBe(2);

    const again = scene.send({ ...INITIALIZE, id: 3 });
    scene.session.opened.resolve();
    await again;
    scene.session.say({ id: 3, result: info });
    expect(scene.take()).toEqual([{ jsonrpc: "2.0", id: 3, result: info }]);
    expect(scene.session.received).toEqual([{ jsonrpc: "2.0", ...INITIALIZE, id: 3 }]);
  });

  test("is the same where only the order of its members is another", async () => {
    const scene = await open();
    scene.session.die("gone");
    const sent = scene.send(call(1));
    const { protocolVersion, capabilities } = INFO;
    await scene.answerHandshake({ serverInfo: { version: "1", name: "server" }, capabilities, protocolVersion });
    await sent;
    expect(scene.session.received.length).toBe(3);
  });
});

describe("what a server asks the client", () => {
  const ask = { id: 1, method: "roots/list", params: { _meta: { progressToken: 4 } } };

  test("passes as it is on the first session", async () => {
    const scene = await open();
    scene.session.say(ask);
    expect(scene.take()).toEqual([{ jsonrpc: "2.0", ...ask }]);
    await scene.send({ id: 1, result: { roots: [] } });
    expect(scene.session.received.at(-1)).toEqual({ jsonrpc: "2.0", id: 1, result: { roots: [] } });
  });

  test("is cancelled when it is gone, and its late answer reaches no other server", async () => {
    const scene = await open();
    scene.session.say(ask);
    scene.take();
    scene.session.die("gone");
    expect(scene.take()).toMatchObject([{ method: "notifications/cancelled", params: { requestId: 1 } }]);

    const sent = scene.send(call(5));
    await scene.answerHandshake();
    await sent;
    scene.take();
    scene.session.say(ask);
    const [asked] = scene.take();
    expect(asked?.id).not.toBe(1);
    const before = scene.session.received.length;
    await scene.send({ id: 1, result: { roots: ["old"] } });
    await scene.send({ method: "notifications/progress", params: { progressToken: 4, progress: 1 } });
    expect(scene.session.received.length).toBe(before);

    const { progressToken: token } = ((asked?.params ?? {}) as { _meta: { progressToken: string } })._meta;
    await scene.send({ method: "notifications/progress", params: { progressToken: token, progress: 1 } });
    await scene.send({ id: asked?.id, result: { roots: ["new"] } });
    await scene.send({ id: asked?.id, result: { roots: ["twice"] } });
    expect(scene.session.received.slice(before)).toEqual([
      { jsonrpc: "2.0", method: "notifications/progress", params: { progressToken: 4, progress: 1 } },
      { jsonrpc: "2.0", id: 1, result: { roots: ["new"] } },
    ]);
  });

  test("is cancelled by a later server under the id that the client knows", async () => {
    const scene = await open();
    scene.session.die("gone");
    const sent = scene.send(call(1));
    await scene.answerHandshake();
    await sent;
    scene.take();
    scene.session.say(ask, { method: "notifications/cancelled", params: { requestId: 1, reason: "x" } });
    const [asked, cancelled] = scene.take();
    expect(cancelled?.params).toEqual({ requestId: asked?.id, reason: "x" });
    // the client's own request 1 is still open
    scene.session.die("gone again");
    expect(scene.take().map(({ id }) => id)).toEqual([1]);
  });
});

describe("state that the server kept", () => {
  const level = (id: number, to: string) => ({ id, method: "logging/setLevel", params: { level: to } });
  const subscribe = (id: number, uri: string, method = "resources/subscribe") => ({ id, method, params: { uri } });

  test("is told to the next one; what it refuses is said", async () => {
    const scene = await open();
    const said: [Json, Json][] = [
      [level(1, "error"), { result: {} }],
      [level(2, "warning"), { result: {} }],
      [subscribe(3, "a:1"), { result: {} }],
      [subscribe(4, "b:1"), { result: {} }],
      [subscribe(5, "c:1"), { error: { code: 1, message: "no" } }],
      [subscribe(6, "a:1", "resources/unsubscribe"), { result: {} }],
      [subscribe(7, "d:1"), { result: {} }],
    ];
    for (const [request, answer] of said) {
      await scene.send(request);
      scene.session.say({ id: request.id, ...answer });
    }
    scene.session.die("gone");
    scene.take();
    const sent = scene.send(call(8));
    await scene.answerHandshake();
    await sent;
    const [, , ...told] = scene.session.received;
    expect(told.map(({ method, params }) => [method, params])).toEqual([
      ["logging/setLevel", { level: "warning" }],
      ["resources/subscribe", { uri: "b:1" }],
      ["resources/subscribe", { uri: "d:1" }],
      ["tools/call", { name: "t" }],
    ]);
    scene.take();
    const [a, b, c] = told;
    scene.session.say(
      { id: a?.id, result: {} },
      { id: b?.id, error: { code: 1, message: "no such thing" } },
      { id: c?.id, result: {} },
      { id: 8, result: {} },
    );
    await Bun.sleep(0);
    const shown = scene.take();
    expect(shown.map(({ id, method }) => id ?? method).toSorted()).toEqual([8, "notifications/message"]);
    expect(JSON.stringify(shown)).toContain("the subscription to b:1: no such thing");
    expect(scene.logged).toContainEqual(["session.state_lost", expect.anything()]);
  });

  test("a client that wants errors only gets no log message of ours", async () => {
    const scene = await open();
    await scene.send(level(1, "error"));
    scene.session.say({ id: 1, result: {} });
    scene.session.die("gone");
    scene.take();
    const sent = scene.send(call(2));
    await scene.answerHandshake();
    await sent;
    expect(scene.take().map(({ method }) => method)).toEqual(["notifications/tools/list_changed"]);
  });
});

describe("a pause", () => {
  const progress = (scene: Scene) => scene.take().map(({ params }) => params as { progress: number; message?: string });
  const withToken = (id: number) => call(id, { _meta: { progressToken: `t${id}` } });
  const real = (n: number, more: Json = {}) => ({
    method: "notifications/progress",
    params: { progressToken: "t1", progress: n, ...more },
  });

  test("gives progress to those who asked for it, always rising, also when the server's own goes on", async () => {
    const scene = await open();
    await scene.send(withToken(1));
    await scene.send(call(2));
    scene.session.say(real(3, { total: 10 }));
    expect(progress(scene)).toHaveLength(1);
    scene.session.lose(scene.clock);
    scene.pass(1_000);
    expect(scene.take()).toEqual([]);
    for (let i = 0; i < 100; i++) scene.pass(5_000);
    const ours = progress(scene);
    expect(ours).toHaveLength(100);
    expect(ours[0]).toMatchObject({ progressToken: "t1", total: 10 });
    expect(ours[0]?.message).toBe('mcpgate: reconnecting to "app"');
    let last = 3;
    for (const { progress: n } of ours) {
      expect(n).toBeGreaterThan(last);
      last = n;
    }
    expect(last).toBeLessThan(3.001);
    scene.session.pause = undefined;
    scene.session.say(real(3), real(4));
    expect(progress(scene).map((each) => each.progress)).toEqual([4]);
    scene.pass(1_000);
    expect(scene.ticking).toBe(false);
  });

  test("a server's own numbers are passed as they are, rising or not", async () => {
    const scene = await open();
    await scene.send(withToken(1));
    scene.session.say(real(3), real(2), real(2));
    expect(progress(scene).map((each) => each.progress)).toEqual([3, 2, 2]);
  });

  test("lets requests wait, and ends after the resume window with an answer for each", async () => {
    const scene = await open();
    scene.session.resumeWindowMs = 5_000;
    await scene.send(call(1));
    scene.session.lose(scene.clock);
    await scene.send(call(2));
    expect(scene.session.received.at(-1)).toMatchObject({ id: 2 });
    scene.pass(5_000);
    expect(scene.take()).toEqual([]);
    const pause = scene.session.pause;
    if (pause !== undefined) pause.failure = new Failure("unreachable", "can't reach the proxy");
    scene.pass(1);
    const answers = scene.take();
    expect(answers.map(({ id }) => id)).toEqual([1, 2]);
    expect(errorOf(answers[0])).toMatchObject({
      code: -31001,
      message: expect.stringContaining("can't reach the proxy"),
      data: { code: "unavailable" },
    });
  });

  test("that nobody waits in goes on for ever; who asks after the window is told at once", async () => {
    const scene = await open();
    scene.session.lose(scene.clock);
    scene.pass(10_000_000);
    expect(scene.session.closedWith).toBeUndefined();
    const before = scene.session.received.length;
    await scene.send(call(1));
    expect(errorOf(scene.take()[0])).toMatchObject({ code: -31005, data: { code: "unavailable" } });
    expect(scene.session.received.length).toBe(before);
    scene.session.pause = undefined;
    await scene.send(call(2));
    expect(scene.session.received.at(-1)).toMatchObject({ id: 2 });
  });

  test("for a login answers new requests with the command, while open ones wait", async () => {
    const scene = await open();
    await scene.send(withToken(1));
    const expired = new Failure("login_expired", "the login has expired", { hint: "mcpgate client login" });
    scene.session.lose(scene.clock, expired, true);
    await scene.send(call(2));
    await scene.send(call(1));
    expect(scene.take()).toMatchObject([
      { id: 2, error: { data: { code: "login_expired", hint: "mcpgate client login" } } },
      { id: null, error: { data: { code: "login_expired" } } },
    ]);
    scene.pass(5_000);
    expect(progress(scene)[0]?.message).toContain("the login has expired; mcpgate client login");
    scene.session.pause = undefined;
    await scene.send(call(3));
    scene.session.say({ id: 1, result: {} }, { id: 3, result: {} });
    expect(scene.take().map(({ id }) => id)).toEqual([1, 3]);
  });

  test("a line that waits for room is let go when requests are refused anyway", async () => {
    const scene = await open();
    scene.session.room = false;
    const stuck = scene.send(call(1));
    await Bun.sleep(0);
    scene.session.lose(scene.clock, new Failure("login_expired", "the login has expired"), true);
    scene.pass(1_000);
    await stuck;
    await scene.send(call(2));
    expect(scene.take()).toMatchObject([{ id: 2 }]);
  });

  test("after the input's end is given up soon where nothing is open", async () => {
    const scene = await open();
    const ended = scene.bridge.end();
    await Bun.sleep(0);
    expect(scene.session.ended).toBe(true);
    scene.session.lose(scene.clock);
    scene.pass(1_000);
    expect(scene.session.closedWith).toBeUndefined();
    scene.pass(1_000);
    await ended;
    expect(scene.session.closedWith?.message).toBe("the client ended the session");
  });
});

test("a request that waits for a slow session gets progress, and what is not understood gets an error", async () => {
  const scene = new Scene();
  const sent = scene.send(call(1, { _meta: { progressToken: 1 } }));
  scene.pass(5_000);
  expect(scene.take()).toMatchObject([
    { params: { progressToken: 1, message: 'mcpgate: opening a session with "app"' } },
  ]);
  scene.session.opened.reject(new Failure("unreachable", "no proxy"));
  await sent;
  await scene.bridge.fromClient({ bytes: new TextEncoder().encode('{"jsonrpc":"2.0","id":4,"method":5}\n') });
  expect(scene.take()).toMatchObject([{ id: 1 }, { id: 4, error: { code: -32600 } }]);
});
