/**
 * The built-in demo MCP server, on stdio: small, real, with something to read and something to write, so that a role
 * that allows `read_*` shows a difference. Speaks the revisions with the `initialize` handshake and the one without.
 * Its notes live in memory: each session has a server, and so notes, of its own.
 */
import { loadHostUserById } from "../agent/host-user.ts";
import { VERSION } from "../version.ts";

export const DEMO_SERVER_NAME = "mcpgate-demo";

const WELCOME = "This note was read through mcpgate: the server runs on the agent's host, not on your machine.";

/** Serves on this process's stdin and stdout; resolves at the end of stdin. */
export async function runDemoServer(): Promise<void> {
  // Here and not above: no other command should load the SDK.
  const [{ McpServer, fromJsonSchema }, { serveStdio }] = await Promise.all([
    import("@modelcontextprotocol/server"),
    import("@modelcontextprotocol/server/stdio"),
  ]);
  const notes = new Map([["welcome", WELCOME]]);

  const handle = serveStdio(() => {
    const server = new McpServer(
      { name: DEMO_SERVER_NAME, version: VERSION },
      { instructions: "A demo: notes to read and write, and a look at the host that this server runs on." },
    );

    server.registerTool(
      "read_note",
      {
        title: "Read a note",
        description: "Reads a note, or lists the names of all notes when no name is given",
        inputSchema: fromJsonSchema<{ name?: string }>(object({ name: { type: "string" } }, [])),
        annotations: { readOnlyHint: true },
      },
      ({ name }) => {
        if (name === undefined) return text([...notes.keys()].join("\n"));
        const note = notes.get(name);
        return note === undefined ? failed(`there is no note "${name}"`) : text(note);
      },
    );

    server.registerTool(
      "read_host_info",
      {
        title: "Look at the host",
        description: "Shows which host user this server runs as: name, uid, gid, groups, home, working directory, pid",
        inputSchema: fromJsonSchema<object>(object({}, [])),
        annotations: { readOnlyHint: true },
      },
      async () => text(JSON.stringify(await hostInfo(), null, 2)),
    );

    server.registerTool(
      "write_note",
      {
        title: "Write a note",
        description: "Writes a note, for as long as this session lasts",
        inputSchema: fromJsonSchema<{ name: string; text: string }>(
          object({ name: { type: "string", maxLength: 100 }, text: { type: "string", maxLength: 10_000 } }, [
            "name",
            "text",
          ]),
        ),
      },
      (note) => {
        if (notes.size >= MAX_NOTES && !notes.has(note.name)) return failed(`there are ${MAX_NOTES} notes already`);
        notes.set(note.name, note.text);
        return text(`wrote note "${note.name}"`);
      },
    );

    server.registerTool(
      "echo",
      {
        title: "Echo",
        description: "Answers with the message that it was given",
        inputSchema: fromJsonSchema<{ message: string }>(object({ message: { type: "string" } }, ["message"])),
        annotations: { readOnlyHint: true },
      },
      ({ message }) => text(message),
    );

    server.registerTool(
      "slow_count",
      {
        title: "Count slowly",
        description: "Counts, with progress on the way; can be cancelled",
        inputSchema: fromJsonSchema<{ to?: number; step_ms?: number }>(
          object(
            {
              to: { type: "integer", minimum: 1, maximum: 1000, default: 5 },
              step_ms: { type: "integer", minimum: 1, maximum: 10_000, default: 500 },
            },
            [],
          ),
        ),
        annotations: { readOnlyHint: true },
      },
      async ({ to = 5, step_ms = 500 }, { mcpReq }) => {
        const progressToken = mcpReq._meta?.progressToken;
        for (let progress = 1; progress <= to; progress++) {
          // Before the pause: a client may forget whom to tell when the result comes in the same breath.
          if (progressToken !== undefined) {
            await mcpReq.notify({
              method: "notifications/progress",
              params: { progressToken, progress, total: to, message: `counting: ${progress} of ${to}` },
            });
          }
          await pause(step_ms, mcpReq.signal);
          if (mcpReq.signal.aborted) return failed(`cancelled at ${progress}`);
        }
        return text(`counted to ${to}`);
      },
    );

    server.registerPrompt(
      "summarize_notes",
      { title: "Summarize the notes", description: "Asks for a summary of all notes" },
      () => {
        const all = [...notes].map(([name, note]) => `## ${name}\n${note}`).join("\n\n");
        return { messages: [{ role: "user", content: { type: "text", text: `Summarize these notes:\n\n${all}` } }] };
      },
    );

    server.registerResource(
      "welcome",
      "note://welcome",
      { title: "The welcome note", description: "The note that is there from the start", mimeType: "text/plain" },
      (uri) => ({ contents: [{ uri: uri.href, mimeType: "text/plain", text: notes.get("welcome") ?? "" }] }),
    );

    return server;
  });

  await new Promise<void>((resolve) => {
    process.stdin.once("end", resolve);
    process.stdin.once("close", resolve);
  });
  await handle.close();
}

const MAX_NOTES = 1000;

const object = (properties: Record<string, object>, required: string[]) => ({
  type: "object" as const,
  properties,
  required,
  additionalProperties: false,
});

const text = (value: string) => ({ content: [{ type: "text" as const, text: value }] });

const failed = (reason: string) => ({ ...text(reason), isError: true });

async function hostInfo(): Promise<Record<string, unknown>> {
  const [uid, gid] = [process.getuid?.(), process.getgid?.()];
  const user = uid === undefined || gid === undefined ? undefined : await loadHostUserById(uid, gid);
  return {
    host_user: user?.name,
    uid,
    gid,
    groups: process.getgroups?.(),
    home: process.env.HOME,
    cwd: process.cwd(),
    pid: process.pid,
  };
}

/** Resolves after that time, or at once when the request is cancelled. */
const pause = (ms: number, signal: AbortSignal): Promise<void> =>
  new Promise((resolve) => {
    if (signal.aborted) return resolve();
    const done = (): void => {
      clearTimeout(timer);
      signal.removeEventListener("abort", done);
      resolve();
    };
    const timer = setTimeout(done, ms);
    signal.addEventListener("abort", done);
  });
