import { describe, expect, test } from "bun:test";
import { join } from "node:path";
import { createOutput, table, yaml } from "../../src/cli/output.ts";
import { Failure } from "../../src/errors.ts";

const source = join(import.meta.dir, "../../src/cli/output.ts");

/** A process that prints `size` bytes through the output and ends as `main.ts` does. */
const printing = (size: number) => [
  process.execPath,
  "-e",
  `const { createOutput, ClosedOutput } = await import(${JSON.stringify(source)});
   try { await createOutput().print("x".repeat(${size}) + "\\n"); }
   catch (error) { console.error(error instanceof ClosedOutput ? "closed" : error.message); process.exit(9); }
   process.exit(0);`,
];

describe("stdout", () => {
  // to see it fail: print with process.stdout.write and no callback, which leaves 64 KiB
  test("a large answer arrives whole on a pipe that is read slowly, though the process ends at once", async () => {
    const child = Bun.spawn(printing(5_000_000), { stdout: "pipe" });
    await Bun.sleep(100);
    expect((await new Response(child.stdout).bytes()).length).toBe(5_000_001);
    expect(await child.exited).toBe(0);
  });

  test("a reader that has had enough is noticed", async () => {
    const child = Bun.spawn(["sh", "-c", '"$@" | head -c 1; true', "sh", ...printing(5_000_000)], { stderr: "pipe" });
    expect(await new Response(child.stderr).text()).toBe("closed\n");
    expect(await child.exited).toBe(0);
  });

  test.if(process.platform === "linux")("a full disk is a failure", async () => {
    const child = Bun.spawn(printing(100_000), { stdout: Bun.file("/dev/full"), stderr: "pipe" });
    expect(await new Response(child.stderr).text()).toBe("can't write to standard output: ENOSPC\n");
    expect(await child.exited).toBe(9);
  });
});

describe("stderr", () => {
  function stderrOf(use: (out: ReturnType<typeof createOutput>) => void): string {
    let text = "";
    use(
      createOutput({
        stderr: (more) => {
          text += more;
        },
      }),
    );
    return text;
  }

  test("an error and its hint, a line each", () => {
    expect(stderrOf((out) => out.error(new Failure("usage", "no", { hint: "try this" })))).toBe(
      "mcpgate: error: no\nmcpgate: hint: try this\n",
    );
    expect(stderrOf((out) => out.error(new Failure("usage", "one\ntwo")))).toBe(
      "mcpgate: error: one\nmcpgate: error: two\n",
    );
  });

  test("whatever was thrown", () => {
    expect(stderrOf((out) => out.error(new TypeError("x is not a function")))).toBe(
      "mcpgate: error: x is not a function\n",
    );
    expect(stderrOf((out) => out.error("text"))).toBe("mcpgate: error: text\n");
  });

  test("warnings and notices", () => {
    expect(stderrOf((out) => out.warning("w"))).toBe("mcpgate: warning: w\n");
    expect(stderrOf((out) => out.notice("n\u001b[0m"))).toBe("mcpgate: n\\u001b[0m\n");
  });
});

describe("table", () => {
  test("wide characters take two columns, missing cells are empty", () => {
    expect(table(["A", "B"], [["日本", 1], ["x"]])).toBe("A    B\n---- -\n日本 1\nx\n");
  });
});

test("yaml does not fold long lines, and quotes what would be something else", async () => {
  const long = "word ".repeat(60).trim();
  expect(await yaml([{ a: long, b: "no", c: "1", d: null }])).toBe(`- a: ${long}\n  b: no\n  c: "1"\n  d: null\n`);
});
