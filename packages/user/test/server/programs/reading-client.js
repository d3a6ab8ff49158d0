import { definePciDevice, io, PciDevice } from "@vfiokit/core";
import { reactor, Receiver, sendBytes, StableBuffer, WOULD_BLOCK } from "@vfiokit/user/linux";
import { encodeRequest } from "@vfiokit/user/wire";

const REQUEST_BYTES = 32;
const REPLY_BYTES = 36;

/** A client that reads 4 bytes of region 0 again and again, and allocates nothing for it. */
export class ReadingClient {
  #replies = new StableBuffer(1 << 16);
  #receiver = new Receiver(this.#replies);
  #requests = stable(encodeRequest("VERSION", 1, { major: 0, minor: 1, data: undefined }));
  #left = 0;
  #expected = 0;
  /** @type {() => void} */
  #done = () => undefined;
  #fd;
  #watch;

  /** @param {import("@vfiokit/user/linux").Fd} fd connected */
  constructor(fd) {
    this.#fd = fd;
    this.#watch = reactor.add(fd, { onReadable: () => this.#onReadable() });
  }

  /** VERSION. @returns {Promise<void>} */
  negotiate() {
    return this.batches(1);
  }

  /** Sends batches of requests, each when the one before was answered. @param {number} count @returns {Promise<void>} */
  batches(count) {
    this.#left = count;
    return new Promise((resolve) => {
      this.#done = resolve;
      this.#send();
    });
  }

  /** Bytes that the heap grows by for each read. @param {number} depth reads in a batch @param {number} count batches */
  async growth(depth, count) {
    const read = encodeRequest("REGION_READ", 1, { region: 0, offset: 0n, count: 4 });
    this.#requests = stable(Buffer.concat(Array.from({ length: depth }, () => read)));
    await this.batches(4 * count); // compiles what there is to compile
    const grown = [];
    for (let i = 0; i < 15; i++) {
      const before = process.memoryUsage().heapUsed;
      await this.batches(count);
      const bytes = process.memoryUsage().heapUsed - before;
      if (bytes > 0) grown.push(bytes / (depth * count)); // less than nothing: garbage was collected
    }
    return Math.min(...grown);
  }

  close() {
    this.#watch.remove();
    this.#fd.close();
  }

  #onReadable() {
    const count = this.#receiver.receive(this.#fd, 0, 1 << 16);
    if (count === WOULD_BLOCK) return false;
    this.#expected -= count;
    if (this.#expected > 0) return true;
    if (this.#left > 0) this.#send();
    else this.#done();
    return true;
  }

  #send() {
    this.#left--;
    this.#expected = (this.#requests.bytes.length / REQUEST_BYTES) * REPLY_BYTES;
    sendBytes(this.#fd, this.#requests, 0, this.#requests.bytes.length);
  }
}

/** @param {Uint8Array} bytes */
function stable(bytes) {
  const buffer = new StableBuffer(bytes.length);
  buffer.bytes.set(bytes);
  return buffer;
}

/** What it reads. */
export function registersDevice() {
  const registers = new Uint32Array(16);
  return new PciDevice(
    definePciDevice({
      name: "registers",
      id: { vendor: 0x1b36, device: 0x0101, classCode: 0x088000 },
      bars: [io({ size: 0x40 })],
      create: () => ({
        read: (_bar, offset) => registers[offset >> 2] ?? 0,
        write: (_bar, offset, value) => void (registers[offset >> 2] = value),
        reset: () => void registers.fill(0),
      }),
    }),
  );
}
