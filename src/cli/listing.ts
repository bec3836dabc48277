/** What the listings of the admin commands share. */
import type { Context } from "./context.ts";
import { type Cell, type Format, render, table } from "./output.ts";

/** A listing as table, JSON or YAML; where it is empty, a line on stderr says so to people. */
export async function printListing<T>(
  context: Context,
  format: Format,
  o: { items: T[]; headers: string[]; row: (item: T) => Cell[]; empty: string },
): Promise<void> {
  await context.out.print(await render(format, o.items, () => table(o.headers, o.items.map(o.row))));
  if (format === "text" && o.items.length === 0) context.out.notice(o.empty);
}

/** RFC 3339 → `2026-11-23 05:24:00` in UTC; empty where there is none. */
export const utc = (time: string | null | undefined): string =>
  time ? new Date(time).toISOString().slice(0, 19).replace("T", " ") : "";

/** One segment of a path. */
export const segment = (name: string): string => encodeURIComponent(name);
