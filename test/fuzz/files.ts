import { ftruncateSync, openSync } from "node:fs";
import { createEventFd, createMemfd, Fd, socketPair } from "@vfiokit/user/linux";
import { FILE_PAGES } from "./grammar.js";
import type { FdKind } from "./session.js";

const BYTES = 4096 * FILE_PAGES;

/** One file of each kind, which every message that needs one gets. */
export class Files implements Disposable {
  readonly #fds: Record<FdKind, Fd>;
  readonly #more: Fd[];

  constructor() {
    const memfd = createMemfd("fuzz", BYTES);
    const [socket, other] = socketPair();
    this.#more = [other];
    this.#fds = {
      memfd,
      "memfd that can shrink": createMemfd("fuzz-unsealed", BYTES, 0),
      "memfd to read": new Fd(openSync(`/proc/self/fd/${memfd.number}`, "r")),
      eventfd: createEventFd(),
      "file of /proc": new Fd(openSync("/proc/self/mounts", "r")),
      socket,
      folder: new Fd(openSync("/", "r")),
      "/dev/null": new Fd(openSync("/dev/null", "r+")),
    };
  }

  numbers(kinds: readonly FdKind[]): number[] {
    return kinds.map((kind) => this.#fds[kind].number);
  }

  shrink(): void {
    ftruncateSync(this.#fds["memfd that can shrink"].number, 0);
  }

  grow(): void {
    ftruncateSync(this.#fds["memfd that can shrink"].number, BYTES);
  }

  [Symbol.dispose](): void {
    for (const fd of [...Object.values(this.#fds), ...this.#more]) fd.close();
  }
}
