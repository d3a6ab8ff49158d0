import { VfioError } from "@vfiokit/core";
import { DirtyLog, type DirtyRange } from "@vfiokit/core/host";
import { ReplyError } from "../socket/index.js";
import { Feature, type FeatureDmaLoggingControl, type FeatureDmaLoggingReport } from "../wire/index.js";
import { clientOf } from "./link-client.js";
import type { ServerLink } from "./server-link.js";

type Report = ReturnType<typeof FeatureDmaLoggingReport.decode>;

const PAGE_SIZE = 4096n;
/** Ranges that were unmapped and not reported since. A client that reports what it unmaps has none. */
const MAX_UNMAPPED = 1024;

/**
 * Dirty logging of the client, carried from one server to the next: the pages that a server has logged and the client has
 * not asked for are kept here, and are part of the client's next report.
 */
export class ClientLogging {
  /** What the client asked for; undefined: it does not log. */
  #control: FeatureDmaLoggingControl | undefined;
  /** Of the server's reports. */
  #pageSize = PAGE_SIZE;
  /** QEMU unmaps memory, then asks which of its pages are dirty. */
  #unmapped: DirtyRange[] = [];
  /** Pages that servers reported and the client has not heard of. */
  readonly #kept = new DirtyLog();

  get active(): boolean {
    return this.#control !== undefined;
  }

  /** The server has started to log. @param pageSize what it has chosen */
  started(control: FeatureDmaLoggingControl, pageSize: bigint): void {
    this.#control = control;
    this.#pageSize = pageSize;
  }

  /** The client wants no more reports, or nobody can make them. */
  stopped(): void {
    this.#control = undefined;
    this.#unmapped = [];
    this.#kept.stop();
  }

  unmapped(range: DirtyRange): void {
    // One more than may be there tells that there were more.
    if (this.active && this.#unmapped.length <= MAX_UNMAPPED) this.#unmapped.push(range);
  }

  /** A report on its way to the client: with the pages that are kept, which it then knows. */
  complete({ bitmap, ...request }: Report): Report {
    const { iova, length, page_size } = request;
    const end = iova + length;
    this.#unmapped = this.#unmapped.filter(({ address, size }) => address < iova || address + size > end);
    if (!this.#kept.active) return { bitmap, ...request };
    const kept = this.#kept.report(iova, length, page_size);
    return { ...request, bitmap: bitmap.map((byte, at) => byte | (kept[at] ?? 0)) };
  }

  /** A report that the client does not hear of: its server has cleared what it reports. */
  keep({ iova, length, page_size, bitmap }: Report): void {
    if (!this.#kept.active) this.#kept.start(PAGE_SIZE, []);
    const ratio = Number(page_size) / Number(PAGE_SIZE);
    const first = Number(iova / PAGE_SIZE);
    const end = Number((iova + length) / PAGE_SIZE);
    for (let at = 0; at < bitmap.length; at++) {
      if (bitmap[at] === 0) continue;
      for (let bit = 0; bit < 8; bit++) {
        if ((bitmap[at]! & (1 << bit)) === 0) continue;
        const page = first + (at * 8 + bit) * ratio;
        this.#kept.mark(Math.floor(page), Math.min(Math.ceil(page + ratio), end));
      }
    }
  }

  /**
   * Keeps what a server has logged, which is stopped and writes no more.
   * @param maps of the client
   * @throws ReplyError: the server does not report a map; VfioError EBUSY: too much was unmapped without a report
   */
  async takeFrom(server: ServerLink, maps: readonly DirtyRange[]): Promise<void> {
    if (!this.#control) return;
    if (this.#unmapped.length > MAX_UNMAPPED)
      throw new VfioError(
        "EBUSY",
        `the client logs dirty pages, and has unmapped more than ${MAX_UNMAPPED} ranges without a report`,
      );
    const { migration } = clientOf(server);
    const take = async (range: DirtyRange): Promise<void> => {
      for (const { address: iova, size: length } of this.#logged(range)) {
        const bitmap = await migration.dirtyPages({ iova, length }, this.#pageSize);
        this.keep({ iova, length, page_size: this.#pageSize, bitmap });
      }
    };
    for (const range of maps) await take(range);
    for (const range of this.#unmapped) {
      try {
        await take(range);
      } catch (error) {
        // libvfio-user forgets the pages with the map: a client would not learn of them either.
        if (!(error instanceof ReplyError)) throw error;
      }
    }
  }

  /** Has a server log, which does not run yet. @param again it may log already */
  async beginAt(server: ServerLink, again: boolean): Promise<void> {
    const { migration } = clientOf(server);
    if (again) await migration.set(Feature.DMA_LOGGING_STOP, new Uint8Array());
    if (!this.#control) return;
    this.#pageSize = await migration.startLogging(this.#control.page_size, this.#control.ranges);
  }

  /** The parts of a range that are logged. */
  *#logged({ address, size }: DirtyRange): Generator<DirtyRange> {
    const { ranges } = this.#control!;
    if (ranges.length === 0) yield { address, size };
    for (const { iova, length } of ranges) {
      const from = iova > address ? iova : address;
      const to = iova + length < address + size ? iova + length : address + size;
      if (from < to) yield { address: from, size: to - from };
    }
  }
}
