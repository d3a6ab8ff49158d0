import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { createInterface } from "node:readline";
import { beforeAll, describe, expect, it } from "vitest";
import { IrqIndex, RegionIndex } from "@vfiokit/core";
import { PciCommand, PciHeader } from "@vfiokit/core/pci";
import { VfioUserClient } from "@vfiokit/user";
import { codeBlocks, root } from "./markdown.js";

const PAGE = "docs/writing-a-device.md";
/** Not the example's own folder, which the test of the commands builds at the same time. */
const BUILT = "test-results/gpio";
/** For the compiler, on a machine that does other things too. */
const MINUTES = 120_000;

const blocks = codeBlocks(PAGE);

function run(...command: readonly [string, ...string[]]): string {
  const [program, ...args] = command;
  return execFileSync(program, args, { cwd: root, encoding: "utf8", stdio: ["ignore", "pipe", "inherit"] });
}

describe(PAGE, () => {
  beforeAll(() => {
    // Against the packages as they are built, and with no more than a reader's own settings.
    run(process.execPath, "node_modules/typescript/bin/tsc", "-p", "examples/gpio", "--outDir", BUILT);
  }, MINUTES);

  // The others are compiled with all snippets.
  const files = blocks.filter(({ language, info }) => language === "ts" && info !== "");

  it("shows the three files of the example", () => {
    expect(files.map(({ info }) => info)).toEqual([
      "examples/gpio/gpio.ts",
      "examples/gpio/try.ts",
      "examples/gpio/serve.ts",
    ]);
  });

  it.each(files)("$info is what the page shows", ({ info, text }) => {
    expect(readFileSync(`${root}/${info}`, "utf8")).toBe(text);
  });

  it("builds a device of about 60 lines", () => {
    const code = files[0]!.text.split("\n").filter((line) => !/^\s*(\/\/.*|\/\*\*.*\*\/)?$/.test(line));
    expect(code.length).toBeLessThan(66);
  });

  it("prints what running it prints", () => {
    const shown = blocks.find(({ language }) => language === "text")!;
    expect(run(process.execPath, `${BUILT}/try.js`)).toBe(shown.text);
  });

  it("serves the card to a client: registers, the interrupt of a flipped wire, the end on SIGTERM", async () => {
    const folder = mkdtempSync(`${tmpdir()}/gpio-`);
    const server = spawn(process.execPath, [`${BUILT}/serve.js`, `${folder}/gpio.sock`], {
      cwd: root,
      stdio: ["pipe", "pipe", "inherit"],
    });
    try {
      const exited = once(server, "exit");
      const lines = createInterface(server.stdout)[Symbol.asyncIterator]();
      const nextLine = async () => (await lines.next()).value as string;
      expect(await nextLine()).toBe(`gpio card at ${folder}/gpio.sock; Enter flips the wire of pin 4`);

      using client = await VfioUserClient.connect(`${folder}/gpio.sock`);
      const word = new Uint32Array(1);
      const bytes = new Uint8Array(word.buffer);
      const read = async (offset: number) => {
        await client.regionRead(RegionIndex.BAR0, offset, bytes);
        return word[0];
      };
      const write = async (region: number, offset: number, value: number) => {
        word[0] = value;
        await client.regionWrite(region, offset, bytes);
      };
      await write(RegionIndex.CONFIG, PciHeader.COMMAND, PciCommand.MEMORY);
      await write(RegionIndex.BAR0, 0x00, 1);
      await write(RegionIndex.BAR0, 0x04, 1);
      await write(RegionIndex.BAR0, 0x0c, 1 << 4);
      expect(await read(0x08)).toBe(1);

      const intx = client.irq(IrqIndex.INTX);
      await intx.enable(1);
      const interrupt = intx.next();
      server.stdin.write("\n");
      expect(await nextLine()).toBe("pins 10001");
      await interrupt;
      expect(await read(0x10)).toBe(1 << 4);

      await client.reset();
      await write(RegionIndex.CONFIG, PciHeader.COMMAND, PciCommand.MEMORY);
      expect(await read(0x10)).toBe(0);

      server.kill("SIGTERM");
      expect(await exited).toEqual([0, null]);
    } finally {
      server.kill("SIGKILL");
      rmSync(folder, { recursive: true });
    }
  });
});
