/** The nearest right spelling of a word, for hints. */

/**
 * The choice with the smallest edit distance (a swap of neighbours counts as one), when it is near enough to be what
 * was meant; undefined otherwise. Case and `-` against `_` count for nothing.
 */
export function nearest(word: string, choices: Iterable<string>): string | undefined {
  const given = fold(word.slice(0, 64));
  let best: { choice: string; distance: number } | undefined;
  for (const choice of choices) {
    const wanted = fold(choice);
    const limit = Math.max(1, Math.floor(Math.max(given.length, wanted.length) / 3));
    const distance = editDistance(given, wanted);
    if (distance <= limit && (best === undefined || distance < best.distance)) best = { choice, distance };
  }
  return best?.choice;
}

const fold = (text: string): string => text.toLowerCase().replaceAll("-", "_");

/** Optimal string alignment distance. */
function editDistance(a: string, b: string): number {
  let before: number[] = [];
  let row = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      const same = a[i - 1] === b[j - 1];
      let cost = Math.min((row[j] ?? 0) + 1, (next[j - 1] ?? 0) + 1, (row[j - 1] ?? 0) + (same ? 0 : 1));
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1])
        cost = Math.min(cost, (before[j - 2] ?? 0) + 1);
      next[j] = cost;
    }
    before = row;
    row = next;
  }
  return row[b.length] ?? 0;
}
