/**
 * The C library, for the few calls that neither Bun nor Node offers. Linux: its name differs (glibc, musl), and whichever is
 * loaded already answers first.
 */
import { dlopen, type FFIFunction, type Library } from "bun:ffi";

const musl: Record<string, string> = { x64: "libc.musl-x86_64.so.1", arm64: "libc.musl-aarch64.so.1" };

/** Names to try, in order. `libc.so.6` first: on a musl system it is only there where glibc was installed beside it. */
const names = (): string[] => {
  const own = musl[process.arch];
  return ["libc.so.6", ...(own === undefined ? [] : [own]), "libc.so"];
};

/** Its functions of these signatures; throws when none of its names can be opened. To be kept: each call opens it again. */
export function openLibc<T extends Record<string, FFIFunction>>(signatures: T): Library<T>["symbols"] {
  let last: unknown;
  for (const name of names()) {
    try {
      return dlopen(name, signatures).symbols;
    } catch (error) {
      last = error;
    }
  }
  throw new Error(`can't open the C library (${names().join(", ")})`, { cause: last });
}
