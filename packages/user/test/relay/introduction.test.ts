/** A server that is told of what the client has set up, while the client goes on. */

import { expect, it, onTestFinished } from "vitest";
import { createMemfd } from "@vfiokit/user/linux";
import { ClientSetup } from "../../src/relay/client-setup.js";
import { Introduction } from "../../src/relay/introduction.js";
import type { ServerLink } from "../../src/relay/server-link.js";

const PAGE = 4096n;
const map = (address: bigint) => ({ argsz: 32, flags: 3, offset: 0n, address, size: PAGE });
const unmap = (address: bigint) => ({ argsz: 24, flags: 0, address, size: PAGE });

/** Answers at once, or when `hold` has ended; looks at the descriptors, as whoever sends them does. */
function slowLink() {
  const asked: string[] = [];
  let held = Promise.resolve();
  const call = (command: string, request: { address: bigint }, fds: readonly { number: number }[] = []) => {
    asked.push(`${command} ${request.address} ${fds.filter(({ number }) => number >= 0).length}`);
    return held;
  };
  const hold = (): (() => void) => {
    let release!: () => void;
    held = new Promise((resolve) => (release = resolve));
    return release;
  };
  return { link: { call } as unknown as ServerLink, asked, hold };
}

it.each([
  ["goes", (setup: ClientSetup) => setup.close()],
  ["unmaps", (setup: ClientSetup) => setup.removeMaps(unmap(2n * PAGE))],
])(
  "a client that %s while a new server is told of its maps: no closed descriptor is sent",
  async (_what, change) => {
    const setup = new ClientSetup();
    onTestFinished(() => setup.close());
    const { link, asked, hold } = slowLink();
    const introduction = new Introduction(setup, link);
    setup.addMap(map(PAGE), createMemfd("first", 4096));
    await introduction.maps();
    setup.removeMaps(unmap(PAGE));
    setup.addMap(map(2n * PAGE), createMemfd("second", 4096));
    const release = hold();
    const told = introduction.maps();
    // The server has not yet answered that the first map is gone.
    change(setup);
    release();
    await told;
    expect(asked).toEqual([`DMA_MAP ${PAGE} 1`, `DMA_UNMAP ${PAGE} 0`]);
  },
);
