/** A connection beneath a link. `send` takes a whole frame and never blocks: the window bounds what can be in it. */
export interface Carrier {
  send(frame: Uint8Array): void;
  close(reason: string): void;
}
