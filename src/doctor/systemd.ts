/** How systemd sees mcpgate's units, where it runs. */
import { existsSync } from "node:fs";
import { type Finding, report } from "./finding.ts";

/** Runs a command and answers with what it printed; rejects where it can't be run or fails. */
export type Run = (argv: string[]) => Promise<string>;

export interface SystemdOptions {
  part: "agent" | "proxy";
  run: Run;
  /** There where systemd is this host's init: sd_booted(3). */
  booted?: string;
}

/** What `mcpgate install systemd -o` is told to write. */
const UNITS: Record<"agent" | "proxy", string[]> = {
  agent: ["mcpgate.service", "mcpgate-agent.service"],
  proxy: ["mcpgate-proxy.service", "mcpgate.service"],
};
const MANY_RESTARTS = 5;
const PROPERTIES = "Id,LoadState,ActiveState,UnitFileState,Result,NRestarts,ExecStart";

export async function checkUnit({ part, run, booted = "/run/systemd/system" }: SystemdOptions): Promise<Finding[]> {
  if (!existsSync(booted)) return [];
  const say = report(part, "systemd");
  const units = (await run(["systemctl", "show", `--property=${PROPERTIES}`, "--no-pager", ...UNITS[part]]))
    .split(/\n\n+/)
    .map(parseProperties);
  const unit = units.find(
    ({ LoadState, ExecStart = "" }) => LoadState === "loaded" && ExecStart.includes(` ${part} start`),
  );
  if (unit === undefined) {
    const name = `/etc/systemd/system/${UNITS[part][0]}`;
    const start = `sudo systemctl enable --now ${UNITS[part][0]}`;
    return [
      say.warn(
        `no unit starts the ${part} with this host`,
        `sudo mcpgate install systemd --for=${part} -o ${name} && ${start}`,
      ),
    ];
  }
  const { Id = "", ActiveState = "", UnitFileState = "", Result = "", NRestarts = "0" } = unit;
  const log = `sudo journalctl -u ${Id} -n 50 --no-pager`;
  if (ActiveState === "failed")
    return [say.fail(`${Id} has failed (${Result})`, `${log}; sudo systemctl restart ${Id}`)];
  if (/ing$/.test(ActiveState)) return [say.warn(`${Id} is ${ActiveState}`, log)];
  if (ActiveState !== "active") return [say.fail(`${Id} is ${ActiveState}`, `sudo systemctl enable --now ${Id}`)];
  if (Number(NRestarts) >= MANY_RESTARTS) return [say.warn(`${Id} was restarted ${NRestarts} times`, log)];
  if (!UnitFileState.startsWith("enabled")) {
    return [say.warn(`${Id} runs, but does not start with the host (${UnitFileState})`, `sudo systemctl enable ${Id}`)];
  }
  return [say.ok(`${Id} is active`)];
}

const parseProperties = (text: string): Record<string, string> =>
  Object.fromEntries(
    text.split("\n").flatMap((line) => {
      const at = line.indexOf("=");
      return at < 0 ? [] : [[line.slice(0, at), line.slice(at + 1)]];
    }),
  );
