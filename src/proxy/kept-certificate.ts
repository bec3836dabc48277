/** The proxy's certificate while it runs: looked at twice a day, and replaced where there is a newer one. */
import type { ProxyConfig } from "../config/config.ts";
import { Failure } from "../errors.ts";
import type { Log } from "../log.ts";
import type { Store } from "../store/store.ts";
import { loadCertificate, type ServerCertificate } from "./certificates.ts";
import type { Listener } from "./listener.ts";

export interface KeptCertificateOptions {
  store: Store;
  listener: Pick<Listener, "replace">;
  log: Log;
  /** Milliseconds since the epoch. */
  now(): number;
}

const CHECK_MS = 12 * 60 * 60 * 1000;

export class KeptCertificate {
  readonly #options: KeptCertificateOptions;
  readonly #timer: ReturnType<typeof setInterval>;
  #config: ProxyConfig;
  #current: ServerCertificate;

  /** `current`: what the listener has, by this configuration. */
  constructor(options: KeptCertificateOptions, config: ProxyConfig, current: ServerCertificate) {
    this.#options = options;
    this.#config = config;
    this.#current = current;
    this.#timer = setInterval(() => void this.#look(), CHECK_MS);
  }

  /** PEM; undefined where something in front of the proxy ends TLS. */
  get pem(): string | undefined {
    return this.#current.cert;
  }

  /** Takes what this configuration names. Throws where it can't be had or taken; then the old one stays. */
  async renew(config: ProxyConfig): Promise<void> {
    const { store, listener, log, now } = this.#options;
    const fresh = await loadCertificate(store, config, now());
    if (fresh.cert !== this.#current.cert || fresh.key !== this.#current.key) {
      listener.replace(fresh);
      this.#current = fresh;
      log.info("certificate.renewed");
    }
    this.#config = config;
  }

  stop(): void {
    clearInterval(this.#timer);
  }

  async #look(): Promise<void> {
    try {
      await this.renew(this.#config);
    } catch (error) {
      this.#options.log.error("certificate.renewal_failed", { error: Failure.from(error).message });
    }
  }
}
