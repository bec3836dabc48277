/**
 * Milliseconds before the `attempt`th try (0: the first, at once) to reconnect: doubling from 100 ms up to `ceiling`,
 * and jittered, so that a proxy that comes back is not met by everybody in the same instant.
 */
export function backoff(attempt: number, ceiling = 10_000, random: () => number = Math.random): number {
  if (attempt === 0) return 0;
  const full = Math.min(ceiling, 100 * 2 ** Math.min(attempt - 1, 20));
  return full / 2 + random() * (full / 2);
}
