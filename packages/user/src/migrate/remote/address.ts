import { lookup } from "node:dns/promises";
import { BlockList, isIPv6 } from "node:net";
import { VfioError } from "@vfiokit/core";

/** Where a receiver listens, and which of its devices is meant: `tls://host:port/NAME`. */
export interface RemoteAddress {
  /** A name or an address; IPv6 without brackets. */
  readonly host: string;
  /** 0, to listen: any that is free. */
  readonly port: number;
  /** Of the device; empty: the only one of the receiver. */
  readonly device: string;
}

/** Characters of a device's name at most. */
export const MAX_NAME = 255;

/** Letters, digits and `_.-`: a name stands in URLs and in messages as it is. */
export function isDeviceName(text: string): boolean {
  return /^[\w.-]+$/.test(text) && text.length <= MAX_NAME;
}

/** Whether this means a receiver, and not the path of a socket. */
export function isRemoteUrl(text: string): boolean {
  return text.startsWith("tls://");
}

/** @throws VfioError EINVAL: it is not `tls://host:port` or `tls://host:port/NAME` */
export function parseRemoteUrl(url: string): RemoteAddress {
  const refuse = (rule: string): never => {
    throw new VfioError("EINVAL", `${JSON.stringify(url)}: ${rule}`);
  };
  const parts = /^tls:\/\/(?:\[([^\]]+)\]|([^/:[\]]+)):(\d{1,5})(?:\/([^/]*))?$/.exec(url);
  if (!parts) return refuse("write tls://host:port or tls://host:port/NAME, an IPv6 address in brackets");
  const [, v6, name, digits, device = ""] = parts;
  const port = Number(digits);
  if (port > 0xffff) refuse("a port is 0 to 65535");
  if (v6 !== undefined && !isIPv6(v6)) refuse("the brackets hold no IPv6 address");
  if (device !== "" && !isDeviceName(device)) refuse("a device's name has letters, digits and _.- only");
  return { host: v6 ?? name!, port, device };
}

/** "host:port", an IPv6 address in brackets. */
export function hostAndPort({ host, port }: { readonly host: string; readonly port: number }): string {
  return `${isIPv6(host) ? `[${host}]` : host}:${port}`;
}

const loopback = new BlockList();
loopback.addSubnet("127.0.0.0", 8, "ipv4");
loopback.addAddress("::1", "ipv6");

/**
 * The address of `host`, which is this machine's loopback: what is sent there reaches no wire.
 * @throws VfioError EACCES: it is another address
 */
export async function loopbackAddress(host: string): Promise<string> {
  const found = await lookup(host, { all: true }).catch((error: unknown) => {
    throw new VfioError("ENOENT", `host ${host}: ${(error as Error).message}`);
  });
  for (const { address, family } of found) {
    if (!loopback.check(address, family === 6 ? "ipv6" : "ipv4")) {
      const shown = address === host ? host : `${host} (${address})`;
      throw new VfioError(
        "EACCES",
        `${shown} is no loopback address: without certificates only 127.0.0.1 and ::1 are allowed`,
      );
    }
  }
  return found[0]!.address;
}
