/** Logging in and out, and the first password. */
import * as v from "valibot";
import { formatHostPort, type HostPort, parseHostPort } from "../config/host-port.ts";
import { Failure } from "../errors.ts";
import { generateKeyPair } from "../identity/keys.ts";
import { request } from "../link/request.ts";
import { fetchCa, fetchPinnedCa, findProxy, type Trust } from "../link/trust.ts";
import { loadProfile, loginCommand, removeProfile, requireProfile, saveProfile } from "./state.ts";

/** How to know the proxy: a pin from its admin, or a person who is asked once, as ssh does. */
export interface TrustOptions {
  caPin?: string;
  confirmPin?(pin: string): Promise<boolean>;
}

export interface LoginOptions extends TrustOptions {
  /** HOST:PORT, or HOST for port 443. */
  proxy: string;
  user: string;
  password: string;
  home: string;
}

export interface LoginStatus {
  logged_in: boolean;
  proxy?: string;
  cluster?: string;
  user?: string;
  roles?: string[];
  expires_at?: string;
  /** Why the saved login is no good. */
  reason?: string;
}

const loginAnswer = v.object({ user: v.string(), expires_at: v.string(), cluster_name: v.string() });
const whoami = v.object({ user: v.string(), expires_at: v.string(), roles: v.array(v.string()) });

/** Makes a key, has it registered for 12 hours by the password, and keeps it in `home`. */
export async function login(options: LoginOptions): Promise<{ user: string; expires_at: string }> {
  const { user, password, home } = options;
  const { trust, caPin } = await establish(parseProxy(options.proxy), home, options);
  const key = await generateKeyPair();
  const answer = await request({
    trust,
    key,
    method: "POST",
    path: "/v1/login",
    body: { user, password },
    schema: loginAnswer,
  });
  saveProfile(home, {
    trust,
    caPin,
    cluster: answer.cluster_name,
    user: answer.user,
    expiresAt: answer.expires_at,
    key,
  });
  return { user: answer.user, expires_at: answer.expires_at };
}

/** The proxy forgets the key, and so does this machine; the latter also when the proxy can't be reached. */
export async function logout({ home }: { home: string }): Promise<void> {
  const { trust, key } = await requireProfile(home);
  try {
    await request({ trust, key, method: "POST", path: "/v1/logout", schema: v.unknown() });
  } catch (error) {
    const failure = Failure.from(error);
    const gone = failure.code === "not_logged_in" || failure.code === "login_expired";
    removeProfile(home);
    if (gone) return;
    throw new Failure(failure.code, `logged out here, but the proxy was not told: ${failure.message}`, {
      hint: "the key was removed from this machine, and the login ends by itself within 12 hours",
    });
  }
  removeProfile(home);
}

/** The saved login, and whether the proxy takes it. Fails when the proxy can't be reached. */
export async function loginStatus({ home }: { home: string }): Promise<LoginStatus> {
  const profile = await loadProfile(home);
  if (profile === undefined) return { logged_in: false, reason: "not logged in" };
  const about = {
    proxy: formatHostPort(profile.trust.proxy),
    cluster: profile.cluster,
    user: profile.user,
    expires_at: profile.expiresAt,
  };
  try {
    const { trust, key } = profile;
    const { roles, expires_at } = await request({ trust, key, method: "GET", path: "/v1/whoami", schema: whoami });
    return { logged_in: true, ...about, roles, expires_at };
  } catch (error) {
    const { code, message } = Failure.from(error);
    if (code !== "not_logged_in" && code !== "login_expired") throw error;
    return { logged_in: false, ...about, reason: message };
  }
}

export interface InviteOptions extends TrustOptions {
  url: string;
  password: string;
  home: string;
}

/** Sets the password that the invite is for. `next`: the command to log in with. */
export async function acceptInvite(options: InviteOptions): Promise<{ user: string; next: string }> {
  const { proxy, invite } = parseInvite(options.url);
  const { trust, caPin } = await establish(proxy, options.home, options);
  const { user } = await request({
    trust,
    method: "POST",
    path: "/v1/invite",
    body: { invite, password: options.password },
    schema: v.object({ user: v.string() }),
  });
  const pin = caPin === undefined ? "" : ` --ca-pin=${caPin}`;
  return { user, next: `${loginCommand({ trust, user })}${pin}` };
}

/** `https://HOST[:PORT]/web/invite#CODE`: the code is in the fragment, which no server and no log ever sees. */
function parseInvite(text: string): { proxy: HostPort; invite: string } {
  const url = URL.parse(text);
  const invite = url?.hash.slice(1) ?? "";
  if (url === null || url.protocol !== "https:" || url.pathname !== "/web/invite" || invite === "") {
    throw new Failure("usage", "this is not an invite URL", {
      hint: "quote it whole: mcpgate client accept-invite 'https://HOST/web/invite#CODE'",
    });
  }
  const host = url.hostname.replace(/^\[|\]$/g, "");
  return { proxy: { host, port: url.port === "" ? 443 : Number(url.port) }, invite };
}

function parseProxy(text: string): HostPort {
  const proxy = parseHostPort(text, { defaultPort: 443 });
  if (typeof proxy === "string")
    throw new Failure("usage", `--proxy: ${proxy}`, { hint: "--proxy=mcpgate.example.com:443" });
  return proxy;
}

/**
 * A connection to this proxy that is worth a password: by the pin that was given, by the CA that this machine trusted
 * before, by the public web's, or by a person's word.
 */
async function establish(
  proxy: HostPort,
  home: string,
  { caPin, confirmPin }: TrustOptions,
): Promise<{ trust: Trust; caPin?: string | undefined }> {
  const known = caPin === undefined ? await knownTrust(proxy, home) : undefined;
  let trust: Trust = caPin === undefined ? { proxy } : { proxy, caPem: await fetchPinnedCa(proxy, caPin) };
  let pin = caPin;
  let found: Awaited<ReturnType<typeof findProxy>>;
  try {
    if (known !== undefined) ({ trust, caPin: pin } = known);
    found = await findProxy(trust);
  } catch (error) {
    if (Failure.from(error).code !== "tls" || trust.caPem !== undefined) throw error;
    const own = await fetchCa(proxy);
    if (confirmPin === undefined) {
      throw new Failure(
        "tls",
        `the proxy ${formatHostPort(proxy)} has a CA of its own, and no pin was given to check it by`,
        {
          hint: `if \`mcpgate proxy start\` prints this pin on the proxy's host, add --ca-pin=${own.pin}`,
        },
      );
    }
    if (!(await confirmPin(own.pin))) throw new Failure("pin_mismatch", "the proxy's CA was not accepted");
    trust = { proxy, caPem: own.caPem };
    pin = own.pin;
    found = await findProxy(trust);
  }
  const address = parseHostPort(found.public_addr, { defaultPort: 443 });
  if (typeof address === "string" || address.host !== proxy.host || address.port !== proxy.port) {
    // A proof of possession names the proxy's own address: one that took another's word for it could pass proofs on.
    throw new Failure("usage", `the proxy's public address is ${found.public_addr}, not ${formatHostPort(proxy)}`, {
      hint: `--proxy=${found.public_addr}`,
    });
  }
  return { trust, caPin: pin };
}

async function knownTrust(
  proxy: HostPort,
  home: string,
): Promise<{ trust: Trust; caPin?: string | undefined } | undefined> {
  const profile = await loadProfile(home).catch(() => undefined);
  if (profile === undefined || formatHostPort(profile.trust.proxy) !== formatHostPort(proxy)) return undefined;
  return profile.trust.caPem === undefined ? undefined : { trust: profile.trust, caPin: profile.caPin };
}
