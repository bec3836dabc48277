/**
 * What a service tells systemd, sd_notify(3): that it is ready, reloads, stops, how it is, and that it is alive. Where
 * nobody asks for it, it tells nobody.
 */
import { printable } from "../log.ts";
import { monotonicMicroseconds, openDatagramSocket, type SendDatagram } from "./datagram.ts";

export interface Notifier {
  /** Milliseconds within which a sign of life is due; not there where nobody waits for one. */
  readonly watchdogMs: number | undefined;
  /** `status`: one line for people, as `systemctl status` shows it. */
  ready(status: string): void;
  status(text: string): void;
  /** `ready` ends it. */
  reloading(): void;
  /** `seconds`: how long it may take. */
  stopping(seconds: number): void;
  alive(): void;
  /** As it is: lines of `NAME=value`. */
  send(state: string): void;
}

export function createNotifier(
  send: (state: string) => void,
  watchdogMs?: number,
  now = monotonicMicroseconds,
): Notifier {
  const statusLine = (text: string): string => `STATUS=${printable(text).slice(0, 500)}`;
  return {
    watchdogMs,
    send,
    ready: (status) => send(`READY=1\n${statusLine(status)}`),
    status: (text) => send(statusLine(text)),
    reloading: () => send(`RELOADING=1\nMONOTONIC_USEC=${now()}`),
    stopping: (seconds) => send(`STOPPING=1\nEXTEND_TIMEOUT_USEC=${Math.round(seconds * 1e6)}`),
    alive: () => send("WATCHDOG=1"),
  };
}

const silent: Notifier = createNotifier(
  () => {},
  undefined,
  () => 0n,
);

/** By the environment, out of which it takes what no process that we start is to see. */
export function openNotifier(env: Record<string, string | undefined>): Notifier {
  const { NOTIFY_SOCKET: address, WATCHDOG_USEC: usec, WATCHDOG_PID: pid } = env;
  for (const name of ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"]) delete env[name];
  const sendNow = address === undefined ? undefined : openDatagramSocket(address);
  if (sendNow === undefined) return silent;
  const isForUs = pid === undefined || Number(pid) === process.pid;
  const watchdogMs = isForUs && /^[1-9]\d{0,15}$/.test(usec ?? "") ? Number(usec) / 1000 : undefined;
  return createNotifier(inOrder(sendNow), watchdogMs);
}

/** A busy manager takes the next message a moment later; milliseconds between tries, and how many. */
const [RETRY_MS, RETRIES] = [100, 50];

/** What can't be sent now is sent later, and what comes after it after that; but for signs of life, which come again anyway. */
function inOrder(sendNow: SendDatagram): (state: string) => void {
  let waiting: string[] = [];
  let tries = 0;
  const flush = () => {
    while (waiting[0] !== undefined && sendNow(waiting[0])) {
      waiting.shift();
      tries = 0;
    }
    if (waiting.length === 0) return;
    if (tries++ < RETRIES) setTimeout(flush, RETRY_MS).unref();
    else waiting = [];
  };
  return (state) => {
    if (waiting.length === 0) {
      if (sendNow(state) || state === "WATCHDOG=1") return;
      tries = 0;
      setTimeout(flush, RETRY_MS).unref();
    } else if (state === "WATCHDOG=1" || waiting.length >= RETRIES) return;
    waiting.push(state);
  };
}

/** How many signs of life are given in the time in which one is due. */
const SIGNS = 3;

/**
 * Gives signs of life while the event loop turns and `isAlive` resolves; a question that waits for its answer is not asked
 * again. Until it is told to stop.
 */
export function giveSigns(notifier: Notifier, isAlive: () => Promise<unknown> = async () => {}): () => void {
  if (notifier.watchdogMs === undefined) return () => {};
  let asked = false;
  const ask = () => {
    if (asked) return;
    asked = true;
    void isAlive().then(
      () => {
        asked = false;
        notifier.alive();
      },
      () => {}, // no sign, and no further question: what can't answer is dead
    );
  };
  ask();
  const timer = setInterval(ask, notifier.watchdogMs / SIGNS);
  timer.unref();
  return () => clearInterval(timer);
}
