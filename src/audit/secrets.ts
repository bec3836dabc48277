/** What looks like a secret: by the name of a member, and by the few shapes that are beyond doubt. */

export const REDACTED = "<redacted>";

/** A name holds one of these once it is lower-cased and without separators: `X-Api-Key`, `apiKey`, `DB_PASSWORD`. */
const WITHIN = [
  "password",
  "passwd",
  "passphrase",
  "passcode",
  "secret",
  "token",
  "apikey",
  "accesskey",
  "privatekey",
  "signingkey",
  "encryptionkey",
  "authorization",
  "credential",
  "cookie",
  "bearer",
  "session",
];
/** Or is one of these. */
const WHOLE = ["auth", "pass", "pwd", "otp", "jwt"];
/** Counts of an LLM's tokens, as long as they are numbers: `max_tokens`, `token_count`, `tokenBudget`. */
const COUNT = /tokens$|token(count|limit|budget|usage)s?$/;

const SECRET_NAME = new RegExp(`${WITHIN.join("|")}|^(?:${WHOLE.join("|")})$`);

/** Whether a member's value is to be hidden. `null`, `true` and `false` tell nothing and stay. */
export function hasSecretName(name: string, value: unknown): boolean {
  if (value === null || typeof value === "boolean") return false;
  const kind = name.length <= MAX_SEEN_NAME ? (seen.get(name) ?? see(name)) : kindOf(name);
  return kind === "secret" || (kind === "count" && typeof value !== "number");
}

/** `count`: a secret's, unless it is a number's. */
type NameKind = "plain" | "secret" | "count";

function kindOf(name: string): NameKind {
  const plain = name.toLowerCase().replace(/[^a-z0-9]/g, "");
  if (!SECRET_NAME.test(plain)) return "plain";
  return COUNT.test(plain) ? "count" : "secret";
}

/** The same few names come again and again. */
const seen = new Map<string, NameKind>();
const [MAX_SEEN, MAX_SEEN_NAME] = [1024, 64];

function see(name: string): NameKind {
  const kind = kindOf(name);
  if (seen.size >= MAX_SEEN) seen.clear();
  seen.set(name, kind);
  return kind;
}

// Each begins at a place that the one before can't reach again, and has bounds: linear whatever the text.
const SHAPES: readonly (readonly [RegExp, string])[] = [
  // RFC 6750, RFC 7617; prose such as "basic authentication" has neither digits nor length
  [/(?<![a-z0-9])(Bearer|Basic) +(?:(?=[a-z._~+/-]{0,64}[0-9=])[\w.~+/=-]{8,}|[\w.~+/=-]{20,})/gi, `$1 ${REDACTED}`],
  // RFC 7468 and RFC 1421: a private key, whole or cut off; also where its line breaks are escaped. Only what a key is made
  // of: behind its first line nothing else hides
  [
    /-----BEGIN [A-Z0-9 ]{0,32}PRIVATE KEY-----(?:(?:\s|\\[rn])+(?:Proc-Type|DEK-Info): ?[\w,-]{1,80})*(?:(?:\s|\\[rn])*[A-Za-z0-9+/]{48,}={0,2})*(?:(?:\s|\\[rn])*[A-Za-z0-9+/]{1,80}={0,2})?(?:(?:\s|\\[rn])*-----END [A-Z0-9 ]{0,32}PRIVATE KEY-----)?/g,
    REDACTED,
  ],
  // RFC 3986: the password in a URL
  [/(:\/\/[^\s/?#:@]{0,256}:)[^\s/?#@]{1,256}@/g, `$1${REDACTED}@`],
  // RFC 7519: a JWT
  [/(?<![\w-])eyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*/g, REDACTED],
  // AWS: an access key's id, and the secret that is so often beside it
  [
    /(?<![A-Za-z0-9])(?:AKIA|ASIA)[A-Z0-9]{16}(?![A-Za-z0-9])(?:[\s:,;="']{1,4}[A-Za-z0-9/+]{40}(?![A-Za-z0-9/+]))?/g,
    REDACTED,
  ],
  // GitHub, GitLab, Slack, and the `sk-` keys of OpenAI, Anthropic and Stripe
  [/(?<![\w-])(?:gh[pousr]_|github_pat_|glpat-|xox[abeoprs]-|sk[-_])[\w-]{20,}/g, REDACTED],
];

/** What each of the shapes has in it. In a long text words are found faster one by one than all at once. */
const WORDS = [
  ...["PRIVATE KEY", "://", "eyJ", "AKIA", "ASIA"],
  ...["ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_", "glpat-", "xox", "sk-", "sk_"],
];
const SCHEME = /bearer|basic/i;
const HINT = new RegExp(`${WORDS.join("|")}|${SCHEME.source}`, "i");
const LONG = 256;

const isHinted = (text: string): boolean =>
  text.length < LONG ? HINT.test(text) : WORDS.some((word) => text.includes(word)) || SCHEME.test(text);

/** `text` with `"<redacted>"` in the place of well-known secrets. */
export function withoutSecrets(text: string): string {
  if (!isHinted(text)) return text;
  return SHAPES.reduce((rest, [shape, replacement]) => rest.replace(shape, replacement), text);
}

/** A command line with `"<redacted>"` in the place of what follows `--token=`, `--token` or `TOKEN=`, and of well-known secrets. */
export function withoutSecretArguments(words: readonly string[]): string[] {
  return words.map((word, i) => {
    const [, flag, name = ""] = /^(-*([\w.-]+)=)/.exec(word) ?? [];
    if (flag !== undefined && hasSecretName(name, word)) return flag + REDACTED;
    const [, before] = /^--?([\w.-]+)$/.exec(words[i - 1] ?? "") ?? [];
    if (before !== undefined && !word.startsWith("-") && hasSecretName(before, word)) return REDACTED;
    return withoutSecrets(word);
  });
}
