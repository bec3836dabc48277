/**
 * A key or name as the laxest reader may see it: case, compatibility forms and the letters that only fold to ASCII
 * (U+017F, U+212A, U+0130, U+0131) gone, and what follows a zero byte, where C's strings end. Go's `encoding/json`,
 * Java's `equalsIgnoreCase` and Python's `casefold` all find less equal than this.
 */
export function fold(text: string): string {
  if (/^[a-z0-9_]*$/.test(text)) return text;
  return text
    .replace(/\0.*$/s, "")
    .normalize("NFKC")
    .replaceAll("\u0131", "i")
    .toUpperCase()
    .toLowerCase()
    .replaceAll("\u0307", "")
    .normalize("NFKC");
}
