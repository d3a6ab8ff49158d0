import { generator } from "./random.js";
import type { VirtualClock } from "./virtual-clock.js";
import { startTimer } from "./virtual-timers.js";

interface Buffers {
  readonly Buffer: { alloc(size: number): Uint8Array };
}

/** Random numbers: of each task its own, from a seed. Its methods are those of Math and of crypto, by their names. */
export class VirtualRandom {
  readonly #generators = new Map<string, () => number>();

  constructor(private readonly owner: { readonly clock: VirtualClock; caller(): string }) {}

  random(): number {
    const caller = this.owner.caller();
    let draw = this.#generators.get(caller);
    if (!draw) this.#generators.set(caller, (draw = generator(hash(caller))));
    return draw();
  }

  getRandomValues<T extends ArrayBufferView | ArrayBuffer>(target: T): T {
    const bytes = ArrayBuffer.isView(target)
      ? new Uint8Array(target.buffer, target.byteOffset, target.byteLength)
      : new Uint8Array(target);
    for (let i = 0; i < bytes.length; i++) bytes[i] = this.random() * 256;
    return target;
  }

  randomFillSync<T extends ArrayBufferView | ArrayBuffer>(target: T): T {
    return this.getRandomValues(target);
  }

  randomUUID(): string {
    const bytes = this.getRandomValues(new Uint8Array(16));
    bytes[6] = (bytes[6]! & 0x0f) | 0x40;
    bytes[8] = (bytes[8]! & 0x3f) | 0x80;
    const hex = Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
    return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join("-");
  }

  randomBytes(size: number, callback?: unknown): unknown {
    return this.#answered(
      this.getRandomValues((globalThis as unknown as Buffers).Buffer.alloc(size)),
      callback,
    );
  }

  randomInt(from: number, to?: unknown, callback?: unknown): unknown {
    const [low, high, then] = typeof to === "number" ? [from, to, callback] : [0, from, to];
    return this.#answered(low + Math.floor(this.random() * (high - low)), then);
  }

  /** At once, or by a callback. */
  #answered(value: unknown, callback: unknown): unknown {
    if (typeof callback !== "function") return value;
    startTimer(this.owner.clock, () => (callback as (error: null, value: unknown) => void)(null, value), 0);
    return undefined;
  }
}

function hash(text: string): number {
  let hashed = 17;
  for (let i = 0; i < text.length; i++) hashed = Math.imul(hashed, 31) + text.charCodeAt(i);
  return hashed;
}
