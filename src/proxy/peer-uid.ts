/** Who is at the other end of a unix socket, by the kernel's word (unix(7), SO_PEERCRED; getpeereid(3) on macOS). */
import { dlopen, ptr } from "bun:ffi";
import { openLibc } from "../libc.ts";

const SOL_SOCKET = 1;
const SO_PEERCRED = 17;

type Lookup = (fd: number) => number | undefined;
let lookup: Lookup | undefined;

/** The peer's uid, or `undefined` where this platform doesn't tell. */
export function peerUid(fd: number): number | undefined {
  lookup ??= open();
  return lookup(fd);
}

function open(): Lookup {
  if (process.platform === "linux") {
    const { getsockopt } = openLibc({ getsockopt: { args: ["i32", "i32", "i32", "ptr", "ptr"], returns: "i32" } });
    return (fd) => {
      const credentials = new Int32Array(3); // struct ucred: pid, uid, gid
      const length = new Uint32Array([credentials.byteLength]);
      if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, ptr(credentials), ptr(length)) !== 0) return undefined;
      return (credentials[1] as number) >>> 0;
    };
  }
  if (process.platform === "darwin") {
    const { symbols } = dlopen("libSystem.B.dylib", { getpeereid: { args: ["i32", "ptr", "ptr"], returns: "i32" } });
    return (fd) => {
      const ids = new Uint32Array(2);
      return symbols.getpeereid(fd, ptr(ids), ptr(ids, 4)) === 0 ? ids[0] : undefined;
    };
  }
  return () => undefined;
}
