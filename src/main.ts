/** argv → exit code. The only place that ends the process. */

async function main(argv: string[]): Promise<number> {
  // The exec helper runs as root for a moment: it comes before anything else is loaded.
  if (argv[0] === "__exec") {
    const { runExecChild } = await import("./agent/exec-child.ts");
    try {
      return runExecChild();
    } catch (error) {
      const { createOutput } = await import("./cli/output.ts");
      createOutput().error(error);
      return 2;
    }
  }
  const { createContext } = await import("./cli/context.ts");
  const { runCli } = await import("./cli/run.ts");
  return await runCli(argv, createContext());
}

void main(process.argv.slice(2)).then((code) => process.exit(code));

export {};
