// Preloaded into the peers that listen on every interface and take no address: on loopback only.
const { Server } = require("node:net");
const { listen } = Server.prototype;
Server.prototype.listen = function (...args) {
  const [first, second] = args;
  if (typeof first === "number" || typeof first === "string") {
    return listen.call(this, first, "127.0.0.1", ...args.slice(typeof second === "string" ? 2 : 1));
  }
  if (first !== null && typeof first === "object" && "port" in first) {
    return listen.call(this, { ...first, host: "127.0.0.1" }, ...args.slice(1));
  }
  return listen.apply(this, args);
};
