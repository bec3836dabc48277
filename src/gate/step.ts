/** What one line, or one change of rules, leads to. */
import type { EventDraft } from "../event.ts";

/** `events` must be durable before `toServer` is written. Each array is in the order to write; lines end in a line feed. */
export interface Step {
  toServer: Uint8Array[];
  toClient: Uint8Array[];
  events: EventDraft[];
}

export const emptyStep = (): Step => ({ toServer: [], toClient: [], events: [] });

/** What came in one chunk is recorded with one write, and goes on with one. */
export function joinSteps(steps: Step[]): Step {
  const [first] = steps;
  if (steps.length === 1 && first !== undefined) return first;
  return {
    events: steps.flatMap(({ events }) => events),
    toServer: steps.flatMap(({ toServer }) => toServer),
    toClient: steps.flatMap(({ toClient }) => toClient),
  };
}
