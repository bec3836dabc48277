/** The client's side: the saved login, whether the proxy takes it, and the way there. */
import { join } from "node:path";
import { loginStatus } from "../client/login.ts";
import { clientHome, loadProfile, loginCommand, type Profile } from "../client/state.ts";
import { Failure } from "../errors.ts";
import { CLIENT_PATH } from "../link/protocol.ts";
import type { Edges } from "./edges.ts";
import { bounded, type Finding, report } from "./finding.ts";
import { checkPath } from "./path-to-proxy.ts";
import { checkModes, checkSpace } from "./storage.ts";

const WAY_MS = 25_000;
const LOGIN_MS = 20_000;
const FILES_MS = 5_000;
/** A login with less left is about to end, milliseconds. */
const SOON_MS = 30 * 60_000;

/** Nothing where nobody has ever logged in here. */
export async function checkClient(edges: Edges): Promise<Finding[]> {
  const home = clientHome(edges.env);
  const file = join(home, "login.json");
  let profile: Profile | undefined;
  try {
    profile = await loadProfile(home);
  } catch (error) {
    const { code } = Failure.from(error);
    // its own finding says which file, and how to mend it
    const modes = checkModes(
      "client",
      [
        [home, "read"],
        [file, "nothing"],
      ],
      edges.uid,
    ).filter(({ state }) => state === "fail");
    return code === "permissions" && modes.length > 0 ? modes : [report("client", "login").failure(error)];
  }
  if (profile === undefined) return [];
  const { trust, caPin } = profile;
  const way = await bounded("client", "way", WAY_MS, async (soFar) => {
    const { findings, reached } = await checkPath({
      ...{ part: "client", trust, pin: caPin, path: CLIENT_PATH, env: edges.env, now: edges.now, soFar },
    });
    if (!reached) return [...findings, report("client", "login").skip("not asked, as the proxy can't be reached")];
    return [...findings, ...(await bounded("client", "login", LOGIN_MS, () => checkLogin(home, profile)))];
  });
  const files = await bounded("client", "disk", FILES_MS, async () => [
    ...checkModes(
      "client",
      [
        [home, "read"],
        [file, "nothing"],
      ],
      edges.uid,
    ),
    ...(await checkSpace("client", home, edges.statfs)),
  ]);
  return [...way, ...files];
}

async function checkLogin(home: string, profile: Profile): Promise<Finding> {
  const say = report("client", "login");
  const status = await loginStatus({ home });
  if (!status.logged_in) return say.fail(status.reason ?? "not logged in", loginCommand(profile));
  const left = Date.parse(status.expires_at ?? "") - Date.now();
  const who = `${status.user} with the roles ${(status.roles ?? []).join(", ")}, until ${status.expires_at}`;
  if (left < SOON_MS) return say.warn(`${who}: soon over`, loginCommand(profile));
  return say.ok(who);
}
