/** Work done by each contender in turn, repeat after repeat, over a session that stays open between its turns. */
import { type Contender, open } from "./contenders.ts";
import { say } from "./progress.ts";
import { type Row, toRow } from "./report.ts";
import type { Session } from "./session.ts";

export interface Work<T> {
  name: string;
  repeats: number;
  /** One turn. */
  run(session: Session, contender: Contender): T;
}

/** Calls before the first measured one of a session. */
const WARM_UP = 300;
const WARM_UP_MS = 20_000;

export class Standing {
  readonly contenders: readonly Contender[];
  readonly #sessions = new Map<Contender, Session>();
  /** Those that open no session any more, and why. */
  readonly #broken = new Map<Contender, string>();

  constructor(contenders: readonly Contender[]) {
    this.contenders = contenders;
  }

  session(contender: Contender): Session {
    const found = this.#sessions.get(contender);
    if (found !== undefined && !found.ended) return found;
    let session: Session;
    try {
      session = open(contender);
    } catch (error) {
      this.#broken.set(contender, "broken by what came before");
      throw error;
    }
    this.#sessions.set(contender, session);
    session.sequential(Math.ceil(WARM_UP * contender.share), {}, WARM_UP_MS);
    return session;
  }

  async close(): Promise<void> {
    await Promise.all([...this.#sessions.values()].map((session) => session.end()));
    this.#sessions.clear();
  }

  /** One that fails once is out of this work, and gets a new session for the next. */
  async inTurn<T>(work: Work<T>): Promise<Turns<T>> {
    const values = new Map<string, T[]>();
    const failures = new Map<string, string>();
    say(work.name);
    for (let repeat = 0; repeat < work.repeats; repeat++) {
      for (const contender of this.contenders) {
        const { name } = contender;
        const broken = this.#broken.get(contender);
        if (broken !== undefined) failures.set(name, broken);
        if (failures.has(name) || repeat >= repeatsOf(contender, work)) continue;
        try {
          values.set(name, [...(values.get(name) ?? []), work.run(this.session(contender), contender)]);
        } catch (error) {
          say(`${work.name}: FAILED: ${name}: ${error instanceof Error ? error.message : error}`);
          failures.set(name, error instanceof Error ? error.message : String(error));
          values.delete(name);
          await this.#sessions.get(contender)?.end();
        }
        await Bun.sleep(0); // what the event loop has to do, it does between the turns
      }
    }
    return { values, failures };
  }
}

/** The slow ones would take most of the time, and their figures are steady. */
const repeatsOf = ({ share }: Contender, { repeats }: { repeats: number }): number =>
  share < 1 ? Math.ceil(repeats / 3) : repeats;

export interface Turns<T> {
  values: Map<string, T[]>;
  failures: Map<string, string>;
}

export function rowOf<T>(about: Omit<Row, "cells">, { values, failures }: Turns<T>, pick: (value: T) => number): Row {
  return toRow(about, new Map([...values].map(([name, all]) => [name, all.map(pick)])), failures);
}
