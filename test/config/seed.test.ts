/** The seed's documents that configure the agent load as they are. */
import { expect, test } from "bun:test";
import { join } from "node:path";
import { loadConfig } from "../../src/config/load.ts";

const load = (name: string) => loadConfig({ path: join(import.meta.dir, "../fixtures/seed", name), env: {}, uid: 0 });

const app = {
  apps: [
    {
      name: "everything",
      labels: { env: "dev" },
      description: "",
      shared: false,
      mcp: { command: "docker", args: ["run", "-i", "--rm", "mcp/everything"], runAsHostUser: "docker" },
    },
  ],
  resumeWindowSeconds: 600,
  drainSeconds: 10,
};

test("a new service", () => {
  const { file, ...config } = load("agent.yaml");
  expect(file).toEndWith("/agent.yaml");
  expect(config).toEqual({
    dataDir: "/var/lib/mcpgate",
    log: { severity: "INFO", format: "text" },
    proxyServer: { host: "teleport.example.com", port: 443 },
    join: { method: "token", tokenName: "/tmp/token" },
    app,
  });
});

test("what is added to an existing one", () => {
  const { file: _, ...config } = load("app-service.yaml");
  expect(config).toEqual({ dataDir: "/var/lib/mcpgate", log: { severity: "INFO", format: "text" }, app });
});
