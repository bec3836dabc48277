import { afterAll, expect, test } from "bun:test";
import { spkiPin } from "../../src/identity/pin.ts";
import { createCa, issueLeaf } from "../../src/identity/pki.ts";
import { fetchPinnedCa, findProxy, readText } from "../../src/link/trust.ts";

const [ours, theirs] = await Promise.all([createCa("ours"), createCa("theirs")]);
const leaf = await issueLeaf({ ca: theirs, names: ["127.0.0.1"] });
/** Somebody in between, whose certificate is of a CA of their own, and who answers with our CA, which anybody may know. */
let caPem = "";
const between: Bun.Server<undefined> = Bun.serve({
  hostname: "127.0.0.1",
  port: 0,
  tls: { cert: leaf.certPem, key: leaf.keyPem },
  fetch: ({ url }): Response =>
    Response.json(
      url.endsWith("/ca")
        ? { ca_pem: caPem }
        : { server_version: "1", cluster_name: "ours", proxy: { public_addr: `127.0.0.1:${between.port}` } },
    ),
});
afterAll(() => between.stop(true));

const proxy = { host: "127.0.0.1", port: between.port ?? 0 };
const pin = spkiPin(ours.certPem);

test.each([
  ["alone", ours.certPem],
  ["with another CA behind it", `${ours.certPem}\n${theirs.certPem}`],
  [
    "with another CA behind it, called something else",
    `${ours.certPem}\n${theirs.certPem.replaceAll(" CERT", " TRUSTED CERT")}`,
  ],
])("the pinned CA %s vouches for nobody else", async (_, answer) => {
  caPem = answer;
  const trusted = await fetchPinnedCa(proxy, pin);
  expect(trusted.match(/BEGIN/g)).toHaveLength(1);
  expect(spkiPin(trusted)).toBe(pin);
  await expect(findProxy({ proxy, caPem: trusted })).rejects.toMatchObject({ code: "tls" });
});

test("another CA before the pinned one is another CA", async () => {
  caPem = `${theirs.certPem}\n${ours.certPem}`;
  await expect(fetchPinnedCa(proxy, pin)).rejects.toMatchObject({ code: "pin_mismatch" });
});

test("an answer without an end is given up", async () => {
  let sent = 0;
  const endless = new ReadableStream({
    pull(controller) {
      sent += 1024;
      controller.enqueue(new Uint8Array(1024));
    },
  });
  expect(await readText(new Response(endless), 10_000)).toBeUndefined();
  expect(sent).toBeLessThan(20_000);
  expect(await readText(new Response("äö"), 4)).toBe("äö");
});
