/** `install.sh` and `install.ps1` with what this proxy puts into them: where it is, and by what it is known. */
import { formatHostPort, type HostPort } from "../config/host-port.ts";
import { powershellQuote, shellQuote } from "../config/shell-quote.ts";
import { publicUrl } from "../identity/url.ts";
import { VERSION } from "../version.ts";
import ps1 from "./install.ps1" with { type: "text" };
import sh from "./install.sh" with { type: "text" };

export interface ScriptValues {
  publicAddr: HostPort;
  /** Both absent where the proxy's certificate is checked as a web site's. */
  caPin?: string | undefined;
  keyPin?: string | undefined;
}

export const installSh = (values: ScriptValues): string => filled(sh, shellQuote, values);

export const installPs1 = (values: ScriptValues): string => filled(ps1, powershellQuote, values);

/** Each `'@NAME@'` in the text is one quoted word, before and after. */
function filled(script: string, quote: (text: string) => string, { publicAddr, caPin, keyPin }: ScriptValues): string {
  const words: Record<string, string> = {
    VERSION,
    BASE_URL: publicUrl(publicAddr, ""),
    PROXY_ADDR: formatHostPort(publicAddr),
    KEY_PIN: keyPin ?? "",
    CA_PIN: caPin ?? "",
  };
  return script.replace(/'@([A-Z_]+)@'/g, (placeholder, name: string) => {
    const word = words[name];
    return word === undefined ? placeholder : quote(word);
  });
}
