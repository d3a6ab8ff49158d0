const DEPTH = 16; // a power of two: the ring's index is masked

/**
 * The UART's 16-entry FIFO. The receiver's is 11 bits wide: a character and the errors that it came with.
 * In 16450 mode the same storage serves as the one-character RBR or THR.
 */
export class Fifo {
  static readonly DEPTH = DEPTH;

  count = 0;
  private capacity = 1;
  private head = 0;
  private readonly entries = new Uint16Array(DEPTH);

  get full(): boolean {
    return this.count >= this.capacity;
  }

  /** 16 entries, or the single register of 16450 mode. Empties it. */
  setFifoMode(on: boolean): void {
    this.capacity = on ? DEPTH : 1;
    this.clear();
  }

  /** Appends an entry. The caller has looked at `full`. */
  push(entry: number): void {
    this.entries[(this.head + this.count) & (DEPTH - 1)] = entry;
    this.count++;
  }

  /** Takes the oldest entry. The caller has looked at `count`. */
  shift(): number {
    const entry = this.entries[this.head]!;
    this.head = (this.head + 1) & (DEPTH - 1);
    this.count--;
    return entry;
  }

  /** The oldest entry. The caller has looked at `count`. */
  get top(): number {
    return this.entries[this.head]!;
  }

  set top(entry: number) {
    this.entries[this.head] = entry;
  }

  clear(): void {
    this.count = 0;
  }

  /** For migration: the entries, oldest first. */
  toArray(): number[] {
    return Array.from({ length: this.count }, (_, i) => this.entries[(this.head + i) & (DEPTH - 1)]!);
  }

  load(entries: readonly number[]): void {
    this.clear();
    for (const entry of entries) this.push(entry);
  }
}
