/** What somebody who has proven nothing yet may send. */
import { expect, test } from "bun:test";
import { type Endpoint, Socket, type Ws } from "../../src/proxy/socket.ts";
import { Tally } from "../../src/proxy/tally.ts";

function scene(maxAnswer: number) {
  const said: string[] = [];
  const answers: string[] = [];
  const endpoint: Endpoint = {
    maxAnswer,
    tally: new Tally(),
    onAnswer: async (_, text) => void answers.push(text),
    onText: () => {},
    onClose: () => {},
  };
  const ws = {
    data: { socket: undefined, endpoint, remote: "192.0.2.1", known: () => {} },
    sendText: (text: string) => void said.push(text),
    close: () => {},
  } as unknown as Ws;
  return { socket: new Socket(ws), said, answers };
}

test("the first message is looked at only where it is as short as it should be", () => {
  const { socket, said, answers } = scene(10);
  socket.onMessage("x".repeat(11));
  expect(answers).toEqual([]);
  expect(JSON.parse(said[1] ?? "")).toMatchObject({ t: "refused", code: "invalid" });
  expect(socket.closed).toBe(true);
  socket.onMessage("x");
  expect(answers).toEqual([]);
});

test("only the first message is an answer", () => {
  const { socket, answers } = scene(10);
  socket.onMessage(Buffer.from("a frame"));
  socket.onMessage("x".repeat(10));
  socket.onMessage("y");
  expect(answers).toEqual(["x".repeat(10)]);
  socket.close("done");
});
