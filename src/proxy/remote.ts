/** Where a request comes from, also through load balancers that the configuration trusts. */
import { BlockList, isIP } from "node:net";

/** Addresses and CIDR networks, as the configuration's schema has checked them. */
export function trustedNetworks(entries: readonly string[]): BlockList {
  const list = new BlockList();
  for (const entry of entries) {
    const [address = "", bits] = entry.split("/");
    const family = isIP(address) === 6 ? "ipv6" : "ipv4";
    list.addSubnet(address, bits === undefined ? (family === "ipv6" ? 128 : 32) : Number(bits), family);
  }
  return list;
}

/**
 * The nearest address that is not one of our own load balancers: `X-Forwarded-For` is read from its end, and only as
 * far as every hop that wrote it is trusted. Anybody can send the header; a list that begins with a lie proves nothing.
 */
export function remoteAddress(peer: string, headers: Headers, trusted: BlockList): string {
  let address = plain(peer);
  const hops = (headers.get("x-forwarded-for") ?? "").split(",").map((hop) => plain(hop.trim()));
  while (hops.length > 0 && isTrusted(address, trusted)) {
    const next = hops.pop() ?? "";
    if (isIP(next) === 0) break;
    address = next;
  }
  return address;
}

const plain = (address: string): string => address.replace(/^::ffff:(?=\d+\.)/i, "");

const isTrusted = (address: string, trusted: BlockList): boolean =>
  isIP(address) !== 0 && trusted.check(address, isIP(address) === 6 ? "ipv6" : "ipv4");
