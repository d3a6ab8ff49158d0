import { execFileSync, spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { afterAll, beforeAll, expect, it } from "vitest";
import { codeBlocks, root } from "../docs/markdown.js";
import { describeWithQemu } from "./lab.js";
import { Qemu } from "./qemu.js";
import { Undo } from "./undo.js";

const MINUTES = 60_000;
const BUILT = "test-results/gpio-guest";

// What docs/writing-a-device.md has its reader type in a guest, typed in a guest.
describeWithQemu("the GPIO card of docs/writing-a-device.md", (lab) => {
  const undo = new Undo();
  let server: ChildProcess;
  let nextLine: () => Promise<string>;
  let qemu: Qemu;

  beforeAll(async () => {
    const scratch = lab.scratch();
    undo.add(() => scratch[Symbol.dispose]());
    const compiler = ["node_modules/typescript/bin/tsc", "-p", "examples/gpio", "--outDir", BUILT];
    execFileSync(process.execPath, compiler, { cwd: root, stdio: "inherit" });
    server = spawn(process.execPath, [`${BUILT}/serve.js`, scratch.outside("gpio")], {
      cwd: root,
      stdio: ["pipe", "pipe", "ignore"],
    });
    undo.add(async () => {
      const ended = once(server, "exit");
      server.kill("SIGTERM");
      expect(await ended).toEqual([0, null]);
    });
    const lines = createInterface(server.stdout!)[Symbol.asyncIterator]();
    nextLine = async () => (await lines.next()).value as string;
    expect(await nextLine()).toContain("Enter flips the wire of pin 4");

    const socket = { type: "unix", path: scratch.inside("gpio") };
    qemu = await Qemu.start(lab, { devices: [{ driver: "vfio-user-pci", id: "gpio", socket }] });
    undo.add(() => qemu.stop());
  }, 3 * MINUTES);
  afterAll(() => undo.run(), MINUTES);

  const script = codeBlocks("docs/writing-a-device.md").find(({ info }) => info === "guest")!.text;

  /** The last line: lspci warns that this small guest has no kernel modules. */
  const typed = async () => (await qemu.guest.ok(script)).split("\n").at(-1);

  it(
    "does what the page says",
    async () => {
      expect(await typed()).toBe("0x00000001");
      server.stdin!.write("\n");
      expect(await nextLine()).toBe("pins 10001");
      expect(await typed()).toBe("0x00000011");
    },
    MINUTES,
  );
});
