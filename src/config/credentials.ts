/**
 * Files that systemd hands to a service in `$CREDENTIALS_DIRECTORY` (systemd.exec(5), `LoadCredential=`): secrets that the
 * service's own user can't read where they lie. Each is named as the key of the configuration whose file it stands in for.
 */
import { statSync } from "node:fs";
import { join } from "node:path";
import type { Config, SinkConfig } from "./config.ts";

const TOKEN_CREDENTIAL = "mcpgate.join_params.token_name";
const CERT_CREDENTIAL = "proxy_service.cert_file";
const KEY_CREDENTIAL = "proxy_service.key_file";
/** The token of the `http` sink of that name. */
const sinkCredential = (name: string): string => `proxy_service.audit.sinks.${name}.token`;

/**
 * The configuration with the files that were handed over in the place of those that it names. One that holds at most a line feed
 * stands for a file that was not there (`systemd/unit.ts`).
 */
export function withCredentials(config: Config, env: Record<string, string | undefined>): Config {
  const directory = env.CREDENTIALS_DIRECTORY;
  if (!directory?.startsWith("/")) return config;
  const handed = (name: string): string | undefined => {
    const file = join(directory, name);
    return isHanded(file) ? file : undefined;
  };
  const { join: joining, proxy } = config;
  return {
    ...config,
    ...(joining?.method !== "token"
      ? {}
      : { join: { ...joining, tokenName: handed(TOKEN_CREDENTIAL) ?? joining.tokenName } }),
    ...(proxy === undefined
      ? {}
      : {
          proxy: {
            ...proxy,
            ...(proxy.certFile === undefined ? {} : { certFile: handed(CERT_CREDENTIAL) ?? proxy.certFile }),
            ...(proxy.keyFile === undefined ? {} : { keyFile: handed(KEY_CREDENTIAL) ?? proxy.keyFile }),
            ...(proxy.audit === undefined
              ? {}
              : { audit: { ...proxy.audit, sinks: proxy.audit.sinks.map((sink) => withToken(sink, handed)) } }),
          },
        }),
  };
}

/** Not what this account can't look at either: what it needs of that, it says by the path that the configuration names. */
function isHanded(file: string): boolean {
  try {
    const stat = statSync(file);
    return stat.isFile() && stat.size > 1;
  } catch {
    return false;
  }
}

/** The files that an agent's configuration names, by the names of their credentials. */
export function agentCredentials(config: Config | undefined): Record<string, string> {
  const token = config?.join?.tokenName;
  return token?.includes("/") ? { [TOKEN_CREDENTIAL]: token } : {};
}

/** The files that a proxy's configuration names, by the names of their credentials. */
export function proxyCredentials(config: Config | undefined): Record<string, string> {
  const { certFile, keyFile, audit } = config?.proxy ?? {};
  const files: Record<string, string> = {};
  if (certFile !== undefined) files[CERT_CREDENTIAL] = certFile;
  if (keyFile !== undefined) files[KEY_CREDENTIAL] = keyFile;
  for (const sink of audit?.sinks ?? []) {
    if (sink.type === "http" && sink.token !== undefined && "file" in sink.token) {
      files[sinkCredential(sink.name)] = sink.token.file;
    }
  }
  return files;
}

function withToken(sink: SinkConfig, handed: (name: string) => string | undefined): SinkConfig {
  if (sink.type !== "http" || sink.token === undefined || !("file" in sink.token)) return sink;
  return { ...sink, token: { file: handed(sinkCredential(sink.name)) ?? sink.token.file } };
}
