/** `mcpgate apps ls | pins | approve` */
import { Failure } from "../errors.ts";
import { withAdminApi } from "./admin.ts";
import { command, configFlag, formatFlag } from "./command.ts";
import { printListing, segment } from "./listing.ts";
import { render } from "./output.ts";

interface App {
  name: string;
  agent: string;
  online: boolean;
  description: string;
  labels: Record<string, string>;
  tools: number;
  pending: number;
  resource: boolean;
}

/** An app resource that an agent does not run. */
interface Refused {
  name: string;
  agent: string;
  reason: string;
}

interface Pin {
  agent: string;
  tool: string;
  enforce: boolean;
  pinned: string | null;
  pending: string | null;
  diff: string[];
  approved_by: string | null;
  approved_at: string | null;
}

export const ls = command({
  args: { ...formatFlag, ...configFlag },
  async run(context, { format, config }) {
    const { apps, refused } = await withAdminApi(context, config, (api) =>
      api.call<{ apps: App[]; refused: Refused[] }>("GET", "/v1/api/apps"),
    );
    await printListing(context, format, {
      items: apps,
      headers: ["Name", "Agent", "Status", "From", "Tools Pinned", "To Approve", "Description"],
      row: ({ name, agent, online, resource, tools, pending, description }) => [
        name,
        agent,
        online ? "online" : "offline",
        resource ? "resource" : "agent",
        String(tools - pending),
        String(pending),
        description,
      ],
      empty: "no app is offered",
    });
    if (format !== "text") return;
    for (const { name, agent, reason } of refused) context.out.notice(`agent ${agent} refuses ${name}: ${reason}`);
  },
});

const appArg = { type: "positional", description: "the app, as `mcpgate apps ls` names it" } as const;

export const pins = command({
  args: { name: appArg, ...formatFlag, ...configFlag },
  about:
    "The definitions that the app's agent has seen; below the table, what is new or has changed and waits for approval.",
  async run(context, { name, format, config }) {
    const { pins } = await withAdminApi(context, config, (api) => getPins(api, name));
    await printListing(context, format, {
      items: pins,
      headers: ["Tool", "Agent", "State", "Definition"],
      row: (pin) => [pin.tool, pin.agent, stateOf(pin), (pin.pending ?? pin.pinned ?? "").slice(0, 16)],
      empty: "no tool has been seen yet",
    });
    const waiting = pins.filter(({ pending }) => pending !== null);
    if (format === "text" && waiting.length > 0) {
      await context.out.print(`\n${waiting.map(diffText).join("\n")}`);
      context.out.notice(`to approve: mcpgate apps approve ${name}`);
    }
  },
});

export const approve = command({
  args: {
    name: appArg,
    tool: { type: "string", valueHint: "TOOL", description: "only this tool (all that wait, unless given)" },
    ...formatFlag,
    ...configFlag,
  },
  about: "Approves the tool definitions that wait, and prints them. What changes in the meantime waits again.",
  examples: ["mcpgate apps pins billing", "mcpgate apps approve billing --tool=transfer"],
  async run(context, { name, tool, format, config }) {
    const { approved, waiting } = await withAdminApi(context, config, async (api) => {
      const all = (await getPins(api, name)).pins;
      const waiting = all.filter((pin) => pin.pending !== null && (tool === undefined || pin.tool === tool));
      if (waiting.length === 0) {
        if (tool !== undefined && !all.some((pin) => pin.tool === tool)) {
          throw new Failure("not_found", `no tool ${tool} of ${name} has been seen`, {
            hint: `mcpgate apps pins ${name}`,
          });
        }
        return { approved: [], waiting };
      }
      const tools = waiting.map((pin) => ({ tool: pin.tool, hash: pin.pending }));
      const path = `/v1/api/apps/${segment(name)}/approve`;
      const { approved } = await api.call<{ approved: { agent: string; tool: string; hash: string }[] }>("POST", path, {
        tools,
      });
      return { approved, waiting };
    });
    const shown = waiting.filter((pin) => approved.some(({ tool, agent }) => tool === pin.tool && agent === pin.agent));
    await context.out.print(
      await render(format, approved, () => `${shown.map(diffText).join("\n")}${summary(approved.length, name)}`),
    );
  },
});

const getPins = (api: { call<T>(method: "GET", path: string): Promise<T> }, name: string) =>
  api.call<{ pins: Pin[] }>("GET", `/v1/api/apps/${segment(name)}/pins`);

const summary = (count: number, app: string): string =>
  count === 0
    ? `Nothing of ${app} waits for approval\n`
    : `${count} ${count === 1 ? "tool" : "tools"} of ${app} ${count === 1 ? "has" : "have"} been approved\n`;

function stateOf({ pinned, pending, enforce }: Pin): string {
  if (pending === null) return "pinned";
  return `${pinned === null ? "new" : "changed"}${enforce ? ", hidden" : ""}`;
}

const diffText = (pin: Pin): string =>
  `${pin.tool} on ${pin.agent} (${stateOf(pin)})\n${pin.diff.map((line) => `  ${line}\n`).join("")}`;
