/** `mcpgate sessions ls | kill` */
import { withAdminApi } from "./admin.ts";
import { command, configFlag, formatFlag } from "./command.ts";
import { printListing, segment, utc } from "./listing.ts";

interface Session {
  sid: string;
  user: string;
  app: string;
  agent: string;
  remote: string;
  started_at: string;
  last_seen_at: string;
}

export const ls = command({
  args: { ...formatFlag, ...configFlag },
  async run(context, { format, config }) {
    const { sessions } = await withAdminApi(context, config, (api) =>
      api.call<{ sessions: Session[] }>("GET", "/v1/api/sessions"),
    );
    await printListing(context, format, {
      items: sessions,
      headers: ["ID", "User", "App", "Agent", "Remote", "Started (UTC)"],
      row: ({ sid, user, app, agent, remote, started_at }) => [sid, user, app, agent, remote, utc(started_at)],
      empty: "no live sessions",
    });
  },
});

export const kill = command({
  args: {
    id: { type: "positional", description: "the session, as `mcpgate sessions ls` names it" },
    ...configFlag,
  },
  about: "Its server is stopped, and its user's MCP client hears that the session is gone.",
  async run(context, { id, config }) {
    const { sid } = await withAdminApi(context, config, (api) =>
      api.call<{ sid: string }>("DELETE", `/v1/api/sessions/${segment(id)}`),
    );
    await context.out.print(`Session ${sid} has been ended\n`);
  },
});
