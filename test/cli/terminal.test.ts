/** The real program on a terminal of its own: what the person sees is part of the contract. */
import { describe, expect, test } from "bun:test";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

const main = join(import.meta.dir, "../../src/main.ts");
const program = join(import.meta.dir, "../../src/cli/terminal.ts");

/** Runs `argv`, types each answer when its question appears, and gives back what was on the screen. */
async function onTerminal(
  argv: string[],
  typed: [question: string, answer: string][],
  env: Record<string, string> = {},
) {
  let screen = "";
  const todo = [...typed];
  const child = Bun.spawn([process.execPath, ...argv], {
    env: { ...process.env, ...env },
    terminal: {
      cols: 200,
      rows: 24,
      data(terminal, bytes) {
        screen += new TextDecoder().decode(bytes);
        const next = todo[0];
        if (next !== undefined && screen.includes(next[0])) {
          todo.shift();
          terminal.write(next[1]);
        }
      },
    },
  });
  const exitCode = await child.exited;
  return { exitCode, signal: child.signalCode, screen: screen.replaceAll("\r\n", "\n") };
}

const ask = (calls: string) => [
  "-e",
  `const { openTerminal } = await import(${JSON.stringify(program)});
   const terminal = openTerminal();
   const answers = [];
   ${calls}
   terminal.close();
   process.stdout.write("answers " + JSON.stringify(answers) + "\\n", () => process.exit(0));`,
];

describe.if(process.platform !== "win32")("on a terminal", () => {
  test("a secret is not shown, and can be corrected while it is typed", async () => {
    const calls = `answers.push(await terminal.askSecret("Secret: "));`;
    const { screen, exitCode } = await onTerminal(ask(calls), [["Secret: ", "hunterr\u007f2é日x\b\r"]]);
    expect({ screen, exitCode }).toEqual({ screen: 'Secret: \nanswers ["hunter2é日"]\n', exitCode: 0 });
  });

  test("Ctrl-U begins anew; answers that are pasted together are two", async () => {
    const calls = `answers.push(await terminal.askSecret("A: ")); answers.push(await terminal.askSecret("B: "));`;
    const { screen } = await onTerminal(ask(calls), [["A: ", "wrong\u0015one\rtwo\r"]]);
    expect(screen).toBe('A: \nB: \nanswers ["one","two"]\n');
  });

  test("a question is answered in sight", async () => {
    const calls = `answers.push(await terminal.ask("Trust it? "));`;
    const { screen } = await onTerminal(ask(calls), [["Trust it? ", "yes\r"]]);
    expect(screen).toBe('Trust it? yes\nanswers ["yes"]\n');
  });

  test("Ctrl-C at a secret ends the program, and leaves the terminal as it was", async () => {
    const { signal, screen } = await onTerminal(ask(`await terminal.askSecret("Secret: ");`), [
      ["Secret: ", "x\u0003"],
    ]);
    expect(signal).toBe("SIGINT");
    expect(screen).not.toContain("answers");
  });

  test("client login asks although stdin is a file", async () => {
    const home = await mkdtemp(join(tmpdir(), "mcpgate-terminal-"));
    try {
      const login = `"$0" "$1" client login --proxy=127.0.0.1:1 --user=alice </dev/null`;
      const shell = [
        "-e",
        `process.exit(Bun.spawnSync(["sh", "-c", ${JSON.stringify(login)}, process.execPath, ${JSON.stringify(main)}], { stdio: ["inherit", "inherit", "inherit"] }).exitCode)`,
      ];
      const { screen, exitCode } = await onTerminal(shell, [["Password of alice: ", "hunter2\r"]], {
        MCPGATE_HOME: home,
      });
      expect(screen).toStartWith("Password of alice: \nmcpgate: error: ");
      expect(screen).not.toContain("hunter2");
      expect(exitCode).toBe(1);
    } finally {
      await rm(home, { recursive: true });
    }
  });
});
