/** `mcpgate roles test`, and `mcpgate can`: policy that people can try before anybody relies on it. */
import { Failure } from "../errors.ts";
import { withAdminApi } from "./admin.ts";
import { command, configFlag, formatFlag } from "./command.ts";
import { loadDocuments, placed, type ResourceDocument } from "./documents.ts";
import { render } from "./output.ts";

export const test = command({
  args: {
    file: {
      type: "positional",
      valueHint: "FILE",
      description: "documents as for `mcpgate create -f`; - for standard input",
    },
  },
  about: [
    "Runs the `tests:` of each role in the file: a user, an app, a tool (or prompt, resource, method), arguments, and",
    "whether a user who holds this role alone is to be allowed or denied. Needs no proxy. Exit code 1 when one fails.",
  ].join("\n"),
  examples: ["mcpgate roles test role.yaml"],
  async run(context, { file }) {
    const { parseRole } = await import("../rbac/role.ts");
    const { failureText, runRoleTests, testText } = await import("../rbac/role-tests.ts");
    const documents = (await loadDocuments(context, file)).filter(({ kind }) => kind === "role");
    let ran = 0;
    let failed = 0;
    for (const { document, placeOf } of documents) {
      const results = () => runRoleTests(parseRole(document));
      for (const result of orPlaced(placeOf, results)) {
        ran++;
        const { index, test: each, verdict, passed } = result;
        const said = passed ? `${each.expect}: ${verdict.reason}` : failureText(result);
        if (!passed) failed++;
        const at = verdict.path === undefined ? "" : ` (${placeOf(verdict.path)})`;
        await context.out.print(
          `${passed ? "ok  " : "FAIL"} ${placeOf(`tests.${index}`)} ${testText(each)}: ${said}${at}\n`,
        );
      }
    }
    if (ran === 0) context.out.notice(`${file} holds no tests: tests of a role stand under its key tests`);
    else context.out.notice(`${ran} tests, ${failed === 0 ? "all passed" : `${failed} failed`}`);
    return failed === 0 ? 0 : 1;
  },
});

interface Verdict {
  allowed: boolean;
  reason: string;
  role?: string;
  path?: string;
  entry?: string;
}

export const can = command({
  args: {
    user: { type: "positional", description: "the user's name" },
    app: { type: "positional", valueHint: "APP[/TOOL]", description: "the app, or a tool of it" },
    arguments: { type: "positional", required: false, valueHint: "JSON", description: "the tool's arguments" },
    prompt: { type: "string", valueHint: "NAME", description: "a prompt instead of a tool" },
    resource: { type: "string", valueHint: "URI", description: "a resource instead of a tool" },
    method: { type: "string", valueHint: "METHOD", description: "a method of the protocol" },
    file: {
      type: "string",
      alias: "f",
      valueHint: "FILE",
      description: "as if its roles were stored in the place of those of the same names",
    },
    ...formatFlag,
    ...configFlag,
  },
  about: "Prints the decision and the rule that made it. Exit code 0: allowed, 1: denied.",
  examples: [
    "mcpgate can alice billing",
    "mcpgate can alice billing/read_invoice",
    `mcpgate can alice billing/refund '{"amount": 10}'`,
  ],
  async run(context, args) {
    const slash = args.app.indexOf("/");
    const tool = slash < 0 ? undefined : args.app.slice(slash + 1);
    const named = [tool, args.prompt, args.resource].filter((each) => each !== undefined);
    if (named.length > 1 || tool === "") {
      throw new Failure("usage", "asks about one tool, prompt or resource", { hint: "mcpgate can --help" });
    }
    checkArguments(args.arguments);
    const file = args.file;
    const documents = file === undefined ? [] : await loadDocuments(context, file);
    const roles = documents.filter(({ kind }) => kind === "role");
    const question = {
      user: args.user,
      app: slash < 0 ? args.app : args.app.slice(0, slash),
      ...(tool === undefined ? {} : { tool }),
      ...(args.prompt === undefined ? {} : { prompt: args.prompt }),
      ...(args.resource === undefined ? {} : { resource: args.resource }),
      ...(args.method === undefined ? {} : { method: args.method }),
      ...(args.arguments === undefined ? {} : { arguments: args.arguments }),
      ...(roles.length === 0 ? {} : { roles: roles.map(({ document }) => document) }),
    };
    const verdict = await withAdminApi(context, args.config, (api) =>
      api.call<Verdict>("POST", "/v1/api/decisions", question),
    );
    await context.out.print(await render(args.format, verdict, () => verdictText(verdict, roles)));
    return verdict.allowed ? 0 : 1;
  },
});

function checkArguments(text: string | undefined): void {
  if (text === undefined) return;
  try {
    const value: unknown = JSON.parse(text);
    if (typeof value === "object" && value !== null && !Array.isArray(value)) return;
  } catch {
    // said below
  }
  throw new Failure("usage", "the arguments are no JSON object", { hint: `like '{"path": "/tmp"}'` });
}

function verdictText({ allowed, reason, role, path, entry }: Verdict, roles: ResourceDocument[]): string {
  const given = roles.find(({ name }) => name === role);
  const where = path === undefined ? undefined : given === undefined ? `role/${role} ${path}` : given.placeOf(path);
  const rule = where === undefined ? "" : `  ${where}${entry === undefined ? "" : `: ${entry}`}\n`;
  return `${allowed ? "allowed" : "denied"}: ${reason}\n${rule}`;
}

function orPlaced<T>(placeOf: ResourceDocument["placeOf"], work: () => T): T {
  try {
    return work();
  } catch (error) {
    throw placed(placeOf, Failure.from(error));
  }
}
