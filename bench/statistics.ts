/** Numbers of repeats, and what is said of them. */

/** `q` from 0 to 1; linear between neighbours. NaN of nothing. */
export function quantile(values: ArrayLike<number>, q: number): number {
  const sorted = Float64Array.from(values).sort();
  if (sorted.length === 0) return Number.NaN;
  const at = (sorted.length - 1) * q;
  const low = sorted[Math.floor(at)] as number;
  const high = sorted[Math.ceil(at)] as number;
  return low + (high - low) * (at - Math.floor(at));
}

export const median = (values: ArrayLike<number>): number => quantile(values, 0.5);

/** Half the distance between the quartiles, as a part of the median. */
export function spread(values: ArrayLike<number>): number {
  return values.length < 2 ? 0 : (quantile(values, 0.75) - quantile(values, 0.25)) / 2 / median(values);
}
