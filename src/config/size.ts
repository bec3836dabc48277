/** Sizes as people write them: `256MiB`, `10GiB`, `500MB`. */

const UNITS = {
  KiB: 1024,
  MiB: 1024 ** 2,
  GiB: 1024 ** 3,
  TiB: 1024 ** 4,
  KB: 1000,
  MB: 1000 ** 2,
  GB: 1000 ** 3,
  TB: 1000 ** 4,
} as const;

/** Whole bytes, over 0; undefined when it is no size. A bare number is none: of what? */
export function parseSize(text: string): number | undefined {
  const [, digits = "", unit = ""] = /^(\d{1,9})\s?([KMGT]i?B)$/.exec(text) ?? [];
  const bytes = Number(digits) * (UNITS[unit as keyof typeof UNITS] ?? 0);
  return bytes > 0 && Number.isSafeInteger(bytes) ? bytes : undefined;
}
