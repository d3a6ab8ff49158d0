import { VfioError } from "@vfiokit/core";
import { asVfioError } from "../../socket/errors.js";
import type { MigrationTarget } from "../endpoint.js";
import type { Codec } from "./compression.js";
import { DataFlags, encodeFrame, failure, MAX_DATA, type FrameValue } from "./protocol.js";

/** The image that a session's target is being loaded with. */
export class IncomingImage {
  /** Of its BEGIN; 0: there is none. */
  number = 0;
  /** Bytes so far. */
  taken = 0;
  /** Why the target takes no more of it. */
  error: VfioError | undefined;

  /** @param codec undefined: compression was not agreed upon */
  constructor(
    private readonly target: MigrationTarget,
    readonly codec: Codec | undefined,
  ) {}

  /** What came is of no interest any more. */
  clear(): void {
    this.number = 0;
    this.taken = 0;
    this.error = undefined;
  }

  /**
   * Takes the next bytes.
   * @param lastRequest the number of the last request that was carried out
   * @returns the answer, where there is one
   * @throws VfioError EPROTO: the other side breaks the protocol
   */
  async take(
    { image, flags, offset, size, data }: FrameValue<"DATA">,
    lastRequest: number,
  ): Promise<Uint8Array | undefined> {
    if (image === 0 || image > lastRequest)
      throw new VfioError("EPROTO", `bytes of image ${image}, which was not begun`);
    if (image !== this.number || this.error) return undefined; // sent before the other side knew
    if (offset !== BigInt(this.taken))
      throw new VfioError("EPROTO", `bytes from ${offset} on, and ${this.taken} were taken`);
    const plain = await this.#unpack(flags, size, data);
    try {
      await this.target.write(plain);
    } catch (error) {
      this.error = asVfioError(error);
      return encodeFrame("FAILED", { request: image, ...failure(error) });
    }
    this.taken += size;
    return encodeFrame("ACK", { image, taken: BigInt(this.taken) });
  }

  async #unpack(flags: number, size: number, data: Uint8Array): Promise<Uint8Array> {
    if (size < 1 || size > MAX_DATA) throw new VfioError("EPROTO", `DATA of ${size} bytes: 1 to ${MAX_DATA}`);
    if ((flags & DataFlags.COMPRESSED) === 0) {
      if (data.length !== size)
        throw new VfioError("EPROTO", `DATA of ${size} bytes: the frame holds ${data.length}`);
      return data;
    }
    if (!this.codec) throw new VfioError("EPROTO", "DATA is compressed, and that was not agreed upon");
    return this.codec.decompress(data, size);
  }
}
