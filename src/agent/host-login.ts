/** Which host user a session's server runs as, where the configuration maps the person to an account of their own. */
import { Failure } from "../errors.ts";
import { parseTemplate } from "../rbac/template.ts";
import { type Traits, traitValues } from "../rbac/traits.ts";

export interface Person {
  user: string;
  traits: Traits;
}

/**
 * `setting`: a name, which stands as it is, or `{{user.traits.NAME}}`, which is the person's one value of that trait and
 * has to be in `allowed`. Fails closed with `access_denied`, which is no fault of the app's: no value, several, or one that
 * isn't allowed here.
 */
export function hostUserOf(setting: string, { user, traits }: Person, allowed: readonly string[]): string {
  const template = parseTemplate(setting);
  if (template === undefined) return setting;
  const values = traitValues(traits, template.trait) ?? [];
  const [login, ...others] = values;
  if (login === undefined || others.length > 0) {
    const has = login === undefined ? "has no" : "has more than one";
    throw new Failure("access_denied", `user ${user} ${has} "${template.trait}", which names the host user here`, {
      hint: `on the proxy's host: mcpgate users update ${user} --set-trait=${template.trait}=LOGIN`,
    });
  }
  if (!allowed.includes(login)) {
    throw new Failure("access_denied", `host user ${JSON.stringify(login)} is not among those that this agent allows`, {
      hint: "the agent's admin may add it to app_service.allow_host_users",
    });
  }
  return login;
}
