import type { IrqTrigger } from "@vfiokit/core/host";

/** A trigger that counts. It must not be used after it is closed, nor closed twice. */
export class CountingTrigger implements IrqTrigger {
  signals = 0;
  closed = 0;

  signal(): void {
    if (this.closed > 0) throw new Error("signalled after close");
    this.signals++;
  }
  close(): void {
    this.closed++;
  }
}
