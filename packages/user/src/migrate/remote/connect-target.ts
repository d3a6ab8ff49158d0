import type { MigrationTarget } from "../endpoint.js";
import { parseRemoteUrl } from "./address.js";
import { zstd } from "./compression.js";
import { newHello, openLink } from "./link.js";
import { Compression, Purpose } from "./protocol.js";
import { RemoteTarget } from "./remote-target.js";
import type { RemoteTargetOptions } from "./target-options.js";
import { defaultTiming } from "./timing.js";

/**
 * A device behind a receiver (`vfiokit receive`) as the target of a migration. A connection that breaks later is made
 * again, as long as the receiver waits for it; the operations do not notice.
 * @param url `tls://host:port`, or with `/NAME` where the receiver has several devices
 * @throws VfioError EINVAL: the URL; EACCES: a certificate is not accepted, by this side or by the receiver; ENOENT, EBUSY
 * and others: the receiver's reason; ENOTCONN, ECONNRESET, ETIMEDOUT: no connection; EPROTO: no receiver
 */
export async function connectRemoteTarget(
  url: string,
  options: RemoteTargetOptions,
): Promise<MigrationTarget> {
  const address = parseRemoteUrl(url);
  const wanted = options.compression === "zstd" ? (options.codec ?? zstd) : undefined;
  const purpose = options.reclaim === false ? Purpose.CHECK : Purpose.MIGRATE;
  const hello = newHello(address.device, purpose, wanted ? Compression.ZSTD : 0);
  const timing = { ...defaultTiming, ...options.timing };
  const link = await openLink(address, options.security, hello, timing);
  const codec = link.welcome.compression & Compression.ZSTD ? wanted : undefined;
  if (options.compression === "zstd" && !codec) {
    const who = wanted ? "the receiver's" : "this";
    options.log?.("warn", `${url}: not compressed, as ${who} Node has no zstd (22.15 has)`);
  }
  return new RemoteTarget({ url, address, hello, timing, codec, options }, link);
}
