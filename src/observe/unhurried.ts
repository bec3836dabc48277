/** An answer that takes time to make, for whoever asks, however often: where it is asked for too often, the last one is given again. */

/** Of each second, milliseconds that answers may take in the long run; and at once, where nobody has asked for a while. */
const [SHARE, AT_ONCE] = [100, 200];
/** An answer is not older than this, milliseconds. */
const MAX_AGE = 2_000;

/** `now`: monotonic milliseconds. */
export function unhurried<T>(make: () => Promise<T>, now = () => performance.now()): () => Promise<T> {
  let last: { answer: T; madeAt: number } | undefined;
  let taken = 0;
  let at = now();
  return async () => {
    const began = now();
    taken = Math.max(0, taken - ((began - at) * SHARE) / 1000);
    at = began;
    if (last !== undefined && taken >= AT_ONCE && began - last.madeAt < MAX_AGE) return last.answer;
    const answer = await make();
    last = { answer, madeAt: now() };
    taken = Math.min(taken + last.madeAt - began, 2 * AT_ONCE);
    return answer;
  };
}
