/** Audit events as lines. */
import type { AuditEvent } from "../event.ts";
import { printable } from "../log.ts";
import { utc } from "./listing.ts";

export const HEADERS = ["Time (UTC)", "Event", "User", "App", "Details"];

/** The cells of a table's row. */
export function row(event: AuditEvent): string[] {
  return [utc(event.time), event.event, event.user ?? event.actor ?? "", event.app ?? "", details(event)];
}

/** For a reader who sees one event after the other, so that no column's width is known. */
export function eventLine(event: AuditEvent): string {
  const [time = "", name = "", user, app, rest = ""] = row(event);
  return `${printable([time, name.padEnd(24), user || "-", app || "-", rest].join("  ").trimEnd())}\n`;
}

export const jsonLine = (event: AuditEvent): string => `${JSON.stringify(event)}\n`;

/** About an agent, or about one of several that offer an app. */
const isOfAgent = (name: string): boolean =>
  name.startsWith("agent.") || name === "app.refuse" || name === "app.approve";

/** What was asked for and how it went, in one cell. */
function details(event: AuditEvent): string {
  const target = event.tool ?? event.prompt ?? event.resource;
  const outcome = event.outcome ?? (event.success === false ? "failed" : undefined);
  const parts = [
    isOfAgent(event.event) ? event.agent : undefined,
    event.method,
    target,
    outcome,
    event.duration_ms === undefined ? undefined : `${event.duration_ms} ms`,
    event.error,
    ...Object.entries(event.details ?? {}).map(([key, value]) => detail(key, value)),
  ];
  return parts.filter((part) => part !== undefined && part !== "").join(" ");
}

/** `roles=dev,auditor`; what is no plain value is for programs. */
function detail(key: string, value: unknown): string | undefined {
  const text = Array.isArray(value) ? value.join(",") : typeof value === "object" ? "" : String(value ?? "");
  return text === "" ? undefined : `${key}=${text.length > 100 ? `${text.slice(0, 99)}…` : text}`;
}
