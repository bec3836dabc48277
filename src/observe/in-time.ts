/** What `work` comes to, or `late` after `ms` milliseconds. Rejects with `work`. */
export async function inTime<T, L>(work: () => T | Promise<T>, ms: number, late: L): Promise<T | L> {
  const over = Promise.withResolvers<L>();
  const timer = setTimeout(over.resolve, ms, late);
  try {
    return await Promise.race([work(), over.promise]);
  } finally {
    clearTimeout(timer);
  }
}
