/** `mcpgate audit verify` */
import { readFileSync } from "node:fs";
import * as v from "valibot";
import { type ChainRecord, type KnownEnd, type LineRecord, type Problem, verifyLog } from "../audit/verify.ts";
import type { ApiClient } from "../client/api.ts";
import { Failure } from "../errors.ts";
import type { PublicJwk } from "../identity/keys.ts";
import { withAdminApi } from "./admin.ts";
import { instant } from "./audit.ts";
import { command, configFlag } from "./command.ts";
import { json } from "./output.ts";

/** Problems of one run that are told one by one. */
const MAX_TOLD = 10_000;

export const verify = command({
  args: {
    since: { type: "string", valueHint: "TIME", description: "only from there on: 1h, a date, or RFC 3339" },
    compare: { type: "string", valueHint: "FILE", description: "what an earlier run printed with --format=json" },
    format: { type: "enum", options: ["text", "json"], default: "text", description: "json: one object" },
    ...configFlag,
  },
  about:
    "Checks every event against its hash chain, and the chains against the signatures of agents and cluster. Exit code 1\n" +
    "when an event was removed, changed, reordered or cut off, and says which. Retired events are told, and are no fault.\n" +
    "Keep what --format=json prints on another host, and --compare finds a log that was put back to an older state.",
  examples: ["mcpgate audit verify", "mcpgate audit verify --format=json >verified.json"],
  async run(context, args) {
    const since = args.since === undefined ? undefined : instant(args.since);
    const known = args.compare === undefined ? undefined : loadEnds(args.compare);
    const problems: Problem[] = [];
    const text = args.format === "text";
    const result = await withAdminApi(context, args.config, (api) =>
      verifyLog(sourceOf(api), {
        since,
        known,
        report: (problem) => problems.length < MAX_TOLD && problems.push(problem),
      }),
    );
    const ok = result.problems === 0;
    if (!text) {
      const { problems: count, ...rest } = result;
      await context.out.print(json({ ok, problem_count: count, problems, ...rest }));
    } else {
      await context.out.print(problems.map((problem) => `${problemLine(problem)}\n`).join(""));
      const { events, chains, retired, dropped, unsigned } = result;
      await context.out.print(`${ok ? "ok" : `${result.problems} ${plural(result.problems, "problem")}`}: `);
      const facts = [
        `${events} ${plural(events, "event")} in ${chains.length} ${plural(chains.length, "chain")}`,
        ...(retired > 0 ? [`${retired} retired`] : []),
        ...(dropped > 0 ? [`${dropped} dropped by agents whose spool was full`] : []),
        ...(unsigned > 0 ? [`${unsigned} not signed yet`] : []),
      ];
      await context.out.print(`${facts.join(", ")}\n`);
    }
    return ok ? 0 : 1;
  },
});

const plural = (count: number, word: string): string => (count === 1 ? word : `${word}s`);

/** `removed: web-1, chain 0198…, place 5 to 7: 3 events are missing (after …)` */
function problemLine({ kind, owner, chain, n, to, uid, after, text }: Problem): string {
  const place = to === undefined || to === n ? `place ${n}` : `places ${n} to ${to}`;
  const which = uid === undefined ? (after === undefined ? "" : ` (after event ${after})`) : ` (event ${uid})`;
  return `${kind}: ${owner === "" ? "" : `${owner}, `}chain ${chain}, ${place}: ${text}${which}`;
}

function sourceOf(api: ApiClient) {
  return {
    async chains(before?: string) {
      const query = before === undefined ? "" : `?${new URLSearchParams({ before })}`;
      return await api.call<{ chains: ChainRecord[]; more: boolean; signing_keys: PublicJwk[] }>(
        "GET",
        `/v1/api/audit/chains${query}`,
      );
    },
    async lines(chain: string, o: { after: number; since?: string | undefined; limit?: number }) {
      const query = new URLSearchParams({ chain, after: String(o.after) });
      if (o.since !== undefined) query.set("since", o.since);
      if (o.limit !== undefined) query.set("limit", String(o.limit));
      return (await api.call<{ lines: LineRecord[] }>("GET", `/v1/api/audit/lines?${query}`)).lines;
    },
  };
}

const earlier = v.object({
  chains: v.array(
    v.object({ chain: v.string(), owner: v.string(), jkt: v.nullable(v.string()), last: v.number(), hash: v.string() }),
  ),
});

function loadEnds(path: string): KnownEnd[] {
  try {
    const { chains } = v.parse(earlier, JSON.parse(readFileSync(path, "utf8")));
    return chains.filter(({ last }) => last > 0);
  } catch (cause) {
    throw new Failure("usage", `--compare=${path} is not what an earlier run printed`, {
      hint: "mcpgate audit verify --format=json >verified.json",
      cause,
    });
  }
}
