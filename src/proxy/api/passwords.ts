/** Passwords: argon2id, a few at a time, and the same work whether or not there is such a user. */
import { Failure } from "../../errors.ts";

/** Characters. The only factor there is, so rather a sentence than a word. */
export const MIN_PASSWORD = 12;
export const MAX_PASSWORD = 256;

/** OWASP's second choice doubled: 64 MiB and two passes, about 100 ms. */
const ARGON2 = { algorithm: "argon2id", memoryCost: 65_536, timeCost: 2 } as const;
/** Of nobody's password: what an unknown user's is compared with. Same parameters as above. */
export const NOBODY =
  "$argon2id$v=19$m=65536,t=2,p=1$GvQGFzpajwcHa7jCLZ132oI+HjOJwKx2YjgvLGdpFwM$YTBr9MtG4Zm3gCGrZK1iAyO01nTBGEP8KS4nYmwmnlI";
/** Every hash takes 64 MiB: nobody who may try a password shall be able to take all the memory. */
const AT_ONCE = 2;
const WAITING = 32;

export class Passwords {
  #running = 0;
  readonly #waiting: (() => void)[] = [];

  /** PHC form. Throws `Failure("too_many_requests")` when too many wait. */
  hash(password: string): Promise<string> {
    return this.#turn(() => Bun.password.hash(typed(password), ARGON2));
  }

  /** `hash` undefined (no such user, no password yet): takes as long, and is false. */
  verify(password: string, hash: string | undefined): Promise<boolean> {
    return this.#turn(async () => {
      const same = await Bun.password.verify(typed(password), hash ?? NOBODY);
      return same && hash !== undefined;
    });
  }

  async #turn<T>(work: () => Promise<T>): Promise<T> {
    if (this.#running >= AT_ONCE) {
      if (this.#waiting.length >= WAITING) {
        throw new Failure("too_many_requests", "too many logins at once", { hint: "try again in a few seconds" });
      }
      await new Promise<void>((resolve) => this.#waiting.push(resolve));
    } else {
      this.#running += 1;
    }
    try {
      return await work();
    } finally {
      // the place goes to the next in line, or is free
      const next = this.#waiting.shift();
      if (next === undefined) this.#running -= 1;
      else next();
    }
  }
}

/** One password however the keyboard composes its accents (NIST SP 800-63B, 3.1.1.2). */
const typed = (password: string): string => password.normalize("NFKC");

/** Throws `Failure("invalid")` for a password that is too short, too long or the user's name. */
export function checkPassword(password: string, user: string): void {
  const length = [...password].length;
  const hint = "choose a few words that only you would put together";
  if (length < MIN_PASSWORD) {
    throw new Failure("invalid", `a password needs at least ${MIN_PASSWORD} characters`, { hint });
  }
  if (length > MAX_PASSWORD) throw new Failure("invalid", `a password has at most ${MAX_PASSWORD} characters`);
  if (password.toLowerCase() === user.toLowerCase()) {
    throw new Failure("invalid", "the password must not be the user name", { hint });
  }
}
