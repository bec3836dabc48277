/** The fields of requests. Every check carries a message of its own: valibot's would quote the value. */
import * as v from "valibot";

const text = (max: number) => v.pipe(v.string(), v.maxLength(max, `at most ${max} characters`));

/** No `:` in it: an actor of the admin socket is called `uid:N`. */
export const userName = v.pipe(
  v.string(),
  v.regex(
    /^[A-Za-z0-9][A-Za-z0-9._@+-]{0,127}$/,
    "must begin with a letter or digit, and hold only these and . _ @ + -, at most 128",
  ),
);
export const roleNames = v.pipe(
  v.array(text(128)),
  v.minLength(1, "at least one role"),
  v.maxLength(64, "at most 64 roles"),
);
/** Trait → its new values, or null; the values are checked with the rest (`rbac/traits.ts`). */
export const changedTraits = v.record(v.string(), v.nullable(v.array(v.string())));
/** A host name. */
export const agentName = v.pipe(
  v.string(),
  v.regex(
    /^[A-Za-z0-9][A-Za-z0-9._-]{0,252}$/,
    "must begin with a letter or digit, and hold only these and . _ -, at most 253",
  ),
);
export const secret = text(512);
export const password = text(1024);

/** RFC 3339, or a date (its midnight in UTC); in `toISOString()`'s form when parsed. */
export const time = v.pipe(
  v.string(),
  v.regex(
    /^\d{4}-\d\d-\d\d(T\d\d:\d\d(:\d\d(\.\d{1,9})?)?(Z|[+-]\d\d:\d\d))?$/i,
    "must be a time like 2026-11-23T05:24:00Z or a date",
  ),
  v.check((value) => !Number.isNaN(Date.parse(value)), "no such time"),
  v.transform((value) => new Date(value).toISOString()),
);

/** A whole number in a query. */
export const count = (min: number, max: number) =>
  v.pipe(
    v.string(),
    v.regex(/^\d{1,15}$/, "must be a whole number"),
    v.transform(Number),
    v.minValue(min, `at least ${min}`),
    v.maxValue(max, `at most ${max}`),
  );

export const filterText = text(512);
