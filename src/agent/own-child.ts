/**
 * The one place where the agent starts processes: who isn't in this list and is still a child of ours was adopted (the
 * agent is the "subreaper" of all that its servers leave behind), and may be waited for without stealing the exit of a
 * process that the runtime waits for.
 */
const own = new Set<number>();

export const isOwnChild = (pid: number): boolean => own.has(pid);

/** `Bun.spawn`, and the pid is ours until the runtime has reaped it. */
export function spawnOwn<
  const In extends Bun.SpawnOptions.Writable,
  const Out extends Bun.SpawnOptions.Readable,
  const Err extends Bun.SpawnOptions.Readable,
>(argv: string[], options: Bun.SpawnOptions.OptionsObject<In, Out, Err>): Bun.Subprocess<In, Out, Err> {
  const child = Bun.spawn(argv, options);
  own.add(child.pid);
  void child.exited.finally(() => own.delete(child.pid));
  return child;
}
