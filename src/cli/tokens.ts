/** `mcpgate tokens add | ls | rm` */
import { formatDuration, parseDuration } from "../config/duration.ts";
import { Failure } from "../errors.ts";
import { withAdminApi } from "./admin.ts";
import { command, configFlag, formatFlag } from "./command.ts";
import { printListing, utc } from "./listing.ts";
import { render } from "./output.ts";

interface Token {
  id: string;
  type: string;
  created_at: string;
  expires_at: string;
  created_by: string;
}

interface NewToken extends Token {
  token: string;
  public_addr: string;
  ca_pin?: string;
}

export const add = command({
  args: {
    type: { type: "enum", options: ["app"], required: true, description: "what joins with it" },
    ttl: { type: "string", valueHint: "30m", description: "how long it is good for (30m unless given)" },
    format: {
      type: "enum",
      options: ["text", "json", "yaml"],
      description: "text: the token and nothing else; without it, also what to run on the host",
    },
    ...configFlag,
  },
  about: "Agents join with it until it expires; what has joined stays. The proxy keeps its hash only.",
  examples: ["mcpgate tokens add --type=app", "mcpgate tokens add --type=app --ttl=2h --format=text >/tmp/token"],
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
      headers: ["ID", "Type", "Expiry Time (UTC)", "Created By"],
      row: ({ id, type, expires_at, created_by }) => [id, type, utc(expires_at), created_by],
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
 * What to run on the host, as it stands. A file that is there already stays (`set -C`): it may be the proxy's own. The
 * token is in the new file, so nobody else may read it (`umask`).
 */
function instructions({ token, created_at, expires_at, public_addr, ca_pin }: NewToken): string {
  const ttl = formatDuration(Math.round((Date.parse(expires_at) - Date.parse(created_at)) / 1000));
  return `\
The join token: ${token}
It expires in ${ttl}, at ${utc(expires_at)} UTC.

Run this as root on the host that is to run MCP servers:

(umask 077; set -C; cat >/etc/mcpgate.yaml) <<'EOF' && mcpgate agent start
version: v1
mcpgate:
  proxy_server: "${public_addr}"
${ca_pin === undefined ? "" : `  ca_pin: ${ca_pin}\n`}  join_params: {method: token, token_name: "${token}"}
app_service:
  enabled: true
  apps:
    - name: demo
      description: the MCP server that mcpgate brings along
      labels: {env: demo}
      mcp:
        command: mcpgate
        args: ["demo-server"]
        run_as_host_user: nobody
EOF

Then put your own MCP servers in the place of the app "demo" in /etc/mcpgate.yaml.
Once it has joined, the agent has a key of its own and needs the token no more.
`;
}
