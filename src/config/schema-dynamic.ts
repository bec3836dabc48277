/** The file's shape: which of the proxy's app resources the agent takes, and what they may have it run. */
import * as v from "valibot";
import { MAX_ARGUMENT_CHARS, MAX_ARGUMENTS, ruleFault } from "./command-rule.ts";
import { isMapping, mapping, shown, text } from "./schema-values.ts";

const list = (issue: { input: unknown }): string => `expected a list, got ${shown(issue.input)}`;

const labelValue = v.pipe(
  text,
  v.check(
    (value) => !(value.startsWith("^") && value.endsWith("$")),
    "is a regular expression, which is for roles only",
  ),
);

/** As `app_labels` of a role has it: every key with one of its values. */
const selector = v.pipe(
  v.custom<Record<string, unknown>>(isMapping, (issue) => `expected a mapping (key: value), got ${shown(issue.input)}`),
  v.record(
    v.string(),
    v.lazy((input) => (Array.isArray(input) ? v.array(labelValue) : labelValue)),
  ),
  v.check(
    (labels) => Object.keys(labels).length > 0,
    'is empty and takes nothing\nfor all of them: labels: {"*": "*"}',
  ),
  v.check(
    (labels) => labels["*"] === undefined || [labels["*"]].flat().includes("*"),
    "has a key * with another value than *",
  ),
);

const rule = v.pipe(
  v.array(v.pipe(text, v.maxLength(MAX_ARGUMENT_CHARS, `is longer than ${MAX_ARGUMENT_CHARS} characters`)), list),
  v.maxLength(MAX_ARGUMENTS, `has more than ${MAX_ARGUMENTS} arguments`),
  v.rawCheck(({ dataset, addIssue }) => {
    if (!dataset.typed) return;
    const fault = ruleFault(dataset.value);
    if (fault === undefined) return;
    const { index, message } = fault;
    const input = dataset.value;
    const path: [v.ArrayPathItem] = [{ type: "array", origin: "value", input, key: index, value: input[index] }];
    addIssue({
      message: `${message}\nlike ["docker", "run", "-i", "--rm", "mcp/*"], or ["/opt/server", "**"]`,
      ...(index < input.length ? { path } : {}),
    });
  }),
);

export const resources = v.pipe(
  v.array(mapping({ labels: selector }), list),
  v.maxLength(100, "has more than 100 entries"),
);
export const allowCommands = v.pipe(v.array(rule, list), v.maxLength(1000, "has more than 1000 entries"));
