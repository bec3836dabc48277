import { expect, test } from "bun:test";
import { remoteAddress, trustedNetworks } from "../../src/proxy/remote.ts";

const trusted = trustedNetworks(["10.0.0.0/8", "192.0.2.7", "fd00::/8"]);
const from = (peer: string, forwarded?: string) =>
  remoteAddress(peer, new Headers(forwarded === undefined ? {} : { "x-forwarded-for": forwarded }), trusted);

test.each([
  ["203.0.113.9", undefined, "203.0.113.9"],
  ["203.0.113.9", "198.51.100.1", "203.0.113.9"], // anybody can send the header
  ["10.1.2.3", "198.51.100.1", "198.51.100.1"],
  ["::ffff:10.1.2.3", "198.51.100.1", "198.51.100.1"],
  ["10.1.2.3", "6.6.6.6, 198.51.100.1", "198.51.100.1"], // what the client itself wrote in front
  ["10.1.2.3", "198.51.100.1, 192.0.2.7", "198.51.100.1"],
  ["10.1.2.3", "198.51.100.1, nonsense", "10.1.2.3"],
  ["10.1.2.3", undefined, "10.1.2.3"],
  ["fd00::1", "2001:db8::5", "2001:db8::5"],
])("%s with X-Forwarded-For %p is %s", (peer, forwarded, expected) => {
  expect(from(peer, forwarded)).toBe(expected);
});
