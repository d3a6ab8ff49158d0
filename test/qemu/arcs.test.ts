import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { VfioUserClient } from "@vfiokit/user";
import { expect, it } from "vitest";
import { arcMatrix } from "./arcs.js";
import { vfiokit } from "./cards.js";
import { mttyMatrix, withoutP2p } from "./mtty-facts.js";

it("our core's serial card answers every arc and every reset as Linux's mtty, without its P2P states", async () => {
  const folder = mkdtempSync(join(tmpdir(), "vfiokit-arcs-"));
  const socket = join(folder, "serial");
  const server = vfiokit("serve", "serial", "--chardev", "null", "--socket-path", socket);
  try {
    await server.printed(/-device/);
    using client = await VfioUserClient.connect(socket);
    expect(await arcMatrix(client)).toEqual(withoutP2p(mttyMatrix()));
  } finally {
    await server.kill("SIGTERM");
    rmSync(folder, { recursive: true });
  }
});
