import type { ClientMemory, DmaBacking, DmaMapRequest } from "@vfiokit/core/host";

/** Client memory that is mapped; counts how often it was released. */
export class MappedBacking implements DmaBacking {
  readonly bytes: Uint8Array;
  released = 0;

  constructor(size: number) {
    this.bytes = new Uint8Array(size);
  }

  read(): void {
    throw new Error("mapped memory is not read by calls");
  }
  write(): void {
    throw new Error("mapped memory is not written by calls");
  }
  release(): void {
    this.released++;
  }
}

/** Client memory in a file that is read and written. */
export class FileBacking implements DmaBacking {
  readonly bytes = undefined;
  readonly content: Uint8Array;
  released = 0;

  constructor(size: number) {
    this.content = new Uint8Array(size);
  }

  read(offset: number, into: Uint8Array): void {
    into.set(this.content.subarray(offset, offset + into.length));
  }
  write(offset: number, from: Uint8Array): void {
    this.content.set(from, offset);
  }
  release(): void {
    this.released++;
  }
}

/** A message to the client that the test answers. */
export interface Message {
  readonly kind: "read" | "write";
  readonly address: bigint;
  readonly data: Uint8Array;
  answer(): void;
  fail(error: Error): void;
}

/** A client that answers when the test says so. */
export class HeldClient implements ClientMemory {
  readonly messages: Message[] = [];

  read(address: bigint, into: Uint8Array): Promise<void> {
    return this.#send("read", address, into);
  }
  write(address: bigint, from: Uint8Array): Promise<void> {
    return this.#send("write", address, from);
  }

  #send(kind: "read" | "write", address: bigint, data: Uint8Array): Promise<void> {
    return new Promise((answer, fail) => this.messages.push({ kind, address, data, answer, fail }));
  }
}

/** A readable and writable map. */
export function request(
  address: bigint,
  size: bigint,
  backing: DmaBacking | undefined,
  access: { readable?: boolean; writable?: boolean } = {},
): DmaMapRequest {
  return { address, size, readable: true, writable: true, backing, ...access };
}
