/** The proxy's URLs as both ends of a proof spell them. */
import { formatHostPort, type HostPort } from "../config/host-port.ts";

/**
 * `https://PUBLIC_ADDR` and `path` (from `/`, without a query), the port left out when it is 443. A proof's `htu`
 * (RFC 9449, 4.2) is this URL of the request's path, whatever address was dialled; WebSockets too.
 */
export function publicUrl(publicAddr: HostPort, path: string): string {
  const address = formatHostPort(publicAddr);
  return `https://${publicAddr.port === 443 ? address.slice(0, -":443".length) : address}${path}`;
}
