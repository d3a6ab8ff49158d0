import type { PrecopyProgress } from "./endpoint.js";
import type { MigrateClock, MigrateProgress } from "./options.js";

/** Bytes below which the time that they took is that of a message, and says nothing of a rate. */
const MEASURABLE = 64 * 1024;

/** A rate is measured over at least so many milliseconds: shorter ones are those of a few messages. */
const SAMPLE_MS = 5;
/** Samples that are kept: of the last rounds, as a device and its host are now. */
const SAMPLES = 200;
/** How much slower than usual the rest may be sent: by twice the spread, as 1 in 40 samples is. */
const SPREADS = 2;

/** Counts what is sent, and says from it what stopping would cost. */
export class Meter {
  /** Bytes sent, of all images. */
  bytes = 0;
  /** Of this image. */
  round = 0;
  /** Bytes that were to be sent when the source was last asked; undefined where it does not tell. */
  remaining: number | undefined;
  #dirtyRate: number | undefined;
  /** Milliseconds in which something was being sent, without the present round's. */
  #sending = 0;
  #begun = { at: 0, bytes: 0 };
  #busy = false;
  /** Bytes per millisecond, the oldest first. */
  readonly #samples: number[] = [];
  /** Begins with the first bytes of a round: the wait for those is not the rate's. */
  #sample: { readonly at: number; readonly bytes: number } | undefined;
  /** Milliseconds that stopping takes beside what is sent: its questions and steps. */
  steps_ms = 0;

  constructor(private readonly clock: MigrateClock) {}

  /** A new image: the estimates of the last one are worth nothing. */
  restart(): void {
    this.end();
    this.round = 0;
    this.remaining = undefined;
    this.#dirtyRate = undefined;
  }

  /** Something is being sent from now on. @param remaining what is to be sent */
  begin(remaining: number | undefined): void {
    this.remaining = remaining;
    this.#begun = { at: this.clock.now(), bytes: this.bytes };
    this.#sample = undefined;
    this.#busy = true;
  }

  end(): void {
    if (this.#busy) this.#sending += this.clock.now() - this.#begun.at;
    this.#busy = false;
  }

  /** The end of a round. @param remaining what is to be sent now: beyond what was left, the device has changed it */
  endRound(remaining: number | undefined): void {
    const { at, bytes } = this.#begun;
    const elapsed = this.clock.now() - at;
    this.end();
    if (remaining !== undefined && this.remaining !== undefined && elapsed > 0) {
      const changed = remaining - (this.remaining - (this.bytes - bytes));
      this.#dirtyRate = (Math.max(0, changed) / elapsed) * 1000;
    }
    this.remaining = remaining;
  }

  /** So many bytes were sent. */
  sent(bytes: number): void {
    this.bytes += bytes;
    const now = this.clock.now();
    this.#sample ??= { at: now, bytes: this.bytes };
    const elapsed = now - this.#sample.at;
    if (elapsed < SAMPLE_MS) return;
    if (this.#samples.length === SAMPLES) this.#samples.shift();
    this.#samples.push((this.bytes - this.#sample.bytes) / elapsed);
    this.#sample = { at: now, bytes: this.bytes };
  }

  /** Bytes per second that the rest is sent with at least, by how much the rate varied so far. */
  get slowRate(): number | undefined {
    const { rate } = this;
    const samples = this.#samples;
    if (rate === undefined || samples.length < 2) return rate;
    const mean = samples.reduce((sum, one) => sum + one, 0) / samples.length;
    const variance = samples.reduce((sum, one) => sum + (one - mean) ** 2, 0) / (samples.length - 1);
    const slow = Math.max(mean - SPREADS * Math.sqrt(variance), Math.min(...samples));
    return rate * Math.min(1, slow / mean);
  }

  /** Bytes per second; undefined before enough was sent to tell. */
  get rate(): number | undefined {
    const sending = this.#sending + (this.#busy ? this.clock.now() - this.#begun.at : 0);
    return this.bytes >= MEASURABLE && sending > 0 ? (this.bytes / sending) * 1000 : undefined;
  }

  /**
   * Milliseconds that a stop would take, by the measured rate, its spread, and the time that a step takes; undefined before
   * enough was sent to tell, and where the source does not tell.
   */
  get expectedDowntime(): number | undefined {
    const { slowRate, left } = this;
    if (left === 0) return this.steps_ms;
    return slowRate === undefined || left === undefined
      ? undefined
      : (left / slowRate) * 1000 + this.steps_ms;
  }

  /** Bytes still to be sent: the last estimate, less what was sent since. */
  get left(): number | undefined {
    if (!this.#busy || this.remaining === undefined) return this.remaining;
    return Math.max(0, this.remaining - (this.bytes - this.#begun.bytes));
  }

  /** What is left takes no more than a message does. */
  get isSmall(): boolean {
    return this.rate === undefined && this.left !== undefined && this.left < MEASURABLE;
  }

  progress(phase: MigrateProgress["phase"]): MigrateProgress {
    return {
      phase,
      round: this.round,
      bytes: this.bytes,
      remaining: this.left,
      rate_Bps: this.rate,
      dirtyRate_Bps: this.#dirtyRate,
      expectedDowntime_ms: this.expectedDowntime,
    };
  }
}

/**
 * What STOP_COPY would send; undefined where the source tells nothing (libvfio-user). Servers differ in whether
 * MIG_DATA_SIZE counts what pre-copy has not sent yet.
 */
export function remainingBytes(precopy: PrecopyProgress | undefined, dataSize: number): number | undefined {
  if (precopy) return Math.max(dataSize, precopy.initialBytes + precopy.dirtyBytes);
  return dataSize > 0 ? dataSize : undefined;
}
