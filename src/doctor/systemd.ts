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
  proxy: ["mcpgate.service", "mcpgate-proxy.service"],
};
const MANY_RESTARTS = 5;
const PROPERTIES = "Id,LoadState,ActiveState,UnitFileState,Result,NRestarts,ExecStart";

/** As `systemctl show` tells of it. */
type Unit = Record<string, string>;

async function loadUnits({ part, run, booted = "/run/systemd/system" }: SystemdOptions): Promise<Unit[] | undefined> {
  if (!existsSync(booted)) return undefined;
  const text = await run(["systemctl", "show", `--property=${PROPERTIES}`, "--no-pager", ...UNITS[part]]);
  return text.split(/\n\n+/).map(parseProperties);
}

const isLoaded = ({ LoadState }: Unit): boolean => LoadState === "loaded";
const starter = (units: readonly Unit[], part: SystemdOptions["part"]): Unit | undefined =>
  units.find((unit) => isLoaded(unit) && unit.ExecStart?.includes(` ${part} start`));

/** The unit that starts the service here, and the configuration that it names. Where none can be found out, none. */
export async function findUnit(o: SystemdOptions): Promise<{ unit: string; file: string | undefined } | undefined> {
  const { Id: unit, ExecStart = "" } = starter((await loadUnits(o).catch(() => undefined)) ?? [], o.part) ?? {};
  return unit === undefined ? undefined : { unit, file: /argv\[\]=[^;]* --config=(\S+)/.exec(ExecStart)?.[1] };
}

/** What (re)starts the service on this host. */
export async function startCommand(o: SystemdOptions): Promise<string> {
  const found = await findUnit(o);
  return found === undefined ? `sudo mcpgate ${o.part} start` : `sudo systemctl restart ${found.unit}`;
}

export async function checkUnit(o: SystemdOptions): Promise<Finding[]> {
  const { part } = o;
  const units = await loadUnits(o);
  if (units === undefined) return [];
  const say = report(part, "systemd");
  const unit = starter(units, part);
  if (unit === undefined) {
    // the other service may have the first name
    const free =
      UNITS[part].find((name) => !units.some((each) => each.Id === name && isLoaded(each))) ?? UNITS[part][0];
    const start = `sudo systemctl enable --now ${free}`;
    return [
      say.warn(
        `no unit starts the ${part} with this host`,
        `sudo mcpgate install systemd --for=${part} -o /etc/systemd/system/${free} && ${start}`,
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

const parseProperties = (text: string): Unit =>
  Object.fromEntries(
    text.split("\n").flatMap((line) => {
      const at = line.indexOf("=");
      return at < 0 ? [] : [[line.slice(0, at), line.slice(at + 1)]];
    }),
  );
