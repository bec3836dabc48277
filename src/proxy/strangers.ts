/** Connections of those who have not said who they are: few for each address, and bounded in all, so that they cost little. */

/** At once. */
interface Bounds {
  perAddress: number;
  inAll: number;
}

/** WebSockets that have yet to answer their challenge. */
const WEBSOCKETS: Bounds = { perAddress: 100, inAll: 2_000 };

export class Strangers {
  readonly #bounds: Bounds;
  readonly #byAddress = new Map<string, number>();
  #count = 0;

  constructor(bounds = WEBSOCKETS) {
    this.#bounds = bounds;
  }

  /** False: there are too many already. Otherwise `leave` has to follow, once. */
  enter(address: string): boolean {
    const here = this.#byAddress.get(address) ?? 0;
    if (here >= this.#bounds.perAddress || this.#count >= this.#bounds.inAll) return false;
    this.#byAddress.set(address, here + 1);
    this.#count++;
    return true;
  }

  leave(address: string): void {
    const here = (this.#byAddress.get(address) ?? 1) - 1;
    if (here > 0) this.#byAddress.set(address, here);
    else this.#byAddress.delete(address);
    this.#count--;
  }
}
