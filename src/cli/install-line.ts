/** What people paste to install mcpgate from a proxy, checked as well as the proxy lets it be. */
import { parseHostPort } from "../config/host-port.ts";
import { shellQuote } from "../config/shell-quote.ts";
import { Failure } from "../errors.ts";
import { publicUrl } from "../identity/url.ts";

/** What the proxy's API says of how the proxy is known. */
export interface ProxyTrust {
  public_addr: string;
  /** Both absent where its certificate is checked as a web site's. */
  ca_pin?: string;
  key_pin?: string;
}

/** For Linux and macOS. `runner`: what reads the script on its standard input. */
export const installLine = (trust: ProxyTrust, runner: string): string =>
  `${fetchWith("curl", trust, "install.sh")} | ${runner}`;

/** For PowerShell on Windows, which brings curl along. */
export const installLineWindows = (trust: ProxyTrust): string =>
  `$f = "$env:TEMP\\mcpgate-install.ps1"; ${fetchWith("curl.exe", trust, "install.ps1")} -o $f; ` +
  "if ($?) { powershell -ExecutionPolicy Bypass -File $f }";

/**
 * `-k` beside a pin: no host knows a CA of the proxy's own, and the server's key is checked before anything is sent. A curl
 * that can't do that ends with an error, but for new ones that were built with Rustls, which warn (and not under `-s`): the
 * script looks for those before it goes on (`must_pin`). Nothing in the words needs other quotes in PowerShell than in a shell.
 */
function fetchWith(curl: string, { public_addr, key_pin }: ProxyTrust, script: string): string {
  const address = parseHostPort(public_addr);
  if (typeof address === "string") throw new Failure("internal", `the proxy's public address: ${address}`);
  const globs = address.host.includes(":") ? " -g" : "";
  const pin = key_pin === undefined ? "" : ` -k --pinnedpubkey ${shellQuote(key_pin)}`;
  return `${curl} -fsS${globs} --tlsv1.2${pin} ${shellQuote(publicUrl(address, `/scripts/${script}`))}`;
}
