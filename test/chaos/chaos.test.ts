import { expect, test } from "bun:test";
import { chaos } from "./chaos.ts";

/**
 * 200 faults from two seeds; `npm run chaos -- FAULTS SEED` makes as many as you like. To see it fail: acknowledge before
 * consuming in `link/incoming.ts` (calls are lost), write to the server before `record` in `agent/passage.ts` (calls are not
 * in the log), or leave `restampData` and the replay out.
 */
const SLOWEST_MS = 120_000;

test.each([
  { seed: 20_261_123, faults: 120, killAgent: false },
  { seed: 4, faults: 80, killAgent: true },
])(
  "$faults faults, agent killed: $killAgent, seed $seed",
  async (options) => {
    const report = await chaos(options);
    console.log(JSON.stringify(report));
    const { wrong, notAuditedOnce, verified, left, calls, unknown, refused, grownMb } = report;
    expect({ wrong, notAuditedOnce, left }).toEqual({ wrong: [], notAuditedOnce: [], left: [] });
    expect(verified).toStartWith("ok: ");
    expect(calls).toBeGreaterThan(options.faults);
    if (!options.killAgent) expect({ unknown, refused }).toEqual({ unknown: 0, refused: 0 });
    expect(grownMb.proxy).toBeLessThan(80);
    expect(grownMb.agent).toBeLessThan(80);
  },
  SLOWEST_MS,
);
