/** Network addresses as people write them: `host:port`, `[v6]:port`. */

export interface HostPort {
  /** Host name, IPv4, or IPv6 without its brackets. */
  host: string;
  port: number;
}

const NAME = /^(?=.{1,253}$)[a-z0-9_]([a-z0-9_-]{0,62})(\.[a-z0-9_]([a-z0-9_-]{0,62}))*$/i;
const IPV6 = /^[0-9a-f:.]+(%[a-z0-9]+)?$/i;

/**
 * `host:port`, `host` (with `defaultPort`), `:port` (with `defaultHost`), `[v6]:port`. Ports 0 to 65535.
 * Answers with what is wrong, as the end of a sentence, when it is no address.
 */
export function parseHostPort(text: string, o: { defaultHost?: string; defaultPort?: number } = {}): HostPort | string {
  if (/^[a-z][a-z0-9+.-]*:\/\//i.test(text)) return `"${text}" is a URL, not host:port`;
  const match = /^(?:\[([^\]]*)\]|([^:[\]]*))(?::(\d{1,5}))?$/.exec(text);
  if (match === null) return `"${text}" is not host:port`;
  const [, v6, name, digits] = match;
  const host = v6 ?? (name === "" ? o.defaultHost : name);
  if (host === undefined || host === "") return `"${text}" has no host`;
  if (v6 === undefined ? !NAME.test(host) : !(IPV6.test(host) && host.includes(":"))) {
    return `"${text}" has a host that is neither a name nor an address`;
  }
  const port = digits === undefined ? o.defaultPort : Number(digits);
  if (port === undefined) return `"${text}" has no port`;
  if (port > 65535) return `"${text}" has a port over 65535`;
  return { host: host.toLowerCase(), port };
}

/** `host:port`, with brackets around IPv6. */
export function formatHostPort({ host, port }: HostPort): string {
  return host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`;
}
