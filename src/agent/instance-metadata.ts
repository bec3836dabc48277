/**
 * The instance metadata service of EC2, version 2 (IMDSv2): a token first, then what is asked for. By `node:http` and not
 * `fetch`, which would take what the instance says of itself through an HTTP_PROXY.
 */
import { request } from "node:http";
import { Failure } from "../errors.ts";

type Env = Record<string, string | undefined>;

/** A connection to the next hop, or to nothing. */
const TIMEOUT_MS = 3_000;
const TOKEN_TTL_S = 60;
const MAX_ANSWER = 64 * 1024;

/**
 * Asks for one path, such as `/latest/meta-data/placement/region`. As AWS's own tools: the address is
 * AWS_EC2_METADATA_SERVICE_ENDPOINT or, with AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE=IPv6, the one of IPv6. Throws a
 * `Failure("unreachable")` where there is no such service, or it does not answer with 200.
 */
export async function askInstance(path: string, env: Env): Promise<string> {
  if (env.AWS_EC2_METADATA_DISABLED?.toLowerCase() === "true") {
    throw new Failure("unreachable", "the instance metadata service is turned off (AWS_EC2_METADATA_DISABLED)", {
      hint: "start the agent without AWS_EC2_METADATA_DISABLED",
    });
  }
  const base = endpoint(env);
  const token = await send("PUT", new URL("/latest/api/token", base), {
    "x-aws-ec2-metadata-token-ttl-seconds": String(TOKEN_TTL_S),
  });
  return send("GET", new URL(path, base), { "x-aws-ec2-metadata-token": token });
}

function endpoint(env: Env): URL {
  const told = env.AWS_EC2_METADATA_SERVICE_ENDPOINT;
  const mode = env.AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE?.toLowerCase();
  const text = told || (mode === "ipv6" ? "http://[fd00:ec2::254]" : "http://169.254.169.254");
  if (URL.canParse(text) && new URL(text).protocol === "http:") return new URL(text);
  throw new Failure("config", "AWS_EC2_METADATA_SERVICE_ENDPOINT is no address like http://169.254.169.254");
}

function send(method: "PUT" | "GET", url: URL, headers: Record<string, string>): Promise<string> {
  const { promise, resolve, reject } = Promise.withResolvers<string>();
  const fail = (why: string, cause?: unknown) =>
    reject(
      new Failure("unreachable", `the instance metadata service (${url.origin}) ${why}`, {
        hint: "is this an EC2 instance, with IMDSv2 on? In a container, its http-put-response-hop-limit has to be 2",
        cause,
      }),
    );
  const chunks: Buffer[] = [];
  let size = 0;
  const asked = request(url, { method, headers, agent: false, signal: AbortSignal.timeout(TIMEOUT_MS) }, (answer) => {
    answer.on("data", (chunk: Buffer) => {
      size += chunk.length;
      chunks.push(chunk);
      if (size > MAX_ANSWER) {
        fail("answers with too much");
        asked.destroy();
      }
    });
    answer.on("error", (error) => fail(`breaks off: ${error.message}`, error));
    answer.on("end", () => {
      const text = Buffer.concat(chunks).toString("utf8").trim();
      if (answer.statusCode !== 200) fail(`answers ${url.pathname} with status ${answer.statusCode}`);
      else if (method === "PUT" && !/^[\x21-\x7e]{1,1024}$/.test(text)) fail("gave no token");
      else resolve(text);
    });
  });
  asked.on("error", (error) => fail(`can't be reached: ${error.message}`, error));
  asked.end();
  return promise;
}
