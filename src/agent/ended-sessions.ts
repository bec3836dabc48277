/** How sessions ended: the proxy is told at once, or, where it can't be told, by the next hello. */
import type { FromAgent } from "../link/from-agent.ts";

/** `ok`: the client ended it; not a crash, a failed start or a cut. */
export interface SessionEnd {
  reason: string;
  ok: boolean;
}

/** The control connection, as it is when it is asked for. */
type ControlNow = () => { readonly up: boolean; send(message: FromAgent): void };

export class EndedSessions {
  readonly #control: ControlNow;
  readonly #untold = new Map<string, SessionEnd>();
  /** Those of them that the last hello told. */
  #told: string[] = [];

  constructor(control: ControlNow) {
    this.#control = control;
  }

  add(sid: string, how: SessionEnd): void {
    const control = this.#control();
    if (control.up) control.send({ t: "session.ended", sid, ...how });
    else this.#untold.set(sid, how);
  }

  /** For the hello. */
  report(): ({ sid: string } & SessionEnd)[] {
    this.#told = [...this.#untold.keys()];
    return [...this.#untold].map(([sid, how]) => ({ sid, ...how }));
  }

  /** The proxy took the hello. What has ended since that was made, it called live. */
  reported(): void {
    for (const sid of this.#told) this.#untold.delete(sid);
    for (const [sid, how] of this.#untold) this.#control().send({ t: "session.ended", sid, ...how });
    this.#untold.clear();
  }
}
