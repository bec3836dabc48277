/** The native programs of the benchmark, compiled by it. */
import { join } from "node:path";
import { run } from "./processes.ts";

export interface Native {
  echo: string;
  floor: string;
}

/** Undefined where there is no C compiler. */
export async function compileNative(dir: string): Promise<Native | undefined> {
  const cc = Bun.which("cc");
  if (cc === null) return undefined;
  const env = { PATH: process.env.PATH ?? "/usr/bin:/bin", HOME: dir };
  const compile = async (name: string) => {
    const out = join(dir, `bench-${name}`);
    await run([cc, "-O2", "-o", out, join(import.meta.dir, "native", `${name}.c`)], { env, cwd: dir });
    return out;
  };
  const [echo, floor] = await Promise.all([compile("echo"), compile("floor")]);
  return { echo, floor };
}
