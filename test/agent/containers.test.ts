/** Which command lines run a container, and where the labels go. */
import { describe, expect, test } from "bun:test";
import { containerRun, labelled } from "../../src/agent/containers.ts";

describe("a container is run by", () => {
  test.each([
    ["docker run -i --rm image", "docker run LABELS -i --rm image"],
    ["/usr/bin/podman run image run", "/usr/bin/podman run LABELS image run"],
    ["docker container run -i image", "docker run LABELS -i image"],
    ["docker --context far run -i image", "docker --context far run LABELS -i image"],
    ["nerdctl --namespace=x run image", "nerdctl --namespace=x run LABELS image"],
  ])("%s", (line, wanted) => {
    const [command = "", ...args] = line.split(" ");
    const run = containerRun(command, args);
    const labels = "--label mcpgate.agent=a1 --label mcpgate.sid=s1";
    expect(run && [command, ...labelled(run, "a1", "s1")].join(" ")).toBe(wanted.replace("LABELS", labels));
  });
});

describe("no container is run by", () => {
  test.each(["npx run", "docker exec -i x run", "docker compose run x", "docker", "docker images", "mydocker run x"])(
    "%s",
    (line) => {
      const [command = "", ...args] = line.split(" ");
      expect(containerRun(command, args)).toBeUndefined();
    },
  );
});
