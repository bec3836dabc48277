/** A new event id: UUIDv7 (RFC 9562), so ids sort by the time of their making. */
export const newUid = (): string => Bun.randomUUIDv7();
