import { generate, type GenerateResult } from "selfsigned";
import type { TlsIdentity } from "@vfiokit/user";

/** What a certificate of the tests says. */
interface Wanted {
  readonly cn: string;
  /** Default: localhost and the loopback addresses. */
  readonly names?: readonly string[];
  readonly from?: Date;
  readonly until?: Date;
  readonly use?: "serverAuth" | "clientAuth";
}

/** An authority made for one test run. */
export class Authority {
  private constructor(private readonly own: GenerateResult) {}

  static async create(cn: string): Promise<Authority> {
    const extensions = [
      { name: "basicConstraints", cA: true, critical: true },
      { name: "keyUsage", keyCertSign: true, cRLSign: true, critical: true },
    ] as const;
    const name = [{ name: "commonName", value: cn }];
    return new Authority(
      await generate(name, { keyType: "ec", algorithm: "sha256", extensions: [...extensions] }),
    );
  }

  get cert(): string {
    return this.own.cert;
  }

  /** A certificate of this authority's, for a side that trusts `trusted`. */
  async issue(wanted: Wanted, trusted: Authority = this): Promise<TlsIdentity> {
    const { cn, names = ["localhost"], from, until, use } = wanted;
    const addresses = wanted.names ? [] : ["127.0.0.1", "::1"];
    const made = await generate([{ name: "commonName", value: cn }], {
      keyType: "ec",
      algorithm: "sha256",
      ca: { key: this.own.private, cert: this.own.cert },
      ...(from && { notBeforeDate: from }),
      ...(until && { notAfterDate: until }),
      extensions: [
        { name: "basicConstraints", cA: false },
        { name: "keyUsage", digitalSignature: true },
        use === undefined
          ? { name: "extKeyUsage", serverAuth: true, clientAuth: true }
          : { name: "extKeyUsage", [use]: true },
        {
          name: "subjectAltName",
          altNames: [
            ...names.map((value) => ({ type: 2, value }) as const),
            ...addresses.map((ip) => ({ type: 7, ip }) as const),
          ],
        },
      ],
    });
    return { kind: "tls", cert: made.cert, key: made.private, ca: trusted.cert };
  }
}
