/** One-use codes: join tokens and invites. The store keeps their hash only. */
import { createHash, randomBytes } from "node:crypto";

const SECRET = /^[0-9a-f]{32}$/;

/** 128 random bits, hexadecimal. */
export function newSecret(): string {
  return randomBytes(16).toString("hex");
}

/** Whether `text` has the form of `newSecret()`'s codes. */
export function isSecret(text: string): boolean {
  return SECRET.test(text);
}

/** SHA-256, hexadecimal. No salt and no stretching: there are 128 random bits to guess. */
export function hashSecret(secret: string): string {
  return createHash("sha256").update(secret).digest("hex");
}
