/** What a receiver tells, one line each of `vfiokit receive --json`. */
export interface ReceiverEvent {
  readonly event:
    | "listening"
    /** A connection was not let in. */
    | "refused"
    /** A migration client has begun to talk about a device. */
    | "connected"
    /** Its connection broke; it may continue. */
    | "broken"
    | "resumed"
    /** An image is coming. */
    | "begun"
    | "prepared"
    | "activated"
    | "discarded"
    /** The migration client is gone and the device is prepared: somebody has to decide. */
    | "left-prepared"
    /** A migration client is done. */
    | "ended";
  readonly level: "info" | "warn" | "error";
  /** Of "listening": where, with the port that it is. */
  readonly url?: string;
  /** Address of the migration client, and whose certificate it has shown. */
  readonly peer?: string;
  readonly device?: string;
  /** Of the migration, where it is known. */
  readonly migration?: string;
  /** Of the image so far. */
  readonly bytes?: number;
  /** All of it as a sentence. */
  readonly message: string;
}
