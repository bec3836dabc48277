/** What no single key of a configuration file can tell: keys that need, exclude or repeat each other. */
import { sinkFaults } from "./audit.ts";
import type { Problem } from "./problem.ts";
import type { ConfigFile } from "./schema.ts";
import type { FileApp } from "./schema-app.ts";

/** `uid`: of the process that is to run with it. */
export function checkTogether(file: ConfigFile, uid: number): Problem[] {
  const problems: Problem[] = [];
  if (file.mcpgate && file.teleport) {
    problems.push({ path: ["teleport"], at: "key", message: "stands beside `mcpgate`, which is the same section" });
  }
  const join = (file.mcpgate ?? file.teleport)?.join_params;
  if (join && join.method !== "token" && !/^[a-z0-9][a-z0-9._-]{0,63}$/i.test(join.token_name)) {
    const path = [file.mcpgate ? "mcpgate" : "teleport", "join_params", "token_name"];
    const message = `is to be a token's name where the method is ${join.method}`;
    const hint = "what metadata.name says in the token's document, like token_name: my-aws-hosts";
    problems.push({ path, at: "value", message, hint });
  }
  const proxy = file.proxy_service;
  if (proxy) {
    for (const { index, key, at, message } of sinkFaults(proxy.audit?.sinks ?? [])) {
      problems.push({ path: ["proxy_service", "audit", "sinks", index, key], at, message });
    }
    if (Boolean(proxy.cert_file) !== Boolean(proxy.key_file)) {
      const [given, missing] = proxy.cert_file ? ["cert_file", "key_file"] : ["key_file", "cert_file"];
      problems.push({ path: ["proxy_service", given], at: "key", message: `needs ${missing} beside it` });
    } else if (!proxy.tls && proxy.cert_file) {
      problems.push({ path: ["proxy_service", "cert_file"], at: "key", message: "goes with tls: on only" });
    }
    if (proxy.enabled && !proxy.public_addr && isWildcard(proxy.listen_addr?.host)) {
      const hint = "add the address that agents and clients dial, like public_addr: mcpgate.example.com:443";
      problems.push({ path: ["proxy_service", "public_addr"], at: "value", message: "is required", hint });
    }
  }
  const seen = new Set<string>();
  for (const [index, { name, mcp }] of (file.app_service?.apps ?? []).entries()) {
    const path = ["app_service", "apps", index];
    if (seen.has(name)) problems.push({ path: [...path, "name"], at: "value", message: `a second app named ${name}` });
    seen.add(name);
    const template = mcp.run_as_host_user?.includes("{{") === true;
    if (template && (file.app_service?.allow_host_users ?? []).length === 0) {
      const hint = "list the host users that it may come to under app_service, like allow_host_users: [alice, bob]";
      const message = "needs app_service.allow_host_users beside it";
      problems.push({ path: [...path, "mcp", "run_as_host_user"], at: "value", message, hint });
    }
    for (const { key, message, hint } of sharingFaults(mcp)) {
      problems.push({ path: [...path, "mcp", key], at: "value", message, ...(hint === undefined ? {} : { hint }) });
    }
    if (uid === 0 && file.app_service?.enabled && !mcp.run_as_host_user) {
      const hint = "name the user under which the server is to run, like run_as_host_user: nobody";
      const message = "is required when the agent runs as root";
      problems.push({ path: [...path, "mcp", "run_as_host_user"], at: "value", message, hint });
    }
  }
  return problems;
}

/** Whose process may be whose. */
export function sharingFaults(mcp: FileApp["mcp"]): { key: string; message: string; hint?: string }[] {
  const faults: { key: string; message: string; hint?: string }[] = [];
  const perUser = mcp.run_as_host_user?.includes("{{") === true;
  if (perUser && mcp.share === "app") {
    const message = "is refused: run_as_host_user gives each person a host user of their own";
    faults.push({ key: "share", message, hint: "share: user" });
  }
  if (perUser && (mcp.warm ?? 0) > 0) {
    const message = "is refused: a spare would have to run as a host user before anybody knows which";
    faults.push({ key: "warm", message, hint: "leave it out, or name one host user in run_as_host_user" });
  }
  if (mcp.linger !== undefined && mcp.linger !== null && (mcp.share ?? "session") === "session") {
    faults.push({ key: "linger", message: "goes with share: user and share: app only" });
  }
  return faults;
}

const isWildcard = (host: string | undefined): boolean => host === undefined || /^(0\.0\.0\.0|[0:]+)$/.test(host);
