/** Durations as people write them: `90s`, `30m`, `12h`, `7d`, `1h30m`. */

const SECONDS = { s: 1, m: 60, h: 3600, d: 86400 } as const;

/** Whole seconds, over 0 and at most ten years; undefined when it is no duration. A bare number is none: of what? */
export function parseDuration(text: string): number | undefined {
  if (!/^(\d{1,9}[smhd])+$/.test(text)) return undefined;
  let seconds = 0;
  for (const [, digits, unit] of text.matchAll(/(\d+)([smhd])/g)) {
    seconds += Number(digits) * SECONDS[unit as keyof typeof SECONDS];
  }
  return seconds > 0 && seconds <= 10 * 365 * SECONDS.d ? seconds : undefined;
}

/** `30 minutes`, `1 hour`, `90 seconds`: the largest unit that divides it. */
export function formatDuration(seconds: number): string {
  const [unit, size] =
    seconds % 86400 === 0 && seconds > 86400
      ? (["day", 86400] as const)
      : seconds % 3600 === 0
        ? (["hour", 3600] as const)
        : seconds % 60 === 0
          ? (["minute", 60] as const)
          : (["second", 1] as const);
  const count = seconds / size;
  return `${count} ${unit}${count === 1 ? "" : "s"}`;
}
