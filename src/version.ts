/** The one version number: of the binary, the proxy's `server_version` and the link's peers. Equal to package.json's; a test holds it. */
export const VERSION = "0.1.0";

/** The oldest client and agent that this release works with (`GET /v1/webapi/find`). */
export const MIN_CLIENT_VERSION = "0.1.0";
