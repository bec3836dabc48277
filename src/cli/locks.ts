/** `mcpgate locks add | ls | rm` */
import { parseDuration } from "../config/duration.ts";
import { Failure } from "../errors.ts";
import { withAdminApi } from "./admin.ts";
import { command, configFlag, formatFlag } from "./command.ts";
import { printListing, segment, utc } from "./listing.ts";
import { render } from "./output.ts";

interface Lock {
  name: string;
  target: { kind: string; name: string };
  message: string;
  expires_at: string | null;
  created_at: string;
  created_by: string;
}

const targetFlag = (what: string) => ({ type: "string", valueHint: "NAME", description: what }) as const;

export const add = command({
  args: {
    user: targetFlag("a user: no login, no session, no admin operation"),
    role: targetFlag("everybody who holds the role"),
    app: targetFlag("an MCP server"),
    agent: targetFlag("an agent with all that it offers"),
    ttl: { type: "string", valueHint: "30m", description: "how long it holds (until it is removed, unless given)" },
    message: { type: "string", valueHint: "TEXT", description: "what those hear whom it shuts out" },
    ...formatFlag,
    ...configFlag,
  },
  about:
    "Takes one of --user, --role, --app and --agent. What it shuts out ends within a second, and does not begin again.",
  examples: [
    "mcpgate locks add --user=alice --message='laptop stolen'",
    "mcpgate locks add --app=billing --ttl=2h --message='restoring a backup'",
  ],
  async run(context, args) {
    const kinds = (["user", "role", "app", "agent"] as const).filter((kind) => args[kind] !== undefined);
    const [kind] = kinds;
    if (kind === undefined || kinds.length > 1) {
      throw new Failure("usage", "a lock takes one of --user, --role, --app and --agent", {
        hint: "mcpgate locks add --help",
      });
    }
    const seconds = args.ttl === undefined ? undefined : parseDuration(args.ttl);
    if (args.ttl !== undefined && seconds === undefined) {
      throw new Failure("usage", `--ttl=${args.ttl} is no duration`, { hint: "like --ttl=90s, --ttl=30m or --ttl=2h" });
    }
    const spec = {
      target: { [kind]: args[kind] },
      ...(args.message === undefined ? {} : { message: args.message }),
      ...(seconds === undefined ? {} : { ttl_seconds: seconds }),
    };
    const lock = await withAdminApi(context, args.config, (api) =>
      api.call<Lock>("POST", "/v1/api/locks", { kind: "lock", version: "v2", spec }),
    );
    await context.out.print(await render(args.format, lock, () => `Lock ${lock.name} has been created\n`));
  },
});

export const ls = command({
  args: { ...formatFlag, ...configFlag },
  async run(context, { format, config }) {
    const { locks } = await withAdminApi(context, config, (api) => api.call<{ locks: Lock[] }>("GET", "/v1/api/locks"));
    await printListing(context, format, {
      items: locks,
      headers: ["ID", "Target", "Message", "Expires (UTC)", "Created By"],
      row: ({ name, target, message, expires_at, created_by }) => [
        name,
        `${target.kind}/${target.name}`,
        message,
        expires_at === null ? "never" : utc(expires_at),
        created_by,
      ],
      empty: "no locks",
    });
  },
});

export const rm = command({
  args: {
    id: { type: "positional", description: "the lock, as `mcpgate locks ls` names it" },
    ...configFlag,
  },
  about: "Whoever it shut out may come again; sessions that it ended stay ended.",
  async run(context, { id, config }) {
    const { name } = await withAdminApi(context, config, (api) =>
      api.call<{ name: string }>("DELETE", `/v1/api/locks/${segment(id)}`),
    );
    await context.out.print(`Lock ${name} has been removed\n`);
  },
});
