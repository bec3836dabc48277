/** WebSockets that have not said who they are: few for each address, and bounded in all, so that idle ones cost little. */

const PER_ADDRESS = 100;
const IN_ALL = 2_000;

export class Strangers {
  readonly #byAddress = new Map<string, number>();
  #count = 0;

  /** False: there are too many already. Otherwise `leave` has to follow, once. */
  enter(address: string): boolean {
    const here = this.#byAddress.get(address) ?? 0;
    if (here >= PER_ADDRESS || this.#count >= IN_ALL) return false;
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
