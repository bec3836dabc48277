/** The process that the crash tests kill: appends numbered events for ever and says, after each append, what it returned from. */
import { writeSync } from "node:fs";
import { Spool } from "../../src/audit/spool.ts";
import type { AuditEvent } from "../../src/event.ts";
import { createLog } from "../../src/log.ts";

const [directory = "", start = "1"] = process.argv.slice(2);
const spool = Spool.open(directory, { log: createLog(), segmentBytes: 4096 });
for (let n = Number(start); ; n++) {
  const size = 1 + (n % 3);
  const events = Array.from({ length: size }, (_, i): AuditEvent => {
    return { event: "mcp.session.request", uid: `${n}.${i}`, time: "", v: 1, arguments: { pad: "x".repeat(n % 700) } };
  });
  spool.append(events);
  writeSync(1, `${n} ${size}\n`);
}
