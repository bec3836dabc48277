/** Configuration text → `Config`, or the exact error. */
import { describe, expect, test } from "bun:test";
import type { Config } from "../../src/config/config.ts";
import { parseConfig } from "../../src/config/parse.ts";
import { Failure } from "../../src/errors.ts";

const YAML_HINT = "check the indentation, the colons and the quotes there and on the line before";

const parse = (text: string, uid = 1000): Config =>
  parseConfig(text, { file: "/etc/mcpgate.yaml", shownAs: "F", uid, defaultDataDir: () => "/data" });

describe("the issue's documents", () => {
  test("a proxy", () => {
    const text = `\
version: v1
mcpgate:
  data_dir: /var/lib/mcpgate            # not root: the XDG state directory
  log: {severity: INFO, format: text}   # or json
proxy_service:
  enabled: true
  listen_addr: 0.0.0.0:443
  public_addr: mcpgate.example.com:443
  # cert_file, key_file: else a CA and a certificate of our own
`;
    expect(parse(text)).toEqual({
      file: "/etc/mcpgate.yaml",
      dataDir: "/var/lib/mcpgate",
      log: { severity: "INFO", format: "text" },
      proxy: {
        listen: { host: "0.0.0.0", port: 443 },
        publicAddr: { host: "mcpgate.example.com", port: 443 },
        clusterName: "mcpgate.example.com",
        tls: true,
        trustedProxies: [],
      },
    });
  });

  test("an agent", () => {
    const pin = `sha256:${"0123456789ABCDEF".repeat(4)}`;
    const text = `\
version: v1
mcpgate:
  proxy_server: mcpgate.example.com:443
  join_params: {method: token, token_name: /tmp/token}   # a path (anything with a slash) or the token itself
  ca_pin: ${pin}
app_service:
  enabled: true
  apps:
    - name: everything
      labels: {env: dev}
      description: everything MCP server
      mcp:
        command: docker
        args: ["run", "-i", "--rm", "mcp/everything"]
        run_as_host_user: docker
`;
    expect(parse(text, 0)).toEqual({
      file: "/etc/mcpgate.yaml",
      dataDir: "/data",
      log: { severity: "INFO", format: "text" },
      proxyServer: { host: "mcpgate.example.com", port: 443 },
      join: { method: "token", tokenName: "/tmp/token" },
      caPin: pin.toLowerCase(),
      app: {
        apps: [
          {
            name: "everything",
            labels: { env: "dev" },
            description: "everything MCP server",
            shared: false,
            mcp: { command: "docker", args: ["run", "-i", "--rm", "mcp/everything"], runAsHostUser: "docker" },
          },
        ],
        resumeWindowSeconds: 600,
        drainSeconds: 10,
      },
    });
  });
});

