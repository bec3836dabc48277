/** `mcpgate users add | ls | update | invite | rm` */
import { Failure } from "../errors.ts";
import { withAdminApi } from "./admin.ts";
import { command, configFlag, formatFlag } from "./command.ts";
import { installLine, installLineWindows, type ProxyTrust } from "./install-line.ts";
import { printListing, segment, utc } from "./listing.ts";
import { render } from "./output.ts";

interface User {
  name: string;
  roles: string[];
  traits: Record<string, string[]>;
  /** `active`, or `invited` while there is no password yet. */
  status: string;
  created_at: string;
}

interface Invite extends ProxyTrust {
  name: string;
  invite_url: string;
  invite_expires_at: string;
}

const name = { type: "positional", description: "the user's name" } as const;

const traitFlags = {
  "set-trait": {
    type: "string",
    valueHint: "NAME=VALUE,…",
    description: "traits, for templates in roles; may be repeated, `NAME=` holds nothing",
    repeatable: true,
  },
  "set-mcp-tools": {
    type: "string",
    valueHint: "TOOL,…",
    description: "what {{internal.mcp_tools}} in a role stands for",
  },
} as const;

export const add = command({
  args: {
    name,
    roles: { type: "string", required: true, valueHint: "ROLE,…", description: "what the user may do" },
    ...traitFlags,
    ...formatFlag,
    ...configFlag,
  },
  about: "Prints an invite with which the user sets a password. It is good once, for an hour.",
  examples: [
    "mcpgate users add alice --roles=mcp-user",
    "mcpgate users add bob --roles=team --set-trait=team=data,ops",
  ],
  async run(context, args) {
    const body = { name: args.name, roles: wordList("roles", args.roles), ...traitsOf(args) };
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
      headers: ["User", "Roles", "Traits", "Status", "Created (UTC)"],
      row: (user) => [user.name, user.roles.join(","), traitText(user.traits), user.status, utc(user.created_at)],
      empty: "no users yet: mcpgate users add NAME --roles=mcp-user",
    });
  },
});

export const update = command({
  args: {
    name,
    "set-roles": { type: "string", valueHint: "ROLE,…", description: "the roles from now on" },
    ...traitFlags,
    "unset-trait": { type: "string", valueHint: "NAME,…", description: "traits to take away" },
    ...configFlag,
  },
  about: "Live sessions of the user follow within a second. Traits that are not named stay as they are.",
  examples: [
    "mcpgate users update alice --set-roles=mcp-user,auditor",
    "mcpgate users update alice --set-mcp-tools='*'",
    "mcpgate users update alice --set-trait=team=data,ops --set-trait=unix_login=alice",
  ],
  async run(context, args) {
    const roles = args["set-roles"] === undefined ? {} : { roles: wordList("set-roles", args["set-roles"]) };
    const body = { ...roles, ...traitsOf(args) };
    if (Object.keys(body).length === 0) {
      throw new Failure("usage", "nothing to change", { hint: "mcpgate users update --help" });
    }
    const user = await withAdminApi(context, args.config, (api) =>
      api.call<User>("PATCH", `/v1/api/users/${segment(args.name)}`, body),
    );
    const traits = Object.keys(user.traits).length === 0 ? "" : `, traits ${traitText(user.traits)}`;
    await context.out.print(`User ${user.name} has been updated: roles ${user.roles.join(",")}${traits}\n`);
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

function wordList(flag: string, text: string): string[] {
  const words = text.split(",").map((word) => word.trim());
  if (!words.includes("")) return [...new Set(words)];
  const like = flag.endsWith("roles") ? "mcp-user,auditor" : flag === "set-mcp-tools" ? "read_*,search" : "team";
  throw new Failure("usage", `--${flag} has an empty name in it`, { hint: `like --${flag}=${like}` });
}

interface TraitArgs {
  "set-trait"?: string | undefined;
  "set-mcp-tools"?: string | undefined;
  "unset-trait"?: string | undefined;
}

/** What the flags say of traits: new values, or null for a trait that goes. */
function traitsOf(args: TraitArgs): { traits?: Record<string, string[] | null> } {
  const set = args["set-trait"] === undefined ? [] : parseTraitFlag(args["set-trait"]);
  const tools = args["set-mcp-tools"];
  const unset = args["unset-trait"] === undefined ? [] : wordList("unset-trait", args["unset-trait"]);
  const all: [string, string[] | null][] = [
    ...set,
    ...(tools === undefined ? [] : [["mcp_tools", wordList("set-mcp-tools", tools)] satisfies [string, string[]]]),
    ...unset.map((name): [string, null] => [name, null]),
  ];
  const names = all.map(([name]) => name);
  const twice = names.find((name, index) => names.indexOf(name) !== index);
  if (twice !== undefined)
    throw new Failure("usage", `the trait ${twice} is both set and set otherwise, or taken away`);
  return all.length === 0 ? {} : { traits: Object.fromEntries(all) };
}

/** `team=data,ops,unix_login=alice`: a word without `=` is one more value of the trait before it. */
function parseTraitFlag(text: string): [string, string[]][] {
  const traits = new Map<string, string[]>();
  let values: string[] | undefined;
  for (const word of text.split(",")) {
    const equals = word.indexOf("=");
    const name = equals < 0 ? undefined : word.slice(0, equals).trim();
    if (name !== undefined) {
      values = traits.get(name) ?? [];
      traits.set(name, values);
    }
    const value = word.slice(equals + 1).trim();
    if (values === undefined || name === "" || (name === undefined && value === "")) {
      throw new Failure("usage", `--set-trait: ${JSON.stringify(text)} is no list of traits`, {
        hint: "like --set-trait=team=data,ops",
      });
    }
    if (value !== "" && !values.includes(value)) values.push(value);
  }
  return [...traits];
}

/** `team=data,ops unix_login=alice`. */
const traitText = (traits: Record<string, string[]>): string =>
  Object.entries(traits)
    .map(([name, values]) => `${name}=${values.join(",")}`)
    .join(" ");

function inviteText(head: string, invite: Invite): string {
  const { invite_url, public_addr, ca_pin } = invite;
  const pin = ca_pin === undefined ? "" : ` --ca-pin=${ca_pin}`;
  return `\
${head} Share this URL with the user to complete user setup, link is valid for 1h:
${invite_url}

The user runs:
  mcpgate client accept-invite '${invite_url}'${pin}

Who has no mcpgate yet installs it first, on Linux or macOS:
  ${installLine(invite, "bash")}
or on Windows, in PowerShell:
  ${installLineWindows(invite)}

NOTE: Make sure ${public_addr} points at an mcpgate proxy which users can access.
`;
}
