import type { CommandName, ReplyPayload, RequestPayload } from "@vfiokit/user/wire";

/** Descriptors that the client passes: its memory, and the eventfd of its interrupt. */
export type FdName = "memory" | "interrupt";

interface ExchangeOf<C extends CommandName> {
  readonly send: C;
  /** The header's message id: a client may use one for many messages. */
  readonly id: number;
  readonly payload: RequestPayload<C>;
  readonly fds?: readonly FdName[];
  /** What the reply must hold: the fields that are named. A number: it is an error of this errno. */
  readonly expect: Partial<ReplyPayload<C>> | number;
}

/** One message of the client, and the reply that it waits for. */
export type Exchange = { [C in CommandName]: ExchangeOf<C> }[CommandName];

/** The image is read in pieces of `size` bytes, until a reply holds none, or `most` times. */
export interface ImageReading {
  readonly id: number;
  readonly size: number;
  readonly most?: number;
}

/** What a recorded client does, in this order. */
export type Step =
  | Exchange
  /** It waits until its eventfd is signalled. */
  | { readonly await: "interrupt" }
  /** `meanwhile`: what the guest does after each piece. */
  | { readonly readImage: ImageReading; readonly meanwhile?: Exchange }
  /** It connects to the second server: all that follows goes there. */
  | { readonly connect: "destination" }
  /** It writes the pieces of the image as it has read them. */
  | { readonly writeImage: { readonly id: number } };