describe("what may be left out or written in another way", () => {
  test("an empty file configures nothing", () => {
    for (const text of ["", "# nothing\n", "---\n"]) {
      expect(parse(text)).toEqual({
        file: "/etc/mcpgate.yaml",
        dataDir: "/data",
        log: { severity: "INFO", format: "text" },
      });
    }
  });

  test("sections and keys without a value", () => {
    expect(parse("mcpgate:\nproxy_service:\napp_service:\n  apps:\n").app).toEqual({
      apps: [],
      resumeWindowSeconds: 600,
      drainSeconds: 10,
    });
  });

  test("the public address is the one listened on, where that is a single one", () => {
    const { proxy } = parse("proxy_service: {listen_addr: '127.0.0.1:0'}");
    expect(proxy).toEqual({
      listen: { host: "127.0.0.1", port: 0 },
      publicAddr: { host: "127.0.0.1", port: 0 },
      clusterName: "127.0.0.1",
      tls: true,
      trustedProxies: [],
    });
  });

  test("port 443 where none is given, any address where no host is", () => {
    expect(parse("mcpgate: {proxy_server: A.example}").proxyServer).toEqual({ host: "a.example", port: 443 });
    const { proxy } = parse("proxy_service: {listen_addr: ':8443', public_addr: '[::1]', cluster_name: main}");
    expect(proxy).toEqual({
      listen: { host: "0.0.0.0", port: 8443 },
      publicAddr: { host: "::1", port: 443 },
      clusterName: "main",
      tls: true,
      trustedProxies: [],
    });
  });

  test("YAML 1.1's words for true and false, and services that are off", () => {
    const text =
      "proxy_service: {enabled: no}\napp_service: {enabled: yes}\nauth_service: {enabled: 'no', tokens: [x]}\n";
    const { proxy, app } = parse(text);
    expect({ proxy, app }).toEqual({ proxy: undefined, app: { apps: [], resumeWindowSeconds: 600, drainSeconds: 10 } });
  });

  test("log settings in any case; durations", () => {
    const { log, app } = parse("mcpgate: {log: {severity: warn, format: JSON}}\napp_service: {resume_window: 1m30s}\n");
    expect({ log, app }).toEqual({
      log: { severity: "WARN", format: "json" },
      app: { apps: [], resumeWindowSeconds: 90, drainSeconds: 10 },
    });
  });

  test("the audit sections: sizes, ages, and sinks with their defaults", () => {
    const text = `\
proxy_service:
  public_addr: p.example.com
  audit:
    retention: {max_age: 90d, max_size: 10GiB}
    sinks:
      - {type: file, path: audit.jsonl}
      - {type: stdout}
      - {type: syslog, name: local, address: "udp://[::1]"}
      - {type: http, url: "https://siem.example.com/in", token: "env:SIEM_TOKEN"}
      - {type: http, name: second, url: "http://127.0.0.1:9/", token: "file:siem.token"}
app_service:
  audit: {spool_limit: 64MiB, on_full: drop_oldest, sync: always}
`;
    const { proxy, app } = parse(text);
    expect(app?.audit).toEqual({ limit: 64 * 1024 ** 2, onFull: "drop_oldest", sync: "always" });
    expect(proxy?.audit).toEqual({
      retention: { maxAge: 90 * 86400, maxSize: 10 * 1024 ** 3 },
      sinks: [
        { name: "file", type: "file", path: "/etc/audit.jsonl" },
        { name: "stdout", type: "stdout" },
        { name: "local", type: "syslog", transport: "udp", address: { host: "::1", port: 514 } },
        { name: "http", type: "http", url: "https://siem.example.com/in", token: { env: "SIEM_TOKEN" } },
        { name: "second", type: "http", url: "http://127.0.0.1:9/", token: { file: "/etc/siem.token" } },
      ],
    });
  });

  test("environment, directory, shared; anchors and merge keys", () => {
    const text = `\
app_service:
  apps:
    - name: a
      shared: true
      labels: &labels {env: dev}
      mcp: &mcp {command: x, env: {KEY: "1"}, cwd: /srv}
    - name: b
      labels: {<<: *labels, team: y}
      mcp: *mcp
`;
    expect(parse(text).app?.apps).toEqual([
      {
        name: "a",
        labels: { env: "dev" },
        description: "",
        shared: true,
        mcp: { command: "x", args: [], env: { KEY: "1" }, cwd: "/srv" },
      },
      {
        name: "b",
        labels: { env: "dev", team: "y" },
        description: "",
        shared: false,
        mcp: { command: "x", args: [], env: { KEY: "1" }, cwd: "/srv" },
      },
    ]);
  });
});

const app = (rest: string): string => `app_service:\n  apps:\n    - ${rest}\n`;
const long = "x".repeat(100);

