/** The command tree: names and one line each here, everything else in the file of the noun, loaded when it is called. */
import type { Command } from "./command.ts";

export interface Leaf {
  summary: string;
  /** Works, but no help text names it. */
  hidden?: boolean;
  load(): Promise<Command>;
}

export interface Group {
  summary: string;
  /** Stands under the list of commands in the help text. */
  about?: string;
  hidden?: boolean;
  commands: Record<string, Leaf | Group>;
}

const proxy = () => import("./proxy.ts");
const agent = () => import("./agent.ts");
const tokens = () => import("./tokens.ts");
const users = () => import("./users.ts");
const resources = () => import("./resources.ts");
const audit = () => import("./audit.ts");
const auditVerify = () => import("./audit-verify.ts");
const agents = () => import("./agents.ts");
const apps = () => import("./apps.ts");
const policy = () => import("./policy.ts");
const locks = () => import("./locks.ts");
const sessions = () => import("./sessions.ts");
const login = () => import("./client-login.ts");
const demo = () => import("./demo.ts");
const config = () => import("./config.ts");

export const tree: Group = {
  summary: "mcpgate: secure access to stdio MCP servers on other hosts",
  about: [
    "The proxy, the agent and the admin commands read /etc/mcpgate.yaml, or what --config=FILE or MCPGATE_CONFIG names.",
    "The client keeps its state in MCPGATE_HOME, by default ~/.mcpgate.",
    "Exit codes: 0 fine, 1 failure, 2 wrong usage or configuration.",
  ].join("\n"),
  commands: {
    demo: { summary: "the whole of it on this machine, in a minute", load: async () => (await demo()).demo },
    client: {
      summary: "log in, and connect MCP clients to MCP servers",
      commands: {
        login: { summary: "log in to a proxy", load: async () => (await login()).login },
        status: { summary: "show who is logged in, and until when", load: async () => (await login()).status },
        logout: { summary: "end the login", load: async () => (await login()).logout },
        "accept-invite": {
          summary: "set the password of an invited user",
          load: async () => (await login()).acceptInvite,
        },
        ls: { summary: "list the MCP servers within reach", load: async () => (await import("./client-ls.ts")).ls },
        config: {
          summary: "print or write the MCP client's configuration",
          load: async () => (await import("./client-config.ts")).config,
        },
        connect: {
          summary: "speak MCP with a server on stdin and stdout",
          load: async () => (await import("./client-connect.ts")).connect,
        },
      },
    },
    agent: {
      summary: "offer this host's MCP servers",
      commands: {
        start: { summary: "run the agent in the foreground", load: async () => (await agent()).start },
        status: { summary: "show what the agent on this host does", load: async () => (await agent()).status },
        check: { summary: "start each app, and say what is wrong", load: async () => (await agent()).check },
        configure: {
          summary: "print or write a configuration for an agent",
          load: async () => (await import("./agent-configure.ts")).configure,
        },
        pin: {
          summary: "install the packages of npx and uvx apps once, and run those copies",
          load: async () => (await import("./agent-pin.ts")).pin,
        },
      },
    },
    proxy: {
      summary: "decide who reaches what, relay, keep the audit log",
      commands: {
        start: { summary: "run the proxy in the foreground", load: async () => (await proxy()).start },
        configure: {
          summary: "print or write a configuration for a proxy",
          load: async () => (await import("./proxy-configure.ts")).configure,
        },
      },
    },
    tokens: {
      summary: "join tokens, with which agents join",
      commands: {
        add: { summary: "make a token", load: async () => (await tokens()).add },
        ls: { summary: "list the tokens that are still good", load: async () => (await tokens()).ls },
        rm: { summary: "revoke a token", load: async () => (await tokens()).rm },
      },
    },
    users: {
      summary: "users and the roles they have",
      commands: {
        add: { summary: "add a user and print the invite URL", load: async () => (await users()).add },
        ls: { summary: "list the users", load: async () => (await users()).ls },
        update: { summary: "give a user other roles or traits", load: async () => (await users()).update },
        invite: { summary: "make a new invite for a user", load: async () => (await users()).invite },
        rm: { summary: "remove a user and end all of their sessions", load: async () => (await users()).rm },
      },
    },
    create: {
      summary: "create roles, locks, tokens and apps from a file",
      load: async () => (await resources()).create,
    },
    get: { summary: "print roles, locks, tokens and apps as documents", load: async () => (await resources()).get },
    rm: { summary: "remove a role, a lock, a token or an app", load: async () => (await resources()).rm },
    roles: {
      summary: "what roles allow",
      commands: {
        test: { summary: "run the tests in a file of roles", load: async () => (await policy()).test },
      },
    },
    can: { summary: "tell whether a user may do something, and why", load: async () => (await policy()).can },
    locks: {
      summary: "shut out users, roles, apps and agents, at once",
      commands: {
        add: { summary: "make a lock", load: async () => (await locks()).add },
        ls: { summary: "list the locks that are in force", load: async () => (await locks()).ls },
        rm: { summary: "remove a lock", load: async () => (await locks()).rm },
      },
    },
    apps: {
      summary: "the MCP servers that agents offer, and their tools",
      commands: {
        ls: { summary: "list the apps", load: async () => (await apps()).ls },
        pins: { summary: "show an app's tools, and what waits for approval", load: async () => (await apps()).pins },
        approve: { summary: "approve new and changed tools", load: async () => (await apps()).approve },
      },
    },
    agents: {
      summary: "the agents that have joined",
      commands: {
        ls: { summary: "list the agents and what they offer", load: async () => (await agents()).ls },
        rm: {
          summary: "remove an agent: it can't come back without a new token",
          load: async () => (await agents()).rm,
        },
      },
    },
    sessions: {
      summary: "live sessions",
      commands: {
        ls: { summary: "list the live sessions", load: async () => (await sessions()).ls },
        kill: { summary: "end a session", load: async () => (await sessions()).kill },
      },
    },
    audit: {
      summary: "the audit log",
      commands: {
        ls: { summary: "list events", load: async () => (await audit()).ls },
        export: { summary: "print all events, one JSON object a line", load: async () => (await audit()).exportAll },
        tail: { summary: "print events as they come", load: async () => (await audit()).tail },
        verify: { summary: "find what was tampered with", load: async () => (await auditVerify()).verify },
      },
    },
    config: {
      summary: "configuration files",
      commands: {
        check: { summary: "tell all that is wrong with one", load: async () => (await config()).check },
        schema: { summary: "print a JSON Schema for editors", load: async () => (await config()).schema },
      },
    },
    install: {
      summary: "make this program a service of its host",
      commands: {
        systemd: {
          summary: "print or write a unit for systemd",
          load: async () => (await import("./install.ts")).systemd,
        },
      },
    },
    doctor: {
      summary: "find what is wrong on this host, and what mends it",
      load: async () => (await import("./doctor.ts")).doctor,
    },
    version: { summary: "print the version", load: async () => (await import("./version.ts")).version },
    "demo-server": {
      summary: "the demo's MCP server, on stdin and stdout",
      hidden: true,
      load: async () => (await demo()).demoServer,
    },
  },
};
