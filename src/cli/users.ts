/** `mcpgate users add | ls | update | invite | rm` */
import { Failure } from "../errors.ts";
import { withAdminApi } from "./admin.ts";
import { command, configFlag, formatFlag } from "./command.ts";
import { printListing, segment, utc } from "./listing.ts";
import { render } from "./output.ts";

interface User {
  name: string;
  roles: string[];
  /** `active`, or `invited` while there is no password yet. */
  status: string;
  created_at: string;
}

interface Invite {
  name: string;
  invite_url: string;
  invite_expires_at: string;
  public_addr: string;
  ca_pin?: string;
}

const name = { type: "positional", description: "the user's name" } as const;

export const add = command({
  args: {
    name,
    roles: { type: "string", required: true, valueHint: "ROLE,…", description: "what the user may do" },
    ...formatFlag,
    ...configFlag,
  },
  about: "Prints an invite with which the user sets a password. It is good once, for an hour.",
  examples: ["mcpgate users add alice --roles=mcp-user"],
  async run(context, args) {
    const body = { name: args.name, roles: roleList("roles", args.roles) };
    const user = await withAdminApi(context, args.config, (api) =>
      api.call<User & Invite>("POST", "/v1/api/users", body),
    );
    const head = `User "${user.name}" has been created but requires a password.`;
    await context.out.print(await render(args.format, user, () => inviteText(head, user)));
  },
});

export const invite = command({
  args: { name, ...formatFlag, ...configFlag },
  about: "For an invite that ran out, or a forgotten password; the older invite is void.",
  examples: ["mcpgate users invite alice"],
  async run(context, args) {
    const made = await withAdminApi(context, args.config, (api) =>
      api.call<Invite>("POST", `/v1/api/users/${segment(args.name)}/invite`),
    );
    const head = `User "${made.name}" has a new invite.`;
    await context.out.print(await render(args.format, made, () => inviteText(head, made)));
  },
});

export const ls = command({
  args: { ...formatFlag, ...configFlag },
  async run(context, { format, config }) {
    const { users } = await withAdminApi(context, config, (api) => api.call<{ users: User[] }>("GET", "/v1/api/users"));
    await printListing(context, format, {
      items: users,
      headers: ["User", "Roles", "Status", "Created (UTC)"],
      row: (user) => [user.name, user.roles.join(","), user.status, utc(user.created_at)],
      empty: "no users yet: mcpgate users add NAME --roles=mcp-user",
    });
  },
});

export const update = command({
  args: {
    name,
    "set-roles": { type: "string", required: true, valueHint: "ROLE,…", description: "the roles from now on" },
    ...configFlag,
  },
  about: "Live sessions of the user follow within a second.",
  examples: ["mcpgate users update alice --set-roles=mcp-user,auditor"],
  async run(context, args) {
    const body = { roles: roleList("set-roles", args["set-roles"]) };
    const user = await withAdminApi(context, args.config, (api) =>
      api.call<User>("PATCH", `/v1/api/users/${segment(args.name)}`, body),
    );
    await context.out.print(`User ${user.name} has been updated: roles ${user.roles.join(",")}\n`);
  },
});

export const rm = command({
  args: { name, ...configFlag },
  async run(context, args) {
    const removed = await withAdminApi(context, args.config, (api) =>
      api.call<{ name: string }>("DELETE", `/v1/api/users/${segment(args.name)}`),
    );
    await context.out.print(`User ${removed.name} has been deleted\n`);
  },
});

function roleList(flag: string, text: string): string[] {
  const roles = text.split(",").map((role) => role.trim());
  if (!roles.includes("")) return [...new Set(roles)];
  throw new Failure("usage", `--${flag} has an empty name in it`, { hint: `like --${flag}=mcp-user,auditor` });
}

function inviteText(head: string, { invite_url, public_addr, ca_pin }: Invite): string {
  const pin = ca_pin === undefined ? "" : ` --ca-pin=${ca_pin}`;
  return `\
${head} Share this URL with the user to complete user setup, link is valid for 1h:
${invite_url}

The user runs:
  mcpgate client accept-invite '${invite_url}'${pin}

NOTE: Make sure ${public_addr} points at an mcpgate proxy which users can access.
`;
}
