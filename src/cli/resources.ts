/** `mcpgate create | get | rm`: roles, locks, join tokens and apps as documents. */
import type { ApiClient } from "../client/api.ts";
import { nearest } from "../config/nearest.ts";
import { Failure } from "../errors.ts";
import { isSecretName } from "../identity/token-resource.ts";
import { withAdminApi } from "./admin.ts";
import { APP_RESOURCES, comments, type ResourceAgent, tellAgents } from "./app-resources.ts";
import { command, configFlag } from "./command.ts";
import { KINDS, type Kind, loadDocuments, placed } from "./documents.ts";
import { segment } from "./listing.ts";
import { json } from "./output.ts";

interface Stored {
  name: string;
  document: unknown;
  created?: boolean;
  /** Of an app. */
  agents?: ResourceAgent[];
}

export const create = command({
  args: {
    file: {
      type: "string",
      alias: "f",
      required: true,
      valueHint: "FILE",
      description: "one or more documents, YAML or JSON; - for standard input",
    },
    force: { type: "boolean", description: "replace what is there" },
    ...configFlag,
  },
  about: [
    "Documents as `mcpgate get` prints them and `mcpgate config schema --kind=…` describes them. Of an app it also tells",
    "which agents offer it from now on, and why others do not.",
  ].join("\n"),
  examples: ["mcpgate create -f app.yaml", "mcpgate get role/dev >role.yaml", "mcpgate create -f role.yaml --force"],
  async run(context, { file, force, config }) {
    const documents = await loadDocuments(context, file);
    await withAdminApi(context, config, async (api) => {
      for (const { kind, document, name, placeOf } of documents) {
        try {
          const stored = await put(api, kind, document, name, force === true);
          await context.out.print(`${kind} "${stored.name}" has been ${stored.created ? "created" : "updated"}\n`);
          if (kind === "app") await tellAgents(context, api, stored.name);
        } catch (error) {
          if (!(error instanceof Failure)) throw error;
          const taken = error.code === "already_exists" && !isSecret(kind, name);
          throw placed(placeOf, error, taken ? `mcpgate create -f ${file} --force` : error.hint?.replace("FILE", file));
        }
      }
    });
  },
});

export const get = command({
  args: {
    resource: { type: "positional", valueHint: "KIND[/NAME]", description: "role, lock, token or app, or role/NAME" },
    verbose: { type: "boolean", alias: "v", description: "of apps also what agents make of them" },
    format: {
      type: "enum",
      options: ["yaml", "json"],
      default: "yaml",
      description: "either can be given to `mcpgate create -f`",
    },
    ...configFlag,
  },
  examples: ["mcpgate get role", "mcpgate get role/mcp-user --format=json", "mcpgate get apps --verbose"],
  async run(context, { resource, verbose, format, config }) {
    const { kind, name } = parseResource(resource, "get");
    const found = await withAdminApi(context, config, async (api) =>
      name === undefined
        ? (Object.values(await api.call<Record<string, Stored[]>>("GET", collection(kind)))[0] ?? [])
        : [await api.call<Stored>("GET", `${collection(kind)}/${segment(name)}`)],
    );
    // Beside the document, not in it: what is printed can be created from.
    const documents = found.map(({ document, agents }) => (verbose && agents ? { document, agents } : document));
    if (format === "json") {
      await context.out.print(json(name === undefined ? documents : documents[0]));
      return;
    }
    const { stringify } = await import("yaml");
    const text = ({ document, agents }: Stored): string =>
      `${stringify(document, { lineWidth: 0 })}${verbose && agents ? comments(agents) : ""}`;
    await context.out.print(found.map(text).join("---\n"));
  },
});

export const rm = command({
  args: {
    resource: {
      type: "positional",
      valueHint: "KIND/NAME",
      description: "role/NAME, lock/NAME, token/NAME or app/NAME",
    },
    ...configFlag,
  },
  examples: ["mcpgate rm role/dev", "mcpgate rm app/everything"],
  async run(context, { resource, config }) {
    const { kind, name } = parseResource(resource, "rm");
    if (name === undefined) {
      throw new Failure("usage", `${JSON.stringify(resource)} has no name`, {
        hint: `like mcpgate rm ${resource}/NAME`,
      });
    }
    await withAdminApi(context, config, (api) => api.call("DELETE", `${collection(kind)}/${segment(name)}`));
    await context.out.print(`${kind} "${name}" has been deleted\n`);
  },
});

function put(api: ApiClient, kind: Kind, document: unknown, name: string | undefined, force: boolean): Promise<Stored> {
  // without a name a role is wrong, and the proxy says how; a lock is given one
  if (!force || name === undefined || isSecret(kind, name)) return api.call<Stored>("POST", collection(kind), document);
  return api.call<Stored>("PUT", `${collection(kind)}/${segment(name)}`, document);
}

/** Where the documents of a kind are; `/v1/api/tokens` itself lists the secret ones, which are no documents. */
function collection(kind: Kind): string {
  if (kind === "app") return APP_RESOURCES;
  return kind === "token" ? "/v1/api/tokens/documents" : `/v1/api/${kind}s`;
}

/** A token whose name is the secret itself: that stands in no address. */
const isSecret = (kind: Kind, name: string | undefined): boolean =>
  kind === "token" && name !== undefined && isSecretName(name);

/** `role`, `roles`, `role/NAME` → the kind and the name. */
function parseResource(text: string, verb: "get" | "rm"): { kind: Kind; name: string | undefined } {
  const slash = text.indexOf("/");
  const word = slash < 0 ? text : text.slice(0, slash);
  const name = slash < 0 ? undefined : text.slice(slash + 1);
  const kind = KINDS.find((each) => word === each || word === `${each}s`);
  if (kind === undefined) {
    const near = nearest(
      word,
      KINDS.flatMap((each) => [each, `${each}s`]),
    );
    const hint =
      near === undefined
        ? `mcpgate ${verb} --help`
        : `did you mean: mcpgate ${verb} ${[near, name].filter(Boolean).join("/")}`;
    throw new Failure("usage", `no resources of kind ${JSON.stringify(word)}`, { hint });
  }
  if (name === "") throw new Failure("usage", `${JSON.stringify(text)} has no name`, { hint: `mcpgate get ${kind}` });
  if (isSecret(kind, name)) {
    throw new Failure("usage", "that is a secret token, which has no document", {
      hint: "mcpgate tokens ls; mcpgate tokens rm ID",
    });
  }
  return { kind, name };
}
