/** `mcpgate client login | status | logout | accept-invite` */
import type { LoginStatus } from "../client/login.ts";
import { clientHome } from "../client/state.ts";
import { Failure } from "../errors.ts";
import { parsePin } from "../identity/pin.ts";
import { printable } from "../log.ts";
import { command, formatFlag } from "./command.ts";
import type { Context } from "./context.ts";
import { render } from "./output.ts";
import { pinQuestion, readPassword } from "./password.ts";

const caPinFlag = {
  "ca-pin": {
    type: "string",
    valueHint: "PIN",
    description: "what the proxy's CA must be: sha256: and 64 hex digits",
  },
} as const;
const passwordFlag = {
  "password-stdin": { type: "boolean", description: "read the password from standard input" },
} as const;

export const login = command({
  args: {
    proxy: { type: "string", required: true, valueHint: "HOST:PORT", description: "the proxy's address" },
    user: { type: "string", required: true, valueHint: "NAME", description: "your user name there" },
    ...caPinFlag,
    ...passwordFlag,
  },
  about: [
    "Asks for the password, and where the proxy has a CA of its own and --ca-pin is not given, once whether to trust",
    "it. A login is good for 12 hours and tied to a key that this command makes and never sends.",
  ].join("\n"),
  examples: ["mcpgate client login --proxy=mcpgate.example.com:443 --user=alice"],
  async run(context, args) {
    const trust = trustOptions(context, args["ca-pin"]);
    const password = await readPassword(context, {
      question: `Password of ${args.user}: `,
      fromStdin: args["password-stdin"] === true,
      words: `mcpgate client login --proxy=${args.proxy} --user=${args.user}`,
    });
    const result = await context.services.login({
      proxy: args.proxy,
      user: args.user,
      password,
      home: clientHome(context.env),
      ...trust,
    });
    await context.out.print(`Logged in as ${result.user} until ${localTime(result.expires_at)}\n`);
  },
});

export const acceptInvite = command({
  args: {
    url: { type: "positional", description: "the invite, as `mcpgate users add` printed it" },
    ...caPinFlag,
    ...passwordFlag,
  },
  about: "Sets the password of the user that the invite is for. An invite works once, and for an hour.",
  examples: ["mcpgate client accept-invite 'https://mcpgate.example.com:443/web/invite#…'"],
  async run(context, args) {
    const trust = trustOptions(context, args["ca-pin"]);
    const password = await readPassword(context, {
      question: "New password: ",
      again: "The same again: ",
      fromStdin: args["password-stdin"] === true,
      words: "mcpgate client accept-invite URL",
    });
    const result = await context.services.acceptInvite({
      url: args.url,
      password,
      home: clientHome(context.env),
      ...trust,
    });
    await context.out.print(`The password of ${result.user} is set. Log in with:\n  ${result.next}\n`);
  },
});

export const status = command({
  args: formatFlag,
  about: "Asks the proxy whether the saved login is still good; exit code 1 when it is not.",
  examples: ["mcpgate client status --format=json"],
  async run(context, { format }) {
    const value = await context.services.loginStatus({ home: clientHome(context.env) });
    if (!value.logged_in && format === "text") {
      const { reason = "not logged in", proxy = "HOST:PORT", user = "NAME" } = value;
      throw new Failure("not_logged_in", reason, { hint: `mcpgate client login --proxy=${proxy} --user=${user}` });
    }
    await context.out.print(await render(format, value, () => statusText(value)));
    return value.logged_in ? 0 : 1;
  },
});

function statusText({ user, roles, proxy, cluster, expires_at }: LoginStatus): string {
  const rows = [
    ["User", user],
    ["Roles", roles?.join(", ")],
    ["Proxy", proxy],
    ["Cluster", cluster],
    ["Valid until", expires_at === undefined ? undefined : localTime(expires_at)],
  ];
  return rows.map(([name = "", value = ""]) => `${`${name}:`.padEnd(13)}${printable(value)}\n`).join("");
}

export const logout = command({
  args: {},
  about: "The proxy forgets this login's key, ends its sessions, and the key is removed here.",
  async run(context) {
    await context.services.logout({ home: clientHome(context.env) });
    await context.out.print("Logged out\n");
  },
});

function trustOptions(context: Context, pin: string | undefined) {
  if (pin !== undefined) return { caPin: parsePin(pin) };
  const confirmPin = pinQuestion(context);
  return confirmPin === undefined ? {} : { confirmPin };
}

/** RFC 3339 → the reader's own time, with its zone. */
function localTime(time: string): string {
  return new Date(time).toLocaleString("sv-SE", { timeZoneName: "short" });
}
