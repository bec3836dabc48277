/** Every help text, whole. When one of them changes, so does README's list of commands. */
import { describe, expect, test } from "bun:test";
import { type Group, type Leaf, tree } from "../../src/cli/tree.ts";
import { capture } from "./capture.ts";

const texts: Record<string, string> = {
  "": `\
mcpgate: secure access to stdio MCP servers on other hosts

Usage: mcpgate COMMAND

Commands:
  demo      the whole of it on this machine, in a minute
  client    log in, and connect MCP clients to MCP servers
  agent     offer this host's MCP servers
  proxy     decide who reaches what, relay, keep the audit log
  tokens    join tokens, with which agents join
  users     users and the roles they have
  create    create roles, locks, tokens and apps from a file
  get       print roles, locks, tokens and apps as documents
  rm        remove a role, a lock, a token or an app
  roles     what roles allow
  can       tell whether a user may do something, and why
  locks     shut out users, roles, apps and agents, at once
  apps      the MCP servers that agents offer, and their tools
  agents    the agents that have joined
  sessions  live sessions
  audit     the audit log
  config    configuration files
  install   make this program a service of its host
  doctor    find what is wrong on this host, and what mends it
  version   print the version

The proxy, the agent and the admin commands read /etc/mcpgate.yaml, or what --config=FILE or MCPGATE_CONFIG names.
The client keeps its state in MCPGATE_HOME, by default ~/.mcpgate.
Exit codes: 0 fine, 1 failure, 2 wrong usage or configuration.

\`mcpgate COMMAND --help\` tells more about one.
`,

  demo: `\
the whole of it on this machine, in a minute

Usage: mcpgate demo [options]

Starts a proxy, an agent and two apps on this machine in a directory of their own, and shows a join, a login,
a filtered list of tools, a call that is allowed, one that is not, and what the audit log says of them. Then it
stays up for an MCP client to try, until Ctrl-C.

Options:
  --once      end after the tour instead of staying up
  -h, --help  show this text

Examples:
  mcpgate demo
  mcpgate demo --once
`,

  client: `\
log in, and connect MCP clients to MCP servers

Usage: mcpgate client COMMAND

Commands:
  login          log in to a proxy
  status         show who is logged in, and until when
  logout         end the login
  accept-invite  set the password of an invited user
  ls             list the MCP servers within reach
  config         print or write the MCP client's configuration
  connect        speak MCP with a server on stdin and stdout

\`mcpgate client COMMAND --help\` tells more about one.
`,

  "client login": `\
log in to a proxy

Usage: mcpgate client login --proxy=HOST:PORT --user=NAME [options]

Asks for the password, and where the proxy has a CA of its own and --ca-pin is not given, once whether to trust
it. A login is good for 12 hours and tied to a key that this command makes and never sends.

Options:
  --proxy=HOST:PORT  the proxy's address (required)
  --user=NAME        your user name there (required)
  --ca-pin=PIN       what the proxy's CA must be: sha256: and 64 hex digits
  --password-stdin   read the password from standard input
  -h, --help         show this text

Examples:
  mcpgate client login --proxy=mcpgate.example.com:443 --user=alice
`,

  "client status": `\
show who is logged in, and until when

Usage: mcpgate client status [options]

Asks the proxy whether the saved login is still good; exit code 1 when it is not.

Options:
  --format=text|json|yaml  text for people, json or yaml for programs (default text)
  -h, --help               show this text

Examples:
  mcpgate client status --format=json
`,

  "client logout": `\
end the login

Usage: mcpgate client logout

The proxy forgets this login's key, ends its sessions, and the key is removed here.

Options:
  -h, --help  show this text
`,

  "client accept-invite": `\
set the password of an invited user

Usage: mcpgate client accept-invite URL [options]

Sets the password of the user that the invite is for. An invite works once, and for an hour.

Arguments:
  URL  the invite, as \`mcpgate users add\` printed it

Options:
  --ca-pin=PIN      what the proxy's CA must be: sha256: and 64 hex digits
  --password-stdin  read the password from standard input
  -h, --help        show this text

Examples:
  mcpgate client accept-invite 'https://mcpgate.example.com:443/web/invite#…'
`,

  "client ls": `\
list the MCP servers within reach

Usage: mcpgate client ls [options]

Options:
  --format=text|json|yaml  text for people, json or yaml for programs (default text)
  --verbose                also whether their servers start
  -h, --help               show this text

Examples:
  mcpgate client ls
  mcpgate client ls --verbose
  mcpgate client ls --format=json
`,

  "client config": `\
print or write the MCP client's configuration

Usage: mcpgate client config NAME [options]

Arguments:
  NAME  the app, as \`mcpgate client ls\` names it

Options:
  --client-config=claude|cursor|PATH  write it into this file, keeping everything else in it
  -h, --help                          show this text

Examples:
  mcpgate client config everything
  mcpgate client config everything --client-config=claude
  mcpgate client config everything --client-config=.cursor/mcp.json
`,

  "client connect": `\
speak MCP with a server on stdin and stdout

Usage: mcpgate client connect NAME

MCP clients start this; \`mcpgate client config NAME\` writes their configuration. stdin and stdout carry MCP and
nothing else. Where it can't connect, the first request gets an MCP error that says what to do.

Arguments:
  NAME  the app, as \`mcpgate client ls\` names it

Options:
  -h, --help  show this text

Examples:
  mcpgate client connect everything
`,

  agent: `\
offer this host's MCP servers

Usage: mcpgate agent COMMAND

Commands:
  start      run the agent in the foreground
  status     show what the agent on this host does
  check      start each app, and say what is wrong
  configure  print or write a configuration for an agent
  pin        install the packages of npx and uvx apps once, and run those copies

\`mcpgate agent COMMAND --help\` tells more about one.
`,

  "agent start": `\
run the agent in the foreground

Usage: mcpgate agent start [options]

Joins the proxy (the first time with a join token, then with the key that it keeps), offers the apps of the
configuration, and runs their servers when somebody connects. In the foreground; logs to stderr. One line on
stdout says when it is ready. SIGTERM and SIGINT stop it and the servers that it started, once open calls are
answered, or app_service.drain is over. SIGHUP, or a change of the file, reloads the configuration.

Options:
  -c, --config=FILE  configuration file (MCPGATE_CONFIG, else /etc/mcpgate.yaml)
  -h, --help         show this text

Examples:
  mcpgate agent start
  mcpgate agent start --config=agent.yaml
`,

  "agent status": `\
show what the agent on this host does

Usage: mcpgate agent status [options]

What the agent that runs on this host says of itself: its connection, its apps and how their last start went, its
sessions, and the ledger of its servers' processes (started = ended + running, or something has leaked).

Options:
  --format=text|json|yaml  text for people, json or yaml for programs (default text)
  -c, --config=FILE        configuration file (MCPGATE_CONFIG, else /etc/mcpgate.yaml)
  -h, --help               show this text

Examples:
  mcpgate agent status
  mcpgate agent status --format=json
`,

  "agent check": `\
start each app, and say what is wrong

Usage: mcpgate agent check [APP] [options]

Starts each app's server as a session would, asks it for its tools in both of the protocol's eras, and says what is
wrong and what to do. Needs no proxy, and does not touch an agent that runs. Exit code 1 when something is wrong.

Arguments:
  APP  one app of the configuration; all of them unless told

Options:
  --format=text|json|yaml  text for people, json or yaml for programs (default text)
  -c, --config=FILE        configuration file (MCPGATE_CONFIG, else /etc/mcpgate.yaml)
  -h, --help               show this text

Examples:
  sudo mcpgate agent check
  sudo mcpgate agent check everything
  mcpgate agent check --format=json
`,

  "agent pin": `\
install the packages of npx and uvx apps once, and run those copies

Usage: mcpgate agent pin [APP] [options]

Resolves the packages of apps that run through npx or uvx to exact versions, and installs each with a lock file
(which has the hash of every package) into the agent's data directory. From then on the agent runs that copy:
nothing is downloaded when a session starts, and nothing changes by itself. A server's host user can read its copy
and not write it (unless it is the agent's own user). Where the configuration asks for something else than what was
pinned, the app does not start until it is pinned again. Needs npm or uv, and the registry, now and not later.
Install scripts of packages are left out.

Arguments:
  APP  one app of the configuration; all of them unless told

Options:
  --update                 resolve again what is pinned already
  --remove                 let the app run what its configuration says again
  --list                   show what is pinned, and change nothing
  --format=text|json|yaml  text for people, json or yaml for programs (default text)
  -c, --config=FILE        configuration file (MCPGATE_CONFIG, else /etc/mcpgate.yaml)
  -h, --help               show this text

Examples:
  sudo mcpgate agent pin
  sudo mcpgate agent pin everything --update
  mcpgate agent pin --list
`,

  proxy: `\
decide who reaches what, relay, keep the audit log

Usage: mcpgate proxy COMMAND

Commands:
  start      run the proxy in the foreground
  configure  print or write a configuration for a proxy

\`mcpgate proxy COMMAND --help\` tells more about one.
`,

  "proxy start": `\
run the proxy in the foreground

Usage: mcpgate proxy start [options]

Runs in the foreground and logs to stderr. One line on stdout says when it is ready, with the address
that agents and clients dial and the CA pin that they check. SIGTERM and SIGINT stop it; SIGHUP, or a change of the
file or of a certificate that it names, reloads the configuration.

Options:
  -c, --config=FILE  configuration file (MCPGATE_CONFIG, else /etc/mcpgate.yaml)
  -h, --help         show this text

Examples:
  mcpgate proxy start
  mcpgate proxy start --config=proxy.yaml
`,

  tokens: `\
join tokens, with which agents join

Usage: mcpgate tokens COMMAND

Commands:
  add  make a token
  ls   list the tokens that are still good
  rm   revoke a token

\`mcpgate tokens COMMAND --help\` tells more about one.
`,

  "tokens add": `\
make a token

Usage: mcpgate tokens add --type=app [options]

Agents join with it until it expires; what has joined stays. The proxy keeps its hash only.

Options:
  --type=app               what joins with it (required)
  --ttl=30m                how long it is good for (30m unless given, 24h at the most)
  --format=text|json|yaml  text: the token and nothing else; without it, also the line that sets up a host
  -c, --config=FILE        configuration file (MCPGATE_CONFIG, else /etc/mcpgate.yaml)
  -h, --help               show this text

Examples:
  mcpgate tokens add --type=app
  token=$(mktemp); mcpgate tokens add --type=app --ttl=2h --format=text >"$token"
`,

  "tokens ls": `\
list the tokens that are still good

Usage: mcpgate tokens ls [options]

Options:
  --format=text|json|yaml  text for people, json or yaml for programs (default text)
  -c, --config=FILE        configuration file (MCPGATE_CONFIG, else /etc/mcpgate.yaml)
  -h, --help               show this text
`,

  "tokens rm": `\
revoke a token

Usage: mcpgate tokens rm TOKEN [options]

Arguments:
  TOKEN  its id, as \`mcpgate tokens ls\` shows it, or the token itself

Options:
  -c, --config=FILE  configuration file (MCPGATE_CONFIG, else /etc/mcpgate.yaml)
  -h, --help         show this text
`,

  users: `\
users and the roles they have

Usage: mcpgate users COMMAND

Commands:
  add     add a user and print the invite URL
  ls      list the users
  update  give a user other roles or traits
  invite  make a new invite for a user
  rm      remove a user and end all of their sessions

\`mcpgate users COMMAND --help\` tells more about one.
`,

  "users add": `\
add a user and print the invite URL

Usage: mcpgate users add NAME --roles=ROLE,… [options]

Prints an invite with which the user sets a password. It is good once, for an hour.

Arguments:
  NAME  the user's name

Options:
  --roles=ROLE,…            what the user may do (required)
  --set-trait=NAME=VALUE,…  traits, for templates in roles; may be repeated, \`NAME=\` holds nothing
  --set-mcp-tools=TOOL,…    what {{internal.mcp_tools}} in a role stands for
  --format=text|json|yaml   text for people, json or yaml for programs (default text)
  -c, --config=FILE         configuration file (MCPGATE_CONFIG, else /etc/mcpgate.yaml)
  -h, --help                show this text

Examples:
  mcpgate users add alice --roles=mcp-user
  mcpgate users add bob --roles=team --set-trait=team=data,ops
`,

  "users ls": `\
list the users

Usage: mcpgate users ls [options]

Options:
  --format=text|json|yaml  text for people, json or yaml for programs (default text)
  -c, --config=FILE        configuration file (MCPGATE_CONFIG, else /etc/mcpgate.yaml)
  -h, --help               show this text
`,

  "users update": `\
give a user other roles or traits

Usage: mcpgate users update NAME [options]

Live sessions of the user follow within a second. Traits that are not named stay as they are.

Arguments:
  NAME  the user's name

Options:
  --set-roles=ROLE,…        the roles from now on
  --set-trait=NAME=VALUE,…  traits, for templates in roles; may be repeated, \`NAME=\` holds nothing
  --set-mcp-tools=TOOL,…    what {{internal.mcp_tools}} in a role stands for
  --unset-trait=NAME,…      traits to take away
  -c, --config=FILE         configuration file (MCPGATE_CONFIG, else /etc/mcpgate.yaml)
  -h, --help                show this text

Examples:
  mcpgate users update alice --set-roles=mcp-user,auditor
  mcpgate users update alice --set-mcp-tools='*'
  mcpgate users update alice --set-trait=team=data,ops --set-trait=unix_login=alice
`,

  "users invite": `\
make a new invite for a user

Usage: mcpgate users invite NAME [options]

For an invite that ran out, or a forgotten password; the older invite is void.

Arguments:
  NAME  the user's name

Options:
  --format=text|json|yaml  text for people, json or yaml for programs (default text)
  -c, --config=FILE        configuration file (MCPGATE_CONFIG, else /etc/mcpgate.yaml)
  -h, --help               show this text

Examples:
  mcpgate users invite alice
`,

  "users rm": `\
remove a user and end all of their sessions

Usage: mcpgate users rm NAME [options]

Arguments:
  NAME  the user's name

Options:
  -c, --config=FILE  configuration file (MCPGATE_CONFIG, else /etc/mcpgate.yaml)
  -h, --help         show this text
`,

  create: `\
create roles, locks, tokens and apps from a file

Usage: mcpgate create --file=FILE [options]

Documents as \`mcpgate get\` prints them and \`mcpgate config schema --kind=…\` describes them. Of an app it also tells
which agents offer it from now on, and why others do not.

Options:
  -f, --file=FILE    one or more documents, YAML or JSON; - for standard input (required)
  --force            replace what is there
  -c, --config=FILE  configuration file (MCPGATE_CONFIG, else /etc/mcpgate.yaml)
  -h, --help         show this text

Examples:
  mcpgate create -f app.yaml
  mcpgate get role/dev >role.yaml
  mcpgate create -f role.yaml --force
`,

  get: `\
print roles, locks, tokens and apps as documents

Usage: mcpgate get KIND[/NAME] [options]

Arguments:
  KIND[/NAME]  role, lock, token or app, or role/NAME

Options:
  -v, --verbose       of apps also what agents make of them
  --format=yaml|json  either can be given to \`mcpgate create -f\` (default yaml)
  -c, --config=FILE   configuration file (MCPGATE_CONFIG, else /etc/mcpgate.yaml)
  -h, --help          show this text

Examples:
  mcpgate get role
  mcpgate get role/mcp-user --format=json
  mcpgate get apps --verbose
`,

  rm: `\
remove a role, a lock, a token or an app

Usage: mcpgate rm KIND/NAME [options]

Arguments:
  KIND/NAME  role/NAME, lock/NAME, token/NAME or app/NAME

Options:
  -c, --config=FILE  configuration file (MCPGATE_CONFIG, else /etc/mcpgate.yaml)
  -h, --help         show this text

Examples:
  mcpgate rm role/dev
  mcpgate rm app/everything
`,

  roles: `\
what roles allow

Usage: mcpgate roles COMMAND

Commands:
  test  run the tests in a file of roles

\`mcpgate roles COMMAND --help\` tells more about one.
`,

  "roles test": `\
run the tests in a file of roles

Usage: mcpgate roles test FILE

Runs the \`tests:\` of each role in the file: a user, an app, a tool (or prompt, resource, method), arguments, and
whether a user who holds this role alone is to be allowed or denied. Needs no proxy. Exit code 1 when one fails.

Arguments:
  FILE  documents as for \`mcpgate create -f\`; - for standard input

Options:
  -h, --help  show this text

Examples:
  mcpgate roles test role.yaml
`,

  can: `\
tell whether a user may do something, and why

Usage: mcpgate can USER APP[/TOOL] [JSON] [options]

Prints the decision and the rule that made it. Exit code 0: allowed, 1: denied.

Arguments:
  USER        the user's name
  APP[/TOOL]  the app, or a tool of it
  JSON        the tool's arguments

Options:
  --prompt=NAME            a prompt instead of a tool
  --resource=URI           a resource instead of a tool
  --method=METHOD          a method of the protocol
  -f, --file=FILE          as if its roles were stored in the place of those of the same names
  --format=text|json|yaml  text for people, json or yaml for programs (default text)
  -c, --config=FILE        configuration file (MCPGATE_CONFIG, else /etc/mcpgate.yaml)
  -h, --help               show this text

Examples:
  mcpgate can alice billing
  mcpgate can alice billing/read_invoice
  mcpgate can alice billing/refund '{"amount": 10}'
`,

  locks: `\
shut out users, roles, apps and agents, at once

Usage: mcpgate locks COMMAND

Commands:
  add  make a lock
  ls   list the locks that are in force
  rm   remove a lock

\`mcpgate locks COMMAND --help\` tells more about one.
`,

  "locks add": `\
make a lock

Usage: mcpgate locks add [options]

Takes one of --user, --role, --app and --agent. What it shuts out ends within a second, and does not begin again.

Options:
  --user=NAME              a user: no login, no session, no admin operation
  --role=NAME              everybody who holds the role
  --app=NAME               an MCP server
  --agent=NAME             an agent with all that it offers
  --ttl=30m                how long it holds (until it is removed, unless given)
  --message=TEXT           what those hear whom it shuts out
  --format=text|json|yaml  text for people, json or yaml for programs (default text)
  -c, --config=FILE        configuration file (MCPGATE_CONFIG, else /etc/mcpgate.yaml)
  -h, --help               show this text

Examples:
  mcpgate locks add --user=alice --message='laptop stolen'
  mcpgate locks add --app=billing --ttl=2h --message='restoring a backup'
`,

  "locks ls": `\
list the locks that are in force

Usage: mcpgate locks ls [options]

Options:
  --format=text|json|yaml  text for people, json or yaml for programs (default text)
  -c, --config=FILE        configuration file (MCPGATE_CONFIG, else /etc/mcpgate.yaml)
  -h, --help               show this text
`,

  "locks rm": `\
remove a lock

Usage: mcpgate locks rm ID [options]

Whoever it shut out may come again; sessions that it ended stay ended.

Arguments:
  ID  the lock, as \`mcpgate locks ls\` names it

Options:
  -c, --config=FILE  configuration file (MCPGATE_CONFIG, else /etc/mcpgate.yaml)
  -h, --help         show this text
`,

  apps: `\
the MCP servers that agents offer, and their tools

Usage: mcpgate apps COMMAND

Commands:
  ls       list the apps
  pins     show an app's tools, and what waits for approval
  approve  approve new and changed tools

\`mcpgate apps COMMAND --help\` tells more about one.
`,

  "apps ls": `\
list the apps

Usage: mcpgate apps ls [options]

Options:
  --format=text|json|yaml  text for people, json or yaml for programs (default text)
  -c, --config=FILE        configuration file (MCPGATE_CONFIG, else /etc/mcpgate.yaml)
  -h, --help               show this text
`,

  "apps pins": `\
show an app's tools, and what waits for approval

Usage: mcpgate apps pins NAME [options]

The definitions that the app's agent has seen; below the table, what is new or has changed and waits for approval.

Arguments:
  NAME  the app, as \`mcpgate apps ls\` names it

Options:
  --format=text|json|yaml  text for people, json or yaml for programs (default text)
  -c, --config=FILE        configuration file (MCPGATE_CONFIG, else /etc/mcpgate.yaml)
  -h, --help               show this text
`,

  "apps approve": `\
approve new and changed tools

Usage: mcpgate apps approve NAME [options]

Approves the tool definitions that wait, and prints them. What changes in the meantime waits again.

Arguments:
  NAME  the app, as \`mcpgate apps ls\` names it

Options:
  --tool=TOOL              only this tool (all that wait, unless given)
  --format=text|json|yaml  text for people, json or yaml for programs (default text)
  -c, --config=FILE        configuration file (MCPGATE_CONFIG, else /etc/mcpgate.yaml)
  -h, --help               show this text

Examples:
  mcpgate apps pins billing
  mcpgate apps approve billing --tool=transfer
`,

  agents: `\
the agents that have joined

Usage: mcpgate agents COMMAND

Commands:
  ls  list the agents and what they offer
  rm  remove an agent: it can't come back without a new token

\`mcpgate agents COMMAND --help\` tells more about one.
`,

  "agents ls": `\
list the agents and what they offer

Usage: mcpgate agents ls [options]

Options:
  --format=text|json|yaml  text for people, json or yaml for programs (default text)
  -c, --config=FILE        configuration file (MCPGATE_CONFIG, else /etc/mcpgate.yaml)
  -h, --help               show this text
`,

  "agents rm": `\
remove an agent: it can't come back without a new token

Usage: mcpgate agents rm NAME [options]

Ends its sessions and frees its apps. The key that it joined with is worth nothing from then on.

Arguments:
  NAME  the agent, as \`mcpgate agents ls\` names it

Options:
  -c, --config=FILE  configuration file (MCPGATE_CONFIG, else /etc/mcpgate.yaml)
  -h, --help         show this text
`,

  sessions: `\
live sessions

Usage: mcpgate sessions COMMAND

Commands:
  ls    list the live sessions
  kill  end a session

\`mcpgate sessions COMMAND --help\` tells more about one.
`,

  "sessions ls": `\
list the live sessions

Usage: mcpgate sessions ls [options]

Options:
  --format=text|json|yaml  text for people, json or yaml for programs (default text)
  -c, --config=FILE        configuration file (MCPGATE_CONFIG, else /etc/mcpgate.yaml)
  -h, --help               show this text
`,

  "sessions kill": `\
end a session

Usage: mcpgate sessions kill ID [options]

Its server is stopped, and its user's MCP client hears that the session is gone.

Arguments:
  ID  the session, as \`mcpgate sessions ls\` names it

Options:
  -c, --config=FILE  configuration file (MCPGATE_CONFIG, else /etc/mcpgate.yaml)
  -h, --help         show this text
`,

  audit: `\
the audit log

Usage: mcpgate audit COMMAND

Commands:
  ls      list events
  export  print all events, one JSON object a line
  tail    print events as they come
  verify  find what was tampered with

\`mcpgate audit COMMAND --help\` tells more about one.
`,

  "audit ls": `\
list events

Usage: mcpgate audit ls [options]

Oldest first; all of them unless --limit is given.

Options:
  --user=NAME         events of this user
  --app=NAME          events of this app
  --event=EVENT,…     these events, like mcp.session.request
  --since=TIME        from there on: 1h for the last hour, a date, or RFC 3339
  --limit=N           the newest N only
  --format=text|json  text for people, json: an array (default text)
  -c, --config=FILE   configuration file (MCPGATE_CONFIG, else /etc/mcpgate.yaml)
  -h, --help          show this text

Examples:
  mcpgate audit ls --user=alice --since=1h
  mcpgate audit ls --event=mcp.session.request --format=json
`,

  "audit export": `\
print all events, one JSON object a line

Usage: mcpgate audit export [options]

In the order in which the proxy stored them.

Options:
  --user=NAME        events of this user
  --app=NAME         events of this app
  --event=EVENT,…    these events, like mcp.session.request
  --since=TIME       from there on: 1h for the last hour, a date, or RFC 3339
  --format=jsonl     one JSON object a line (default jsonl)
  -c, --config=FILE  configuration file (MCPGATE_CONFIG, else /etc/mcpgate.yaml)
  -h, --help         show this text

Examples:
  mcpgate audit export --format=jsonl >audit.jsonl
`,

  "audit tail": `\
print events as they come

Usage: mcpgate audit tail [options]

Events that the proxy stores from now on, until Ctrl-C.

Options:
  --user=NAME         events of this user
  --app=NAME          events of this app
  --event=EVENT,…     these events, like mcp.session.request
  --format=text|json  json: one object a line (default text)
  -c, --config=FILE   configuration file (MCPGATE_CONFIG, else /etc/mcpgate.yaml)
  -h, --help          show this text

Examples:
  mcpgate audit tail --app=everything
`,

  "audit verify": `\
find what was tampered with

Usage: mcpgate audit verify [options]

Checks every event against its hash chain, and the chains against the signatures of agents and cluster. Exit code 1
when an event was removed, changed, reordered or cut off, and says which. Retired events are told, and are no fault.
Keep what --format=json prints on another host, and --compare finds a log that was put back to an older state.

Options:
  --since=TIME        only from there on: 1h, a date, or RFC 3339
  --compare=FILE      what an earlier run printed with --format=json
  --format=text|json  json: one object (default text)
  -c, --config=FILE   configuration file (MCPGATE_CONFIG, else /etc/mcpgate.yaml)
  -h, --help          show this text

Examples:
  mcpgate audit verify
  mcpgate audit verify --format=json >verified.json
`,

  "agent configure": `\
print or write a configuration for an agent

Usage: mcpgate agent configure --proxy=HOST:PORT --token=FILE [options]

The configuration of an agent with one app, to go on from. A file that is there already stays as it is. The token is
not in it, and not on the command line: FILE is looked into when the agent joins for the first time.

Options:
  --proxy=HOST:PORT        the proxy's public address (required)
  --token=FILE             the file with the join token (required)
  --ca-pin=sha256:…        the pin of the proxy's own CA
  --app=NAME               the first app; the demo's unless given
  --command=COMMAND        what starts the app's server
  --arg=ARG                an argument for it; once for each: --arg=-y --arg=PACKAGE
  --run-as-host-user=USER  the account that the server runs under
  --description=TEXT       what the app is, for people
  --label=KEY=VALUE        a label; may be repeated
  -o, --output=FILE        write it to a new file; one that is there stays as it is. Printed unless given
  -h, --help               show this text

Examples:
  mcpgate agent configure --proxy=mcpgate.example.com:443 --token=/tmp/mcpgate-token -o /etc/mcpgate.yaml
  mcpgate agent configure --proxy=p.example.com --token=/tmp/t --app=pg --command=npx --arg=-y --arg=PACKAGE
`,

  "proxy configure": `\
print or write a configuration for a proxy

Usage: mcpgate proxy configure --public-addr=HOST:PORT [options]

The configuration of a proxy, to go on from. A file that is there already stays as it is.

Options:
  --public-addr=HOST:PORT      what agents and clients dial (port 443 unless given) (required)
  --listen-addr=HOST:PORT      where the proxy listens (0.0.0.0, and the public port, unless given)
  --cluster-name=CLUSTER-NAME  what people see (the public host unless given)
  --cert-file=FILE             a certificate of the public web; else the proxy makes its own, with a CA
  --key-file=FILE              the certificate's key
  -o, --output=FILE            write it to a new file; one that is there stays as it is. Printed unless given
  -h, --help                   show this text

Examples:
  sudo mcpgate proxy configure --public-addr=mcpgate.example.com:443 -o /etc/mcpgate.yaml
`,

  config: `\
configuration files

Usage: mcpgate config COMMAND

Commands:
  check   tell all that is wrong with one
  schema  print a JSON Schema for editors

\`mcpgate config COMMAND --help\` tells more about one.
`,

  "config check": `\
tell all that is wrong with one

Usage: mcpgate config check [FILE] [options]

Tells all that is wrong with a configuration file, with places, and what in it may not be meant so. It changes nothing
and asks nobody; \`mcpgate agent check\` starts the apps, too. Exit code 2 when something is wrong.

Arguments:
  FILE  MCPGATE_CONFIG, else /etc/mcpgate.yaml, unless given

Options:
  --format=text|json|yaml  text for people, json or yaml for programs (default text)
  -c, --config=FILE        the same as FILE
  -h, --help               show this text

Examples:
  mcpgate config check
  mcpgate config check agent.yaml --format=json
`,

  "config schema": `\
print a JSON Schema for editors

Usage: mcpgate config schema [options]

A JSON Schema (draft 7), with which editors check and complete such files, for instance with a first line of
# yaml-language-server: $schema=mcpgate.schema.json

Options:
  --kind=config|role|lock|token|app  a configuration, or documents for \`mcpgate create -f\` (default config)
  -h, --help                         show this text

Examples:
  mcpgate config schema >mcpgate.schema.json
  mcpgate config schema --kind=role
`,

  install: `\
make this program a service of its host

Usage: mcpgate install COMMAND

Commands:
  systemd  print or write a unit for systemd

\`mcpgate install COMMAND --help\` tells more about one.
`,

  "install systemd": `\
print or write a unit for systemd

Usage: mcpgate install systemd [options]

A unit for systemd (version 247 or later) that keeps the service running from the start of the host on: watched,
restarted, and kept from what it does not need. The configuration is looked into for paths and times: where they
change later, make the unit anew. An agent that is not root runs all of its servers under its own account.

Options:
  --for=agent|proxy  which service; what the configuration enables unless given
  --user=NAME        its account (agent: root, to become each server's; proxy: one of systemd's making)
  -o, --output=FILE  write it to a new file; one that is there stays as it is. Printed unless given
  -c, --config=FILE  configuration file (MCPGATE_CONFIG, else /etc/mcpgate.yaml)
  -h, --help         show this text

Examples:
  sudo mcpgate install systemd -o /etc/systemd/system/mcpgate.service && sudo systemctl enable --now mcpgate
  mcpgate install systemd --for=proxy --config=/etc/mcpgate-proxy.yaml
`,

  doctor: `\
find what is wrong on this host, and what mends it

Usage: mcpgate doctor [options]

Looks at what is set up on this host (a login, an agent, a proxy) and at the way to the proxy as it is really
gone: name, connection, certificate and pin, release, clock, WebSocket and pings, through HTTP proxies and load
balancers; disk, permissions, the identity and whether the proxy still knows it, systemd. Each finding comes with
what mends it. Changes nothing, and ends within a minute. Exit code 1 when something is wrong.

Options:
  --format=text|json|yaml  text for people, json or yaml for programs (default text)
  -c, --config=FILE        configuration file (MCPGATE_CONFIG, else /etc/mcpgate.yaml)
  -h, --help               show this text

Examples:
  mcpgate doctor
  sudo mcpgate doctor
  mcpgate doctor --format=json
`,

  version: `\
print the version

Usage: mcpgate version [options]

Options:
  --format=text|json|yaml  text for people, json or yaml for programs (default text)
  -h, --help               show this text

Examples:
  mcpgate version --format=json
`,

  "demo-server": `\
the demo's MCP server, on stdin and stdout

Usage: mcpgate demo-server

Options:
  -h, --help  show this text
`,
};

