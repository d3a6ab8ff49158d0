import { describe, expect, it } from "vitest";
import { kernelResources, ownResources } from "../../linux/support.js";
import { Authority } from "./certificates.js";
import { FakeTarget, ID, insecure, pattern, Receiving, Wire } from "./support.js";

/** What Node and the kernel have open for this process. */
function held(): unknown {
  const kinds = process.getActiveResourcesInfo().filter((kind) => /TCP|TLS/.test(kind));
  return { kinds: kinds.sort(), fds: kernelResources().fds.length, own: ownResources() };
}

/** A closed socket goes when the other end has read what was sent, at the latest a second after that. */
async function settled(expected: unknown): Promise<void> {
  for (let turn = 0; turn < 1000 && JSON.stringify(held()) !== JSON.stringify(expected); turn++)
    await new Promise((resolve) => setTimeout(resolve, 5));
  expect(held()).toEqual(expected);
}

describe("nothing is left open", () => {
  it.each(["tls", "insecure-loopback"] as const)("after migrations of every kind: %s", async (kind) => {
    const authority = await Authority.create("ours");
    const security = kind === "tls" ? await authority.issue({ cn: "both" }) : insecure;
    const round = async () => {
      const receiving = await Receiving.start(
        { card: new FakeTarget(), other: new FakeTarget() },
        { security },
      );
      const wire = await Wire.to(receiving.port);
      const connect = (name: string) => receiving.connect({ security }, receiving.url(name, wire.port));
      const moved = await connect("card");
      await moved.begin();
      const written = moved.write(pattern(2_000_000));
      await expect(connect("card")).rejects.toThrow("EBUSY");
      await expect(connect("none")).rejects.toThrow("ENOENT");
      wire.cut();
      await written;
      await moved.prepare(ID);
      await moved.activate(ID);
      moved.close();
      const abandoned = await connect("other");
      await abandoned.begin();
      wire.refuses = true;
      wire.cut();
      await receiving.told("broken");
      abandoned.close();
      await wire[Symbol.asyncDispose]();
      await receiving.close();
    };
    const before = held();
    for (let count = 0; count < 3; count++) await round();
    await settled(before);
  });
});