const wrong: [what: string, text: string, error: string, hint?: string][] = [
  // not YAML
  [
    "no YAML",
    "a: [\n",
    "F:2:1: flow sequence in block collection must be sufficiently indented and end with a ]",
    YAML_HINT,
  ],
  ["a tab", "mcpgate:\n\tdata_dir: x\n", "F:2:1: tabs are not allowed as indentation", YAML_HINT],
  ["a key twice", "mcpgate: {}\nmcpgate: {}\n", "F:2:1: map keys must be unique", YAML_HINT],
  [
    "two documents",
    "version: v1\n---\nversion: v1\n",
    "F:2:1: a second document begins here, and only one is read",
    YAML_HINT,
  ],
  ["an alias of nothing", "version: *x\n", "F:1:10: no anchor &x before this", YAML_HINT],
  ["a tag", "version: !ruby v1\n", "F:1:10: unresolved tag: !ruby", YAML_HINT],
  // keys
  ["a list", "- a\n", "F:1:1: expected a mapping (key: value), got a list"],
  ["a word", "hello\n", 'F:1:1: expected a mapping (key: value), got "hello"'],
  ["an unknown section", "agent_service: {}\n", "F:1:1: agent_service: unknown key", "did you mean: app_service"],
  [
    "an unknown section, nothing near",
    "version: v1\nservers: {}\n",
    "F:2:1: servers: unknown key",
    "keys here: version, mcpgate, teleport, proxy_service, app_service",
  ],
  [
    "a prototype's name",
    "toString: {}\n",
    "F:1:1: toString: unknown key",
    "keys here: version, mcpgate, teleport, proxy_service, app_service",
  ],
  [
    "__proto__",
    "__proto__: {}\n",
    "F:1:1: __proto__: unknown key",
    "keys here: version, mcpgate, teleport, proxy_service, app_service",
  ],
  [
    "an unknown key",
    "proxy_service:\n  enabled: true\n  public_adr: a:1\n",
    "F:3:3: proxy_service.public_adr: unknown key",
    "did you mean: public_addr",
  ],
  ["another's spelling", "mcpgate: {dataDir: /x}\n", "F:1:11: mcpgate.dataDir: unknown key", "did you mean: data_dir"],
  [
    "a misspelt required key",
    app("name: a\n      mcp:\n        comand: x"),
    "F:5:9: app_service.apps[0].mcp.comand: unknown key (and 1 more)",
    "did you mean: command",
  ],
  [
    "a missing key",
    app("name: a\n      mcp:\n        args: [x]"),
    "F:4:7: app_service.apps[0].mcp.command: is required",
    "add there: command: VALUE",
  ],
  ["a missing section", app("name: a"), "F:3:7: app_service.apps[0].mcp: is required", "add there: mcp: VALUE"],
  [
    "a key with a dot",
    "mcpgate: {a.b: 1}\n",
    'F:1:11: mcpgate["a.b"]: unknown key',
    "keys here: data_dir, diag_addr, log, nodename, proxy_server, join_params, ca_pin",
  ],
  // values
  ["a list for a mapping", "mcpgate: []\n", "F:1:10: mcpgate: expected a mapping (key: value), got a list"],
  ["a mapping for a list", "app_service: {apps: {}}\n", "F:1:21: app_service.apps: expected a list, got a mapping"],
  [
    "a number for a string",
    app("{name: a, mcp: {command: x, args: [-p, 8080]}}"),
    "F:3:46: app_service.apps[0].mcp.args[1]: expected a string, got 8080",
    'put it in quotes: "8080"',
  ],
  [
    "a number that YAML would shorten",
    app("{name: a, labels: {v: 1.10}, mcp: {command: x}}"),
    "F:3:29: app_service.apps[0].labels.v: expected a string, got 1.1",
    'put it in quotes: "1.10"',
  ],
  [
    "nothing for a command",
    app("{name: a, mcp: {command: }}"),
    "F:3:23: app_service.apps[0].mcp.command: expected a string, got nothing",
  ],
  ["an empty command", app("{name: a, mcp: {command: ''}}"), "F:3:32: app_service.apps[0].mcp.command: is empty"],
  ["a NUL", app('{name: a, mcp: {command: "a\\0"}}'), "F:3:32: app_service.apps[0].mcp.command: holds a NUL character"],
  ["a version", "version: v4\n", 'F:1:10: version: expected v1, v2, v3, got "v4"', "did you mean: v1"],
  [
    "a severity",
    "mcpgate: {log: {severity: wran}}\n",
    'F:1:27: mcpgate.log.severity: expected DEBUG, INFO, WARN, ERROR, got "WRAN"',
    "did you mean: WARN",
  ],
  [
    "enabled: maybe",
    "app_service: {enabled: maybe}\n",
    'F:1:24: app_service.enabled: expected true or false, got "maybe"',
  ],
  [
    "a join method",
    "mcpgate: {join_params: {method: gcp, token_name: x}}\n",
    'F:1:33: mcpgate.join_params.method: expected token, iam, ec2, got "gcp"',
  ],
  [
    "a file where a name belongs",
    "teleport: {join_params: {method: iam, token_name: /tmp/token}}\n",
    "F:1:51: teleport.join_params.token_name: is to be a token's name where the method is iam",
    "what metadata.name says in the token's document, like token_name: my-aws-hosts",
  ],
  [
    "no token",
    "mcpgate:\n  join_params: {method: token}\n",
    "F:2:3: mcpgate.join_params.token_name: is required",
    "add there: token_name: VALUE",
  ],
  [
    "a short pin",
    "mcpgate: {ca_pin: 'sha256:12'}\n",
    "F:1:19: mcpgate.ca_pin: is not sha256: and 64 hex digits",
    "`mcpgate tokens add --type=app` prints it on the proxy's host",
  ],
  [
    "an app's name",
    app("{name: My App, mcp: {command: x}}"),
    'F:3:14: app_service.apps[0].name: "My App" is no app name',
    "1 to 63 of a-z 0-9 _ -, beginning with a letter or digit",
  ],
  [
    "a long name, cut",
    app(`{name: ${long}, mcp: {command: x}}`),
    `F:3:14: app_service.apps[0].name: "${"x".repeat(56)}…" is no app name`,
    "1 to 63 of a-z 0-9 _ -, beginning with a letter or digit",
  ],
  [
    "a directory that is relative",
    app("{name: a, mcp: {command: x, cwd: srv}}"),
    "F:3:40: app_service.apps[0].mcp.cwd: is not an absolute path",
  ],
  [
    "an environment's name",
    app("{name: a, mcp: {command: x, env: {'A=B': x}}}"),
    "F:3:40: app_service.apps[0].mcp.env: holds a name that is empty or has a =",
  ],
  [
    "a window",
    "app_service: {resume_window: 600}\n",
    "F:1:30: app_service.resume_window: expected a string, got 600",
    'put it in quotes: "600"',
  ],
  [
    "a window that is too long",
    "app_service: {resume_window: 25h}\n",
    'F:1:30: app_service.resume_window: "25h" is no duration from 1s to 24h',
    "like 90s, 10m or 1h",
  ],
  // addresses
  [
    "a URL",
    "mcpgate: {proxy_server: 'https://a:1'}\n",
    'F:1:25: mcpgate.proxy_server: "https://a:1" is a URL, not host:port',
    "like mcpgate.example.com:443",
  ],
  [
    "port 0 to dial",
    "mcpgate: {proxy_server: 'a:0'}\n",
    'F:1:25: mcpgate.proxy_server: "a:0" has port 0',
    "like mcpgate.example.com:443",
  ],
  [
    "a port over all",
    "mcpgate: {proxy_server: 'a:65536'}\n",
    'F:1:25: mcpgate.proxy_server: "a:65536" has a port over 65535',
    "like mcpgate.example.com:443",
  ],
  [
    "bare IPv6",
    "mcpgate: {proxy_server: '::1'}\n",
    'F:1:25: mcpgate.proxy_server: "::1" is not host:port',
    "like mcpgate.example.com:443",
  ],
  [
    "a space",
    "mcpgate: {proxy_server: 'a b:1'}\n",
    'F:1:25: mcpgate.proxy_server: "a b:1" has a host that is neither a name nor an address',
    "like mcpgate.example.com:443",
  ],
  [
    "no port to listen on",
    "proxy_service: {listen_addr: 127.0.0.1}\n",
    'F:1:30: proxy_service.listen_addr: "127.0.0.1" has no port',
    "like mcpgate.example.com:443",
  ],
  // together
  [
    "both names of a section",
    "mcpgate: {}\nteleport: {}\n",
    "F:2:1: teleport: stands beside `mcpgate`, which is the same section",
  ],
  [
    "no public address",
    "proxy_service:\n  listen_addr: 0.0.0.0:443\n",
    "F:1:1: proxy_service.public_addr: is required",
    "add the address that agents and clients dial, like public_addr: mcpgate.example.com:443",
  ],
  [
    "a certificate without a key",
    "proxy_service: {public_addr: 'a:1', cert_file: x}\n",
    "F:1:37: proxy_service.cert_file: needs key_file beside it",
  ],
  [
    "a service of Teleport's",
    "ssh_service:\n  enabled: true\n",
    "F:2:3: ssh_service: is enabled, but mcpgate has no such service",
    "set enabled: false",
  ],
  [
    "a service of Teleport's that may be on",
    "ssh_service: {}\n",
    "F:1:1: ssh_service.enabled: needs `enabled: false`: mcpgate has no such service",
  ],
  [
    "a sink without what it needs",
    "proxy_service:\n  public_addr: p\n  audit:\n    sinks:\n      - {type: file}\n",
    "F:5:9: proxy_service.audit.sinks[0].path: is required for type file",
  ],
  [
    "a sink with what is another's",
    'proxy_service:\n  public_addr: p\n  audit:\n    sinks:\n      - {type: stdout, url: "https://x"}\n',
    "F:5:24: proxy_service.audit.sinks[0].url: is not for type stdout",
  ],
  // what may be a secret is not told: this goes into a service's log when it reloads
  [
    "a number for a variable",
    app("{name: a, mcp: {command: x, env: {PIN: 48151623}}}"),
    "F:3:46: app_service.apps[0].mcp.env.PIN: is no text",
    "put it in quotes",
  ],
  [
    "a variable alone for a mapping",
    app("{name: a, mcp: {command: x, env: PIN=48151623}}"),
    "F:3:40: app_service.apps[0].mcp.env: expected a mapping (key: value)",
  ],
  [
    "a number for a token",
    "mcpgate: {join_params: {token_name: 48151623}}\n",
    "F:1:37: mcpgate.join_params.token_name: is no text",
    "put it in quotes",
  ],
  [
    "a number for a sink's token",
    "proxy_service:\n  public_addr: p\n  audit:\n    sinks:\n      - {type: http, url: 'https://x', token: 48151623}\n",
    "F:5:47: proxy_service.audit.sinks[0].token: is no text",
    "put it in quotes",
  ],
  [
    "a token that stands in the file",
    'proxy_service:\n  public_addr: p\n  audit:\n    sinks:\n      - {type: http, url: "https://x", token: hunter2}\n',
    "F:5:47: proxy_service.audit.sinks[0].token: must say where the token is",
    "like file:/etc/mcpgate/siem.token or env:SIEM_TOKEN",
  ],
  [
    "two sinks of one name",
    "proxy_service:\n  public_addr: p\n  audit:\n    sinks:\n      - {type: stdout}\n      - {type: stdout}\n",
    "F:6:16: proxy_service.audit.sinks[1].type: a second sink called stdout: give it a name",
  ],
  [
    "a size without a unit",
    'app_service: {audit: {spool_limit: "1000"}}\n',
    'F:1:36: app_service.audit.spool_limit: "1000" is no size from 1MiB',
    "like 256MiB or 10GiB",
  ],
  [
    "an app twice",
    "app_service:\n  apps:\n    - {name: a, mcp: {command: x}}\n    - {name: a, mcp: {command: y}}\n",
    "F:4:14: app_service.apps[1].name: a second app named a",
  ],
];

describe("errors", () => {
  for (const [what, text, error, hint] of wrong) {
    test(what, () => {
      let failure = new Failure("internal", "it loaded");
      try {
        parse(text);
      } catch (thrown) {
        failure = Failure.from(thrown);
      }
      expect({ code: failure.code, error: failure.message, hint: failure.hint }).toEqual({
        code: "config",
        error,
        hint,
      });
    });
  }

  test("as root, an app must say under which user it runs, unless the service is off", () => {
    const text = app("name: a\n      mcp:\n        command: x");
    expect(() => parse(text, 0)).toThrow(
      "F:4:7: app_service.apps[0].mcp.run_as_host_user: is required when the agent runs as root",
    );
    expect(parse(`${text}  enabled: false\n`, 0).app).toBeUndefined();
    expect(parse(text, 1000).app?.apps).toHaveLength(1);
  });

  test("an alias that would grow without bounds is refused", () => {
    let text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n";
    for (let i = 1; i < 12; i++)
      text += `a${i}: &a${i} [${Array(10)
        .fill(`*a${i - 1}`)
        .join(", ")}]\n`;
    expect(() => parse(text)).toThrow("F: excessive alias count indicates a resource exhaustion attack");
  });
});
