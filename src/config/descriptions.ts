/** What each key of a configuration file means, for editors; by its path, `[]` for the entries of a list. */
const DESCRIPTIONS: Record<string, string> = {
  version: "v1; v2 and v3 are what Teleport's files say",
  mcpgate: "What proxy and agent share",
  "mcpgate.data_dir":
    "The proxy's data lies in proxy/ under it, the agent's in agent/. Root: /var/lib/mcpgate; others: $XDG_STATE_HOME/mcpgate",
  "mcpgate.diag_addr": "Where metrics and health checks are to be had: an address of this host, or off",
  "mcpgate.log": "The log on stderr",
  "mcpgate.log.severity": "Lines below it are not written",
  "mcpgate.log.format": "text for people, json for programs",
  "mcpgate.nodename": "Agent: the name under which it joins; the host's own unless told",
  "mcpgate.proxy_server": "Agent: the proxy's public address",
  "mcpgate.join_params": "Agent: how it joins for the first time; from then on it has a key of its own",
  "mcpgate.join_params.method": "token: with a token of `mcpgate tokens add`; iam, ec2: by what AWS says of the host",
  "mcpgate.join_params.token_name":
    "The file that holds the token (anything with a slash), or the token itself; iam, ec2: the token's name",
  "mcpgate.ca_pin":
    "Agent: the pin of the proxy's own CA; not there where the proxy's certificate is of the public web",
  teleport: "The same as mcpgate, as Teleport's files call it",
  proxy_service: "The proxy",
  "proxy_service.enabled": "Whether this file is a proxy's",
  "proxy_service.listen_addr": "Where it listens; 0.0.0.0:443 unless told",
  "proxy_service.public_addr": "What agents and clients dial, and what every proof of theirs names",
  "proxy_service.cluster_name": "What people see; the host of public_addr unless told",
  "proxy_service.cert_file":
    "A certificate of the public web (PEM, leaf first); else the proxy makes a CA and one of its own",
  "proxy_service.key_file": "The certificate's key (PEM)",
  "proxy_service.aws_certificates":
    "AWS's regional certificates for join method ec2, in the place of those that are built in",
  "proxy_service.downloads_dir": "Programs for other platforms, which the proxy hands out beside its own",
  "proxy_service.tls": "off: something in front of the proxy ends TLS",
  "proxy_service.trusted_proxies": "Addresses and networks whose X-Forwarded-For is believed",
  "proxy_service.audit": "What becomes of the audit log",
  "proxy_service.audit.retention": "Which events go; none unless told",
  "proxy_service.audit.retention.max_age": "Older events go, like 90d",
  "proxy_service.audit.retention.max_size": "The oldest events go when the database is larger, like 10GiB",
  "proxy_service.audit.sinks": "Where events go besides the proxy's own store",
  "proxy_service.audit.sinks[].type": "What kind of place it is",
  "proxy_service.audit.sinks[].name": "What its place in the log is kept under; its type unless told",
  "proxy_service.audit.sinks[].path": "file: JSON lines are appended to it",
  "proxy_service.audit.sinks[].address": "syslog: like tcp://127.0.0.1:601",
  "proxy_service.audit.sinks[].url": "http: JSON lines are posted to it",
  "proxy_service.audit.sinks[].token": "http: where the bearer token is, file:PATH or env:NAME",
  app_service: "The agent",
  "app_service.enabled": "Whether this file is an agent's",
  "app_service.resume_window": "How long a session waits for its client, and an open call for its session",
  "app_service.drain": "How long open calls have when the agent is stopped, 0s to 5m",
  "app_service.allow_host_users":
    "The accounts that a template in run_as_host_user, and an app resource of the proxy, may come to; nobody unless told",
  "app_service.resources": "Which app resources of the proxy this agent takes; none unless told",
  "app_service.resources[].labels": "Every label with one of its values",
  "app_service.allow_commands":
    'What app resources may start: whole argument vectors, * for letters, digits, . _ and - in one word, ** for the rest, like ["docker", "run", "-i", "--rm", "mcp/*"]; nothing unless told',
  "app_service.allow_cwd": "The directories that app resources may start their servers in",
  "app_service.audit": "Audit events on their way to the proxy",
  "app_service.audit.spool_limit": "What may wait for the proxy; 256MiB unless told",
  "app_service.audit.on_full": "At the limit: refuse calls, or drop_oldest events; refuse unless told",
  "app_service.audit.sync": "always: wait for the disk at each event; group unless told",
  "app_service.apps": "The MCP servers that this host offers",
  "app_service.apps[].name": "What clients call it; belongs to the agent that enrolled it first",
  "app_service.apps[].labels": "Roles choose apps by them",
  "app_service.apps[].description": "What it is, for people",
  "app_service.apps[].shared": "Other agents may offer an app of this name, too, if all of them say so",
  "app_service.apps[].tool_pinning":
    "What a new or changed tool leads to: off nothing, warn an event, enforce it is hidden until `mcpgate apps approve`",
  "app_service.apps[].mcp": "How its server is started",
  "app_service.apps[].mcp.command": "The program; a bare name is looked up in the server's PATH. No shell",
  "app_service.apps[].mcp.args": "Its arguments",
  "app_service.apps[].mcp.run_as_host_user":
    'The account that the server runs under; required when the agent is root. "{{user.traits.NAME}}": the person\'s own',
  "app_service.apps[].mcp.env":
    "The server's environment: texts, or where they are read at each start (file:PATH, env:NAME, command:PROGRAM …)",
  "app_service.apps[].mcp.cwd": "Where it starts; the account's home unless told",
  "app_service.apps[].mcp.secrets": "What becomes of the server's own secrets in its answers",
  "app_service.apps[].mcp.share": "Whose process it is: each session's own, one for each user, or one for the app",
  "app_service.apps[].mcp.linger": "How long a shared server stays without sessions; 5m unless told",
  "app_service.apps[].mcp.warm": "Servers that wait for their session",
  "app_service.apps[].mcp.stop_grace": "How a server is stopped",
  "app_service.apps[].mcp.stop_grace.stdin": "From the end of its stdin to SIGTERM; 2s unless told",
  "app_service.apps[].mcp.stop_grace.term": "From SIGTERM to SIGKILL; 2s unless told",
  "app_service.apps[].mcp.limits": "What a server may use of its host",
  "app_service.apps[].mcp.limits.memory": "Like 512MiB",
  "app_service.apps[].mcp.limits.cpu": "Of one processor: 0.5 is half of one, 2 is two",
  "app_service.apps[].mcp.limits.processes": "Processes and threads at a time",
  "app_service.apps[].mcp.limits.open_files": "Of each process",
  "app_service.apps[].mcp.limits.start_timeout": "Until the server's first answer; 120s unless told",
  "app_service.apps[].mcp.limits.idle_timeout": "Without a message and without an open request",
  "app_service.apps[].mcp.limits.session_timeout": "Of a session as a whole",
  "app_service.apps[].mcp.limits.sessions_per_user": "At a time",
  "app_service.apps[].mcp.limits.sessions_per_app": "At a time, on this agent",
  "app_service.apps[].mcp.sandbox": "Bubblewrap, or no start",
  "app_service.apps[].mcp.sandbox.network": "none: not even a loopback",
  "app_service.apps[].mcp.sandbox.read": "What the server can read besides the system's programs and settings",
  "app_service.apps[].mcp.sandbox.write": "What it can write besides its own /tmp and home",
};

const RESOURCE: Record<string, string> = {
  kind: "app",
  sub_kind: "mcp",
  version: "v3",
  metadata: "What the app is",
  "metadata.name": "What clients call it",
  "metadata.description": "What it is, for people",
  "metadata.labels": "Roles choose apps by them, and agents (app_service.resources)",
  spec: "How it is run",
};

/** Of a configuration file. */
export function describeConfig(path: string): string | undefined {
  const own = path.replace(/^teleport\./, "mcpgate.");
  return DESCRIPTIONS[own] ?? (/_service(\.enabled)?$/.test(own) ? "Of Teleport's files: has to be off" : undefined);
}

/** Of an app resource. */
export const describeApp = (path: string): string | undefined =>
  RESOURCE[path] ?? DESCRIPTIONS[path.replace(/^spec\./, "app_service.apps[].")];
