import { RecordReader, type RecordSink } from "./record-reader.js";
import { StreamError, type Fail, type StreamBegin, type StreamRule } from "./stream-format.js";
import { StreamImage, type SectionProgress } from "./stream-image.js";

/** What is in a stream, and whether it is whole. */
export interface StreamDescription {
  /** Bytes and records, those of images that were given up included. */
  readonly bytes: number;
  readonly records: number;
  /** BEGN records: after the first, each means that the source was reset and started over. */
  readonly begins: number;
  /** Of the last image; undefined if there is none. */
  readonly begin: StreamBegin | undefined;
  /** Of the last image, in the order of the stream. */
  readonly sections: readonly SectionProgress[];
  /** Its checksums, its numbers and its counts are right, from the beginning to the end. */
  readonly valid: boolean;
  /** Why it is not. */
  readonly problem: StreamProblem | undefined;
}

/** What is wrong with a stream, and at which byte. */
export interface StreamProblem {
  readonly rule: StreamRule;
  /** Of the record that breaks the rule; where a stream breaks off, its length. */
  readonly offset: number;
  readonly message: string;
  /** The same, for whoever knows that it is about a stream. */
  readonly text: string;
}

/**
 * Describes a stream without a device: `push` its bytes, in pieces of any size, then `finish`. Nothing of the content
 * is kept, and a bad stream is no error here but a `problem`.
 */
export class StreamInspector {
  readonly #sink = new InspectorSink();
  readonly #records = new RecordReader(this.#sink);
  #bytes = 0;
  #problem: StreamProblem | undefined;
  #finished = false;

  push(bytes: Uint8Array): void {
    this.#bytes += bytes.byteLength;
    this.#attempt(() => this.#records.push(bytes));
  }

  /** The stream is over. */
  finish(): StreamDescription {
    this.#attempt(() => this.#records.finish());
    this.#finished = true;
    return this.description;
  }

  /** As far as the stream has come. */
  get description(): StreamDescription {
    const { records, begins, origin, image } = this.#sink;
    return {
      bytes: this.#bytes,
      records,
      begins,
      begin: origin,
      sections: image?.sections ?? [],
      valid: this.#finished && this.#problem === undefined,
      problem: this.#problem,
    };
  }

  #attempt(step: () => void): void {
    if (this.#problem) return;
    try {
      step();
    } catch (error) {
      if (!(error instanceof StreamError)) throw error;
      const { rule, offset, message, text } = error;
      this.#problem = { rule, offset, message, text };
    }
  }
}

/** Describes a stream that is all there. */
export function describeStream(stream: Uint8Array): StreamDescription {
  const inspector = new StreamInspector();
  inspector.push(stream);
  return inspector.finish();
}

/** Counts, and keeps nothing. */
class InspectorSink implements RecordSink {
  records = 0;
  begins = 0;
  origin: StreamBegin | undefined;
  image: StreamImage | undefined;

  get ended(): boolean {
    return this.image?.ended ?? false;
  }

  get sectionCount(): number {
    return this.image?.sectionCount ?? 0;
  }

  begin(begin: StreamBegin): void {
    this.records++;
    this.begins++;
    this.origin = begin;
    this.image = new StreamImage(begin.format, () => ({ put: () => undefined }));
  }

  record(type: number, body: DataView, fail: Fail): void {
    this.records++;
    this.image!.add(type, body, fail);
  }
}
