/** Sink `file`: JSON lines, appended; 0600. A file that was renamed (logrotate) is followed by a new one of the old name. */
import { constants } from "node:fs";
import { open } from "node:fs/promises";
import type { Sink } from "./sink.ts";

export function fileSink(path: string): Sink {
  return {
    async send(events) {
      const file = await open(path, constants.O_WRONLY | constants.O_CREAT | constants.O_APPEND, 0o600);
      try {
        await file.appendFile(events.map(({ text }) => text).join(""));
        await file.datasync();
      } finally {
        await file.close();
      }
    },
    close() {},
  };
}
