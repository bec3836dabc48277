/** `mcpgate agents ls | rm` */
import { withAdminApi } from "./admin.ts";
import { command, configFlag, formatFlag } from "./command.ts";
import { printListing, segment, utc } from "./listing.ts";

interface Agent {
  id: string;
  name: string;
  online: boolean;
  apps: string[];
  joined_at: string;
  last_seen_at: string | null;
}

export const ls = command({
  args: { ...formatFlag, ...configFlag },
  async run(context, { format, config }) {
    const { agents } = await withAdminApi(context, config, (api) =>
      api.call<{ agents: Agent[] }>("GET", "/v1/api/agents"),
    );
    await printListing(context, format, {
      items: agents,
      headers: ["Name", "Status", "Apps", "Joined (UTC)", "Last Seen (UTC)"],
      row: ({ name, online, apps, joined_at, last_seen_at }) => [
        name,
        online ? "online" : "offline",
        apps.join(","),
        utc(joined_at),
        utc(last_seen_at),
      ],
      empty: "no agent has joined yet: mcpgate tokens add --type=app",
    });
  },
});

export const rm = command({
  args: {
    name: { type: "positional", description: "the agent, as `mcpgate agents ls` names it" },
    ...configFlag,
  },
  about: "Ends its sessions and frees its apps. The key that it joined with is worth nothing from then on.",
  async run(context, args) {
    const { name } = await withAdminApi(context, args.config, (api) =>
      api.call<{ name: string }>("DELETE", `/v1/api/agents/${segment(args.name)}`),
    );
    await context.out.print(`Agent ${name} has been removed\n`);
  },
});
