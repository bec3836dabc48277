/** Passwords: from a terminal or from standard input, never from the command line. */
import { Failure } from "../errors.ts";
import type { Context } from "./context.ts";

export interface PasswordOptions {
  question: string;
  /** Asked a second time, to be sure that it was typed as meant. */
  again?: string;
  /** `--password-stdin`. */
  fromStdin: boolean;
  /** The command, for the hint: `mcpgate client login …`. */
  words: string;
}

/** @throws Failure `usage` where there is no terminal; `invalid` when it is empty or was typed in two ways. */
export async function readPassword(context: Context, o: PasswordOptions): Promise<string> {
  if (o.fromStdin) {
    const password = (await context.readStdin()).replace(/\r?\n$/, "");
    return checkPassword(password);
  }
  const terminal = context.openTerminal();
  if (terminal === undefined) {
    throw new Failure("usage", "there is no terminal to ask for the password on", {
      hint: `${o.words} --password-stdin <FILE`,
    });
  }
  try {
    const password = checkPassword(await terminal.askSecret(o.question));
    if (o.again !== undefined && (await terminal.askSecret(o.again)) !== password) {
      throw new Failure("invalid", "the two passwords are not the same");
    }
    return password;
  } finally {
    terminal.close();
  }
}

function checkPassword(password: string): string {
  if (password === "")
    throw new Failure("invalid", "the password is empty", {
      hint: "type it at the prompt, or pipe one line to --password-stdin",
    });
  if (password.includes("\n")) {
    throw new Failure("invalid", "the password has more than one line", { hint: "pipe one line to --password-stdin" });
  }
  return password;
}

/**
 * Asks once whether to trust a proxy that proves itself with a CA of its own, as ssh does; undefined where there is
 * nobody to ask.
 */
export function pinQuestion(context: Context): ((pin: string) => Promise<boolean>) | undefined {
  const terminal = context.openTerminal();
  if (terminal === undefined) return undefined;
  terminal.close();
  return async (pin) => {
    const asked = context.openTerminal();
    if (asked === undefined) return false;
    try {
      const answer = await asked.ask(
        `The proxy has a CA of its own, and you have not said which one to expect. Its pin is\n  ${pin}\n` +
          "Compare it with what `mcpgate proxy start` printed. Trust it? (yes/no) ",
      );
      return /^y(es)?$/i.test(answer.trim());
    } finally {
      asked.close();
    }
  };
}
