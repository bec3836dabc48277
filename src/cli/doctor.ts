/** `mcpgate doctor` */
import type { Finding } from "../doctor/finding.ts";
import { command, configFlag, formatFlag } from "./command.ts";
import { render } from "./output.ts";

const MARKS = { ok: "ok", warn: "warn", fail: "FAIL", skip: "-" } as const;
const ABOUT = {
  host: "This host",
  client: "The client: the login in MCPGATE_HOME",
  agent: "The agent: app_service",
  proxy: "The proxy: proxy_service",
} as const;

export const doctor = command({
  args: { ...formatFlag, ...configFlag },
  about: [
    "Looks at what is set up on this host (a login, an agent, a proxy) and at the way to the proxy as it is really",
    "gone: name, connection, certificate and pin, release, clock, WebSocket and pings, through HTTP proxies and load",
    "balancers; disk, permissions, the identity and whether the proxy still knows it, systemd. Each finding comes with",
    "what mends it. Changes nothing, and ends within a minute. Exit code 1 when something is wrong.",
  ].join("\n"),
  examples: ["mcpgate doctor", "sudo mcpgate doctor", "mcpgate doctor --format=json"],
  async run(context, { config: path, format }) {
    const findings = await context.services.runDoctor({ path, env: context.env, uid: context.uid });
    await context.out.print(await render(format, findings, () => asText(findings)));
    return findings.some(({ state }) => state === "fail") ? 1 : 0;
  },
});

function asText(findings: Finding[]): string {
  const parts = (["host", "client", "agent", "proxy"] as const).filter((part) =>
    findings.some((each) => each.part === part),
  );
  const width = Math.max(...findings.map(({ check }) => check.length));
  const lines = parts.flatMap((part) => [
    ABOUT[part],
    ...findings
      .filter((each) => each.part === part)
      .flatMap(({ state, check, message, fix }) => [
        `  ${MARKS[state].padEnd(4)}  ${check.padEnd(width)}  ${message}`,
        ...(fix === undefined ? [] : [`  ${" ".repeat(4)}  ${" ".repeat(width)}  → ${fix}`]),
      ]),
    "",
  ]);
  const count = (state: Finding["state"]): number => findings.filter((each) => each.state === state).length;
  const [wrong, doubtful] = [count("fail"), count("warn")];
  const sum = wrong + doubtful === 0 ? "nothing is wrong" : `${wrong} wrong, ${doubtful} to look at`;
  return [...lines, `${sum}\n`].join("\n");
}
