/** `mcpgate create | get | rm`: roles as documents. */
import type { ApiClient } from "../client/api.ts";
import { nearest } from "../config/nearest.ts";
import { Failure } from "../errors.ts";
import { withAdminApi } from "./admin.ts";
import { command, configFlag } from "./command.ts";
import { loadDocuments } from "./documents.ts";
import { segment } from "./listing.ts";
import { json } from "./output.ts";

interface StoredRole {
  name: string;
  document: unknown;
  created?: boolean;
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
  examples: ["mcpgate create -f role.yaml", "mcpgate get role/dev >role.yaml", "mcpgate create -f role.yaml --force"],
  async run(context, { file, force, config }) {
    const documents = await loadDocuments(context, file);
    await withAdminApi(context, config, async (api) => {
      for (const { document, name, placeOf } of documents) {
        try {
          const role = await putRole(api, document, name, force === true);
          await context.out.print(`role "${role.name}" has been ${role.created ? "created" : "updated"}\n`);
        } catch (error) {
          if (!(error instanceof Failure)) throw error;
          const hint = error.code === "already_exists" ? `mcpgate create -f ${file} --force` : error.hint;
          // what is wrong with the document begins with its dotted path
          const [, path = ""] = /^([a-z_][^\s:]*): /.exec(error.message) ?? [];
          throw new Failure(error.code, `${placeOf(path)}: ${error.message}`, { hint, cause: error });
        }
      }
    });
  },
});

export const get = command({
  args: {
    resource: { type: "positional", valueHint: "KIND[/NAME]", description: "role, or role/NAME" },
    format: {
      type: "enum",
      options: ["yaml", "json"],
      default: "yaml",
      description: "either can be given to `mcpgate create -f`",
    },
    ...configFlag,
  },
  examples: ["mcpgate get role", "mcpgate get role/mcp-user --format=json"],
  async run(context, { resource, format, config }) {
    const name = parseResource(resource, "get");
    const roles = await withAdminApi(context, config, async (api) =>
      name === undefined
        ? (await api.call<{ roles: StoredRole[] }>("GET", "/v1/api/roles")).roles
        : [await api.call<StoredRole>("GET", `/v1/api/roles/${segment(name)}`)],
    );
    const documents = roles.map(({ document }) => document);
    if (format === "json") {
      await context.out.print(json(name === undefined ? documents : documents[0]));
      return;
    }
    const { stringify } = await import("yaml");
    await context.out.print(documents.map((document) => stringify(document, { lineWidth: 0 })).join("---\n"));
  },
});

export const rm = command({
  args: {
    resource: { type: "positional", valueHint: "KIND/NAME", description: "role/NAME" },
    ...configFlag,
  },
  examples: ["mcpgate rm role/dev"],
  async run(context, { resource, config }) {
    const name = parseResource(resource, "rm");
    if (name === undefined) {
      throw new Failure("usage", `${JSON.stringify(resource)} has no name`, {
        hint: `like mcpgate rm ${resource}/NAME`,
      });
    }
    await withAdminApi(context, config, (api) => api.call("DELETE", `/v1/api/roles/${segment(name)}`));
    await context.out.print(`role "${name}" has been deleted\n`);
  },
});

function putRole(api: ApiClient, document: unknown, name: string | undefined, force: boolean): Promise<StoredRole> {
  // without a name the document is wrong, and the proxy says how
  if (!force || name === undefined) return api.call<StoredRole>("POST", "/v1/api/roles", document);
  return api.call<StoredRole>("PUT", `/v1/api/roles/${segment(name)}`, document);
}

/** `role`, `roles`, `role/NAME` → the name. */
function parseResource(text: string, verb: "get" | "rm"): string | undefined {
  const slash = text.indexOf("/");
  const kind = slash < 0 ? text : text.slice(0, slash);
  const name = slash < 0 ? undefined : text.slice(slash + 1);
  if (kind !== "role" && kind !== "roles") {
    const near = nearest(kind, ["role", "roles"]);
    const hint =
      near === undefined
        ? `mcpgate ${verb} --help`
        : `did you mean: mcpgate ${verb} ${[near, name].filter(Boolean).join("/")}`;
    throw new Failure("usage", `no resources of kind ${JSON.stringify(kind)}`, { hint });
  }
  if (name === "") throw new Failure("usage", `${JSON.stringify(text)} has no name`, { hint: `mcpgate get ${kind}` });
  return name;
}
