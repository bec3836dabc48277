import { describe, expect, test } from "bun:test";
import { askInstance } from "../../src/agent/instance-metadata.ts";
import { gatherEvidence } from "../../src/agent/join-evidence.ts";
import { generateKeyPair } from "../../src/identity/keys.ts";
import { serveMetadata } from "../fixtures/aws.ts";

const PATH = "/latest/dynamic/instance-identity/rsa2048";
const reason = (asked: Promise<unknown>): Promise<string> =>
  asked.then(
    () => "answered",
    (error: Error & { code?: string }) => `${error.code}: ${error.message}`,
  );

test("a token first, then what is asked for; not through an HTTP proxy", async () => {
  const metadata = serveMetadata({ [PATH]: "MIAGCSqGSIb3\nDQEHAqCA\n" });
  const seen: string[] = [];
  const trap = Bun.serve({
    hostname: "127.0.0.1",
    port: 0,
    fetch(request) {
      seen.push(request.url);
      return new Response("trapped");
    },
  });
  const before = { ...process.env };
  process.env.HTTP_PROXY = process.env.http_proxy = `http://127.0.0.1:${trap.port}`;
  try {
    const env = { AWS_EC2_METADATA_SERVICE_ENDPOINT: metadata.url };
    expect(await askInstance(PATH, env)).toBe("MIAGCSqGSIb3\nDQEHAqCA");
    expect(metadata.asked).toEqual(["PUT /latest/api/token", `GET ${PATH}`]);
    const evidence = gatherEvidence({ method: "ec2", tokenName: "ec2-token" }, env);
    const trust = { proxy: { host: "mcpgate.example.com", port: 443 } };
    expect(await evidence(trust, await generateKeyPair())).toEqual({
      token: "ec2-token",
      ec2: { message: "MIAGCSqGSIb3\nDQEHAqCA" },
    });
    expect(seen).toEqual([]);
  } finally {
    for (const name of ["HTTP_PROXY", "http_proxy"]) {
      if (before[name] === undefined) delete process.env[name];
      else process.env[name] = before[name];
    }
    await Promise.all([metadata.stop(), trap.stop(true)]);
  }
});

describe("where there is none", () => {
  const answers: [name: string, answer: (request: Request) => Response, why: string][] = [
    ["version 1 only", () => new Response("", { status: 404 }), "answers /latest/api/token with status 404"],
    ["a web page", () => new Response("<html>\n\n</html>"), "gave no token"],
    ["a redirect", () => Response.redirect("http://127.0.0.1:9/"), "answers /latest/api/token with status 302"],
    [
      "too much",
      ({ method }) => new Response(method === "PUT" ? "token" : "x".repeat(70_000)),
      "answers with too much",
    ],
  ];
  for (const [name, answer, why] of answers) {
    test(name, async () => {
      const server = Bun.serve({ hostname: "127.0.0.1", port: 0, fetch: answer });
      const url = `http://127.0.0.1:${server.port}`;
      expect(await reason(askInstance(PATH, { AWS_EC2_METADATA_SERVICE_ENDPOINT: url }))).toBe(
        `unreachable: the instance metadata service (${url}) ${why}`,
      );
      await server.stop(true);
    });
  }

  test("nobody listens", async () => {
    const server = Bun.serve({ hostname: "127.0.0.1", port: 0, fetch: () => new Response() });
    const url = `http://127.0.0.1:${server.port}`;
    await server.stop(true);
    expect(await reason(askInstance(PATH, { AWS_EC2_METADATA_SERVICE_ENDPOINT: url }))).toContain("can't be reached");
  });

  test("it is turned off, or its address is none", async () => {
    expect(await reason(askInstance(PATH, { AWS_EC2_METADATA_DISABLED: "TRUE" }))).toContain("is turned off");
    for (const url of ["ftp://x", "169.254.169.254", "https://x"]) {
      expect(await reason(askInstance(PATH, { AWS_EC2_METADATA_SERVICE_ENDPOINT: url }))).toContain("is no address");
    }
  });
});