/** Every command and group there is, by its words. */
function* everything(node: Group | Leaf, words: string[] = []): Generator<string> {
  yield words.join(" ");
  if ("load" in node) return;
  for (const [word, child] of Object.entries(node.commands)) yield* everything(child, [...words, word]);
}

describe("help texts", () => {
  for (const [words, text] of Object.entries(texts)) {
    test(`mcpgate ${words} --help`, async () => {
      const captured = await capture([...words.split(" ").filter(Boolean), "--help"]);
      expect(captured).toEqual({ exitCode: 0, stdout: text, stderr: "" });
    });
  }

  test("no command is without", () => {
    expect(Object.keys(texts).toSorted()).toEqual([...everything(tree)].toSorted());
  });

  test("lines are no longer than a wide terminal, summaries begin small and have no full stop", () => {
    for (const text of Object.values(texts)) {
      const [summary = ""] = text.split("\n");
      expect(summary).toMatch(/^[a-z].*[^.]$/);
      for (const line of text.split("\n")) expect(line.length).toBeLessThanOrEqual(120);
    }
  });

  test("-h, help, and --help anywhere before -- give the same text", async () => {
    const argvs = ["tokens add -h", "help tokens add", "tokens add --type=app --help", "tokens add --wrong --help"];
    for (const argv of argvs) {
      expect(await capture(argv.split(" "))).toEqual({ exitCode: 0, stdout: texts["tokens add"] ?? "", stderr: "" });
    }
  });
});
