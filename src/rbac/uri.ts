/**
 * Resource URIs in the one form that rules compare (RFC 3986, section 6.2). A URI that a server might take for another
 * one than its text says is refused, whatever the rules: the gate could not tell which one it lets through.
 */

const SCHEME = /^[a-z][a-z0-9+.-]*:/;
/** Never raw in a URI or IRI: white space, controls, backslash (a slash to some), and what RFC 3986 leaves out. */
const FORBIDDEN = /[\u0000-\u0020\u007f-\u009f\u2028\u2029"<>\\^`{|}]/;
/** Scheme, host; without what may stand around the host. */
const AUTHORITY = /^([^:]+:\/\/)(?:[^/?#]*@)?([^/?#]*?)(?::\d*)?(?=[/?#]|$)/;
const EXPRESSION = /\{[^{}]*\}/g;
/** Schemes of which the WHATWG URL parser knows more than RFC 3986 says. */
const WEB = /^(?:https?|wss?|ftp):/;
const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/**
 * The text that rules for this URI compare: percent-encoding decoded but for `#`, `?` and `%`, in Unicode's form C.
 * Undefined for a URI that is not canonical: upper-case scheme, `.` and `..` and empty path segments, an encoded slash,
 * backslash, control character, letter, digit, `-`, `.`, `_` or `~`, double encoding, invalid UTF-8; in `file:` any
 * host, query and fragment; in web schemes anything that a URL parser would write differently.
 */
export function canonicalUri(uri: string): string | undefined {
  if (!SCHEME.test(uri) || FORBIDDEN.test(uri)) return undefined;
  if (!hasCanonicalPath(uri)) return undefined;
  if (uri.startsWith("file:") && (!uri.startsWith("file:///") || /[?#]/.test(uri))) return undefined;
  if (WEB.test(uri) && !isWebForm(uri)) return undefined;
  return decodePercent(uri)?.normalize("NFC");
}

/**
 * A URI template (RFC 6570) is compared as it is written: a rule lists it by naming it, or by a glob over its text. What
 * stands around its expressions must be canonical, so that `docs/*` does not list `docs/../{path}`.
 */
export function canonicalTemplate(template: string): string | undefined {
  return canonicalUri(template.replace(EXPRESSION, "x")) === undefined ? undefined : template;
}

/**
 * The forms in which a rule that denies looks at a canonical URI: servers drop fragments, queries, last slashes, user
 * names and ports, and take hosts in any case (RFC 3986, 6.2.2.1); none of them may be a way around a denied literal.
 */
export function deniableForms(canonical: string): string[] {
  const forms = new Set([canonical]);
  forms.add(canonical.replace(AUTHORITY, (_, scheme: string, host: string) => scheme + host.toLowerCase()));
  for (const form of [...forms]) for (const cut of [/#.*$/s, /[?#].*$/s]) forms.add(form.replace(cut, ""));
  for (const form of [...forms]) forms.add(form.replace(/\/+$/, ""));
  return [...forms];
}

/** A literal or glob of a rule in the form of what it is compared with. */
export function canonicalPattern(pattern: string): string {
  return (decodePercent(pattern) ?? pattern).normalize("NFC");
}

function hasCanonicalPath(uri: string): boolean {
  const rest = uri.slice(uri.indexOf(":") + 1).replace(/[?#].*$/s, "");
  const path = rest.startsWith("//") ? rest.slice(2) : rest;
  const segments = path.split("/");
  return segments.every((segment, i) => {
    // Empty: before the first slash (an empty host, or an absolute path) and after the last one.
    if (segment === "") return i === 0 || i === segments.length - 1;
    return !/^\.{1,2}(?:;|$)/.test(segment);
  });
}

function isWebForm(uri: string): boolean {
  try {
    const { href } = new URL(uri);
    return href === uri || href === `${uri}/`;
  } catch {
    return false;
  }
}

/** Undefined where an encoding stands that a canonical URI does not have. */
function decodePercent(uri: string): string | undefined {
  if (!uri.includes("%")) return uri;
  let fine = true;
  const out = uri.replace(/(?:%[0-9a-fA-F]{2})+|%/g, (run) => {
    const text = decodeRun(run);
    fine &&= text !== undefined;
    return text ?? run;
  });
  // `%25` and two hex digits is an encoding inside an encoding.
  return fine && !/%25[0-9a-fA-F]{2}/.test(out) ? out : undefined;
}

function decodeRun(run: string): string | undefined {
  if (run === "%") return undefined;
  const bytes = Uint8Array.from(run.slice(1).split("%"), (hex) => Number.parseInt(hex, 16));
  let text: string;
  try {
    text = decoder.decode(bytes);
  } catch {
    return undefined;
  }
  if (/[\u0000-\u001f\u007f-\u009fA-Za-z0-9._~/\\-]/.test(text)) return undefined;
  return text.replace(/[%#?]/g, (char) => `%${char.charCodeAt(0).toString(16).toUpperCase()}`);
}
