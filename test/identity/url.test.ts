import { expect, test } from "bun:test";
import { publicUrl } from "../../src/identity/url.ts";

test("the public URL leaves out port 443 and brackets IPv6", () => {
  expect(publicUrl({ host: "mcpgate.example.com", port: 443 }, "/v1/login")).toBe(
    "https://mcpgate.example.com/v1/login",
  );
  expect(publicUrl({ host: "mcpgate.example.com", port: 4433 }, "/")).toBe("https://mcpgate.example.com:4433/");
  expect(publicUrl({ host: "::1", port: 443 }, "/x")).toBe("https://[::1]/x");
  expect(publicUrl({ host: "::1", port: 8443 }, "/x")).toBe("https://[::1]:8443/x");
});
