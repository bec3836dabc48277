import { describe, expect, test } from "bun:test";
import { arbitraryCode } from "../../src/config/arbitrary-code.ts";
import { optInWarnings } from "../../src/config/warnings.ts";

describe("arbitrary code", () => {
  test.each([
    ["sh -c **"],
    ["sh -c *"],
    ["bash **"],
    ["bash *"],
    ["/bin/bash -l **"],
    ["bash"],
    ["python -c **"],
    ["python3 -m *"],
    ["/usr/bin/python3.12 -I **"],
    ["python3 -*"],
    ["node -e **"],
    ["node **"],
    ["node *"],
    ["node --import=* /opt/server.js"],
    ["node20 **"],
    ["perl **"],
    ["awk **"],
    ["env **"],
    ["env A=1 *"],
    ["sudo **"],
    ["sudo -u mcp **"],
    ["sudo -n env X=1 sh -c **"],
    ["timeout 10 node **"],
    ["nice -n 5 bash -c **"],
    ["find /srv -exec **"],
    ["timeout 10 **"],
    ["xargs -n 1 **"],
    ["flock /tmp/lock **"],
    ["su mcp -c **"],
    ["busybox *"],
    ["npx **"],
    ["npx -y **"],
    ["npx -y *"],
    ["npx -y mcp-*"],
    ["npx -y @*/server"],
    ["npx -*"],
    ["npx -y *@1.0.0"],
    ["uvx *"],
    ["uvx mcp-*"],
    ["uv run **"],
    ["uv tool run *"],
    ["npm exec **"],
    ["pnpm dlx *"],
    ["docker **"],
    ["docker run **"],
    ["docker run -i --rm **"],
    ["docker run -i --rm *"],
    ["docker run -i --rm */everything"],
    ["docker run -* mcp/everything"],
    ["docker run -v * mcp/everything"],
    ["docker run --volume=* mcp/everything"],
    ["docker run --name srv -v *:/data mcp/everything"],
    ["docker run --privileged mcp/*"],
    ["docker run -v /:/host mcp/*"],
    ["docker run -v /var/run/docker.sock:/s mcp/*"],
    ["docker * -i mcp/everything"],
    ["podman run --rm **"],
    ["/usr/bin/*"],
    ["/usr/local/bin/* **"],
    ["/bin/*sh -c **"],
    // the word that makes it a runner is left open itself
    ["npm **"],
    ["npm *"],
    ["uv tool **"],
    ["pnpm **"],
    // an option behind the package is still npm's
    ["npm exec server **"],
    ["nix run nixpkgs#server **"],
    // what looks like the script is an option's value
    ["python3 -W ignore **"],
    ["node --require /opt/x.js **"],
    ["java -cp /opt/a.jar **"],
    // code comes in by an option, wherever it stands
    ["git -C /srv/repo **"],
    ["tar -xf /srv/a.tar **"],
    ["make -f /opt/Makefile **"],
    ["sqlite3 /srv/db **"],
    ["psql service=x **"],
    ["curl https://example.com/ **"],
    ["mcpgate **"],
    ["/lib64/ld-linux-x86-64.so.2 *"],
    // the host's own folders, however they are written
    ["docker run -v=/:/host mcp/*"],
    ["docker run -v //:/host mcp/*"],
    ["docker run --volume=/etc/:/host:ro mcp/*"],
    ["docker run --mount type=bind,src=/,dst=/host mcp/*"],
    ["docker run --mount=type=bind,source=/usr/..,target=/host mcp/*"],
    ["docker run --pid host mcp/*"],
    ["docker run -v /:/host alpine **"],
    ["docker run --privileged alpine sh -c *"],
  ])("%s", (rule) => {
    expect(arbitraryCode(rule.split(" "))).toBeString();
  });

  test.each([
    ["docker run -i --rm mcp/*"],
    ["docker run -i --rm mcp/* **"],
    ["docker run -i --rm -e TZ=* --name srv-* mcp/*"],
    ["docker run -i --rm -v /srv/data:/data mcp/*"],
    ["docker run --privileged mcp/everything"],
    ["/opt/mcp/bin/*"],
    ["/opt/mcp/server **"],
    ["node /opt/server.js"],
    ["node /opt/server.js **"],
    ["node /opt/mcp/*"],
    ["node --enable-source-maps /opt/server.js --port=*"],
    ["python3 -m acme_server **"],
    ["sh -c true"],
    ["npx -y @acme/*"],
    ["npx -y @acme/*@*"],
    ["npx -y server@1.2.3 **"],
    ["uvx acme-server **"],
    ["uvx --from acme-server serve --name=*"],
    ["sudo -u mcp /opt/server **"],
    ["timeout 10 /opt/server **"],
    ["env"],
    ["mcpgate demo-server"],
    ["npm exec -- server **"],
    ["npm run serve"],
    ["python3 -W ignore /opt/server.py **"],
    ["python3 -I /opt/server.py **"],
    ["node -r /opt/x.js /opt/server.js **"],
    ["java -cp /opt/a.jar com.example.Server **"],
    ["java -jar /opt/a.jar **"],
    ["dotnet /opt/server.dll **"],
    ["sqlite3 /srv/*.db"],
    ["git -C /srv/* log"],
    ["docker run -v /srv/etc:/data mcp/*"],
    ["docker run -i --rm mcp/server **"],
    ["docker run --privileged mcp/server serve"],
  ])("not: %s", (rule) => {
    expect(arbitraryCode(rule.split(" "))).toBeUndefined();
  });
});

describe("what an agent opts in to", () => {
  const resources = [{ labels: { env: "dev" } }];

  test("says which rule it is", () => {
    const allow_commands = [["/opt/server"], ["sh", "-c", "**"]];
    const [warning, ...others] = optInWarnings({ resources, allow_commands, allow_host_users: ["mcp"] });
    expect(others).toEqual([]);
    expect(warning?.path).toEqual(["allow_commands", 1]);
    expect(warning?.message).toContain("arbitrary code");
  });

  test("resources that nothing lets in, and root", () => {
    const paths = (...args: Parameters<typeof optInWarnings>) =>
      optInWarnings(...args).map(({ path }) => path.join("."));
    expect(paths({ resources })).toEqual(["resources", "resources"]);
    expect(paths({ resources, allow_commands: [["x"]], allow_host_users: ["mcp"] })).toEqual([]);
    expect(paths({ resources, allow_commands: [["x"]], allow_host_users: ["mcp", "root"] })).toEqual([
      "allow_host_users.1",
    ]);
    expect(paths({ allow_host_users: ["root"] })).toEqual([]);
  });
});
