/** How far a run is, on stderr. */
export function say(what: string): void {
  console.error(`bench: ${(performance.now() / 1000).toFixed(0).padStart(3)} s  ${what}`);
}
