/** `mcpgate tokens add | ls | rm` */
import { formatDuration, parseDuration } from "../config/duration.ts";
import { shellQuote } from "../config/shell-quote.ts";
import { Failure } from "../errors.ts";
import { withAdminApi } from "./admin.ts";
import { command, configFlag, formatFlag } from "./command.ts";
import { installLine, type ProxyTrust } from "./install-line.ts";
import { printListing, utc } from "./listing.ts";
import { render } from "./output.ts";

interface Token {
  id: string;
  type: string;
  method?: string;
  created_at: string;
  /** Null: one that is no secret, until it is removed. */
  expires_at: string | null;
  created_by: string;
}

interface NewToken extends Token, ProxyTrust {
  token: string;
  expires_at: string;
}

export const add = command({
  args: {
    type: { type: "enum", options: ["app"], required: true, description: "what joins with it" },
    ttl: {
      type: "string",
      valueHint: "30m",
      description: "how long it is good for (30m unless given, 24h at the most)",
    },
    format: {
      type: "enum",
      options: ["text", "json", "yaml"],
      description: "text: the token and nothing else; without it, also the line that sets up a host",
    },
    ...configFlag,
  },
  about: "Agents join with it until it expires; what has joined stays. The proxy keeps its hash only.",
  // a file of a name that everybody knows, in a directory that everybody may write, is everybody's to read
  examples: [
    "mcpgate tokens add --type=app",
    'token=$(mktemp); mcpgate tokens add --type=app --ttl=2h --format=text >"$token"',
  ],
  async run(context, { type, ttl, format, config }) {
    const seconds = ttl === undefined ? undefined : parseDuration(ttl);
    if (ttl !== undefined && seconds === undefined) {
      throw new Failure("usage", `--ttl=${ttl} is no duration`, { hint: "like --ttl=90s, --ttl=30m or --ttl=2h" });
    }
    const body = { type, ...(seconds === undefined ? {} : { ttl_seconds: seconds }) };
    const made = await withAdminApi(context, config, (api) => api.call<NewToken>("POST", "/v1/api/tokens", body));
    await context.out.print(
      format === undefined ? instructions(made) : await render(format, made, () => `${made.token}\n`),
    );
  },
});

export const ls = command({
  args: { ...formatFlag, ...configFlag },
  async run(context, { format, config }) {
    const { tokens } = await withAdminApi(context, config, (api) =>
      api.call<{ tokens: Token[] }>("GET", "/v1/api/tokens"),
    );
    await printListing(context, format, {
      items: tokens,
      headers: ["ID", "Type", "Method", "Expiry Time (UTC)", "Created By"],
      row: ({ id, type, method = "token", expires_at, created_by }) => [
        ...[id, type, method, expires_at === null ? "never" : utc(expires_at), created_by],
      ],
      empty: "no active tokens",
    });
  },
});

export const rm = command({
  args: {
    token: { type: "positional", description: "its id, as `mcpgate tokens ls` shows it, or the token itself" },
    ...configFlag,
  },
  async run(context, { token, config }) {
    const { id } = await withAdminApi(context, config, (api) =>
      api.call<{ id: string }>("POST", "/v1/api/tokens/revoke", { token }),
    );
    await context.out.print(`Token ${id} has been deleted\n`);
  },
});

/**
 * What to run, as it stands. The token is written by the shell itself into a file that is new and its owner's alone
 * (mktemp): on an argument list or under a name that somebody could guess, others would see it or put a file of theirs there.
 */
function instructions(made: NewToken): string {
  const { token, created_at, expires_at, public_addr, ca_pin } = made;
  const ttl = formatDuration(Math.round((Date.parse(expires_at) - Date.parse(created_at)) / 1000));
  const file = `t=$(mktemp) && printf '%s\\n' ${shellQuote(token)} >"$t"`;
  const pin = ca_pin === undefined ? "" : ` --ca-pin=${ca_pin}`;
  return `\
The join token: ${token}
It expires in ${ttl}, at ${utc(expires_at)} UTC.

Run this on the host that is to run MCP servers:

${file} && ${installLine(made, 'sudo bash -s -- --token="$t"')}

It installs mcpgate from this proxy, writes /etc/mcpgate.yaml and starts the agent, now and at each boot.
Or, as root on a host that has mcpgate already:

${file} && mcpgate agent configure --proxy=${public_addr} --token="$t"${pin} -o /etc/mcpgate.yaml && mcpgate agent start

Then put your own MCP servers in the place of the app "demo" in /etc/mcpgate.yaml.
Once it has joined, the agent has a key of its own and needs the token no more.
`;
}
