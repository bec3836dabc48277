/** `mcpgate agent configure`: a configuration for an agent, with comments. */
import { yamlText } from "./yaml-text.ts";

export interface AgentFile {
  /** As `proxy_server` takes it. */
  proxy: string;
  /** The file that holds the join token. */
  tokenFile: string;
  caPin?: string | undefined;
  app: AgentFileApp;
}

export interface AgentFileApp {
  name: string;
  description: string;
  labels: Record<string, string>;
  /** Whether other agents may offer one of that name, too. */
  shared?: boolean | undefined;
  command: string;
  args: readonly string[];
  /** Not there: the agent's own user. */
  runAsHostUser?: string | undefined;
}

/** Nothing is checked here: the text is to be read like any other configuration. */
export function composeAgentFile({ proxy, tokenFile, caPin, app }: AgentFile): string {
  const labels = Object.entries(app.labels).map(([key, value]) => `${yamlText(key)}: ${yamlText(value)}`);
  return `\
# The agent of mcpgate on this host. Whether what stands here is right: mcpgate config check
# The agent looks at this file every second: after a change nothing has to be restarted.
version: v1
mcpgate:
  # The proxy that the agent dials.
  proxy_server: ${yamlText(proxy)}
  # For the first start only. Then the agent has a key of its own, and the file with the token can go.
  join_params: {method: token, token_name: ${yamlText(tokenFile)}}
${
  caPin === undefined
    ? `\
  # The proxy's certificate has to be one of the public web, unless the pin of its own CA stands here.
  # ca_pin: sha256:…
`
    : `\
  # The pin of the proxy's own CA.
  ca_pin: ${yamlText(caPin)}
`
}\
  # log: {severity: INFO, format: json}

app_service:
  enabled: true
  # How long open calls have when the agent is stopped, and how long a session waits for its client.
  # drain: 10s
  # resume_window: 10m
  apps:
    - name: ${yamlText(app.name)}
      description: ${yamlText(app.description)}
      # Roles choose apps by their labels.
      labels: {${labels.join(", ")}}
${app.shared ? "      # Other hosts may offer it, too: then sessions are spread over them.\n      shared: true\n" : ""}\
      mcp:
        command: ${yamlText(app.command)}
        args: [${app.args.map((arg) => JSON.stringify(arg)).join(", ")}]
        # The account that the server runs under: it can do what that account can do.
${app.runAsHostUser === undefined ? "        # run_as_host_user: nobody\n" : `        run_as_host_user: ${yamlText(app.runAsHostUser)}\n`}\
        # A secret of the server's is read from where it is kept, at each start, and masked in answers.
        # env: {API_KEY: "file:/etc/mcpgate/${app.name}.key"}
        # limits: {memory: 512MiB, processes: 64, idle_timeout: 30m}
`;
}
