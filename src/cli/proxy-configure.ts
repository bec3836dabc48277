/** `mcpgate proxy configure` */
import { resolve } from "node:path";
import { composeProxyFile } from "../config/compose-proxy.ts";
import { formatHostPort, parseHostPort } from "../config/host-port.ts";
import { Failure } from "../errors.ts";
import { command } from "./command.ts";
import { requireRight } from "./composed-file.ts";
import { outputFlag, printOrMake } from "./new-file.ts";

export const configure = command({
  args: {
    "public-addr": {
      type: "string",
      required: true,
      valueHint: "HOST:PORT",
      description: "what agents and clients dial (port 443 unless given)",
    },
    "listen-addr": {
      type: "string",
      valueHint: "HOST:PORT",
      description: "where the proxy listens (0.0.0.0, and the public port, unless given)",
    },
    "cluster-name": { type: "string", description: "what people see (the public host unless given)" },
    "cert-file": {
      type: "string",
      valueHint: "FILE",
      description: "a certificate of the public web; else the proxy makes its own, with a CA",
    },
    "key-file": { type: "string", valueHint: "FILE", description: "the certificate's key" },
    ...outputFlag,
  },
  about: "The configuration of a proxy, to go on from. A file that is there already stays as it is.",
  examples: ["sudo mcpgate proxy configure --public-addr=mcpgate.example.com:443 -o /etc/mcpgate.yaml"],
  async run(context, given) {
    const publicAddr = given["public-addr"];
    const dialled = parseHostPort(publicAddr, { defaultPort: 443 });
    const port = typeof dialled === "string" ? 443 : dialled.port;
    const [certFile, keyFile] = [given["cert-file"], given["key-file"]];
    if ((certFile === undefined) !== (keyFile === undefined)) {
      throw new Failure("usage", "--cert-file and --key-file go together", { hint: "give both, or neither" });
    }
    const text = composeProxyFile({
      publicAddr: typeof dialled === "string" ? publicAddr : formatHostPort(dialled),
      listenAddr: given["listen-addr"] ?? `0.0.0.0:${port}`,
      clusterName: given["cluster-name"],
      certFile: certFile === undefined ? undefined : resolve(certFile),
      keyFile: keyFile === undefined ? undefined : resolve(keyFile),
    });
    requireRight(text, context.uid, {
      "proxy_service.public_addr": "--public-addr",
      "proxy_service.listen_addr": "--listen-addr",
      "proxy_service.cluster_name": "--cluster-name",
      "proxy_service.cert_file": "--cert-file",
      "proxy_service.key_file": "--key-file",
    });
    // no secret stands in it, and the user that systemd gives the proxy has to read it
    await printOrMake(context, { output: given.output, text, mode: 0o644 });
  },
});
