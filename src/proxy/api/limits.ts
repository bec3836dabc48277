/** How often something may be tried: counted for each key in fixed windows, in a table of bounded size. */

export interface AttemptLimitsOptions {
  /** Attempts for each key in one window. */
  max: number;
  windowMs: number;
  /** Keys that are counted at once; at the bound the one that was begun first is forgotten. */
  size?: number;
  /** Milliseconds. */
  now: () => number;
}

interface Count {
  attempts: number;
  since: number;
}

export class AttemptLimits {
  readonly #options: AttemptLimitsOptions;
  readonly #size: number;
  /** In the order of their beginning. */
  readonly #counts = new Map<string, Count>();

  constructor(options: AttemptLimitsOptions) {
    this.#options = options;
    this.#size = options.size ?? 10_000;
  }

  /** Counts an attempt, before it is made, so that attempts side by side count too. False: not now. */
  take(key: string): boolean {
    const { max, windowMs, now } = this.#options;
    const count = this.#counts.get(key);
    if (count === undefined || now() - count.since >= windowMs) {
      this.#counts.delete(key);
      if (this.#counts.size >= this.#size) this.#forgetFirst();
      this.#counts.set(key, { attempts: 1, since: now() });
      return true;
    }
    if (count.attempts >= max) return false;
    count.attempts += 1;
    return true;
  }

  /** An attempt turned out to be rightful: it does not count. */
  giveBack(key: string): void {
    const count = this.#counts.get(key);
    if (count !== undefined && count.attempts > 0) count.attempts -= 1;
  }

  #forgetFirst(): void {
    const [first] = this.#counts.keys();
    if (first !== undefined) this.#counts.delete(first);
  }
}

/** What counts as one address: IPv4 as it is, IPv6 by its /64, which is what one host is given. */
export function addressKey(remote: string): string {
  const v4 = /^(?:::ffff:)?(\d{1,3}(?:\.\d{1,3}){3})$/i.exec(remote);
  if (v4?.[1] !== undefined) return v4[1];
  if (!remote.includes(":")) return remote;
  const [head = "", tail] = remote.toLowerCase().split("::");
  const groups = head === "" ? [] : head.split(":");
  if (tail !== undefined) {
    const after = tail === "" ? 0 : tail.split(":").length;
    while (groups.length + after < 8) groups.push("0");
    groups.push(...tail.split(":"));
  }
  return `${groups
    .slice(0, 4)
    .map((group) => group.replace(/^0+(?=.)/, ""))
    .join(":")}::/64`;
}
