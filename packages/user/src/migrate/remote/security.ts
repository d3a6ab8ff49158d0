import type { TLSSocket } from "node:tls";
import { createPrivateKey, X509Certificate } from "node:crypto";
import { VfioError } from "@vfiokit/core";

/** Who this side is, and whom it trusts. All are PEM texts. */
export interface TlsIdentity {
  readonly kind: "tls";
  /** This side's certificate, and those between it and its CA. */
  readonly cert: string;
  readonly key: string;
  /** The authorities that the other side's certificate must come from. The system's are not trusted. */
  readonly ca: string;
}

/**
 * How the two sides of a migration know each other. "insecure-loopback" is plain TCP, between loopback addresses only:
 * TLS that verifies nothing would hide the bytes from tcpdump and from nobody else.
 */
export type RemoteSecurity = TlsIdentity | { readonly kind: "insecure-loopback" };

/** TLS 1.3 keeps the certificates from eavesdroppers, and has no cipher that is weak. */
export const MIN_TLS = "TLSv1.3";

/** What OpenSSL and Node call the reasons not to trust a certificate, in words. */
const reasons: Readonly<Record<string, string>> = {
  CERT_HAS_EXPIRED: "it has expired",
  CERT_NOT_YET_VALID: "it is not valid yet",
  CERT_REJECTED: "it is rejected",
  CERT_REVOKED: "it is revoked",
  CERT_SIGNATURE_FAILURE: "its signature is wrong: unknown CA",
  DEPTH_ZERO_SELF_SIGNED_CERT: "unknown CA: it is signed by itself",
  ERR_TLS_CERT_ALTNAME_INVALID: "wrong name",
  INVALID_CA: "the CA's certificate is not one of a CA",
  INVALID_PURPOSE: "it is not made for this purpose (extended key usage)",
  SELF_SIGNED_CERT_IN_CHAIN: "unknown CA",
  UNABLE_TO_GET_ISSUER_CERT: "unknown CA",
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: "unknown CA",
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: "unknown CA",
};

/** Why a certificate was not accepted, in words; undefined: `code` is of something else. */
export function certificateProblem(code: string | undefined): string | undefined {
  return code === undefined || !Object.hasOwn(reasons, code) ? undefined : `${reasons[code]!} (${code})`;
}

/**
 * Why a client's certificate does not let it in; undefined: it does.
 * @param allow names of which the certificate must have one; undefined: every client of the CA's
 */
export function refuseClient(socket: TLSSocket, allow: readonly string[] | undefined): string | undefined {
  const certificate = socket.getPeerX509Certificate();
  if (!certificate) return "you have shown no certificate";
  // A string, whatever Node's types say: the code.
  const code = socket.authorizationError as unknown as string | undefined;
  if (!socket.authorized) return `your certificate: ${certificateProblem(code) ?? code ?? "not verified"}`;
  if (allow?.some((name) => hasName(certificate, name)) === false) {
    return `your certificate is of ${certificateNames(certificate)}, who is not among those allowed here`;
  }
  return undefined;
}

function hasName(certificate: X509Certificate, name: string): boolean {
  // A certificate for *.lan is not one of every host's.
  return certificate.checkHost(name, { subject: "always", wildcards: false }) !== undefined;
}

/** "CN=client, DNS:client.lan" */
function certificateNames({ subject, subjectAltName }: X509Certificate): string {
  const names = [...subject.split("\n"), subjectAltName].filter((name) => name !== undefined && name !== "");
  return names.join(", ") || "nobody";
}

/**
 * Looks at this side's own certificates before anybody else does.
 * @throws VfioError EINVAL, EACCES (the key is another's, the certificate has expired): names `cert`, `key` or `ca`
 */
export function checkIdentity({ cert, key, ca }: TlsIdentity): void {
  const certificate = parse("cert", "PEM certificate", () => new X509Certificate(cert));
  const privateKey = parse("key", "PEM private key without a passphrase", () => createPrivateKey(key));
  parse("ca", "PEM certificate", () => new X509Certificate(ca));
  if (!certificate.checkPrivateKey(privateKey))
    throw new VfioError("EACCES", "key: it does not belong to the certificate");
  const now = Date.now();
  if (Date.parse(certificate.validTo) < now)
    throw new VfioError("EACCES", `cert: it has expired, on ${certificate.validTo}`);
  if (Date.parse(certificate.validFrom) > now)
    throw new VfioError("EACCES", `cert: it is not valid before ${certificate.validFrom}`);
}

function parse<T>(what: string, kind: string, read: () => T): T {
  try {
    return read();
  } catch (error) {
    throw new VfioError("EINVAL", `${what}: no ${kind} (${(error as Error).message})`);
  }
}
