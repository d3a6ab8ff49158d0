import { randomBytes } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { constants, tmpdir } from "node:os";
import { join } from "node:path";
import { Command } from "commander";
import { RegionIndex } from "@vfiokit/core";
import { PciExp, formatDescription, type ConfigDescription } from "@vfiokit/core/pci";
import { uartRegisters as reg } from "@vfiokit/devices";
import { ReplyError as ServerError, VfioUserClient } from "@vfiokit/user";
import { inspect } from "../info/inspect.js";
import { qemuDevice, qemuMemory, shellLine } from "../shared/attach.js";
import { endSignal } from "../shared/signals.js";
import { CardProcess, FarEnd } from "./cards.js";
import { Guest } from "./guest.js";
import { laboratory } from "./laboratory.js";
import { Narrator, timed } from "./narrator.js";
import { duration } from "../shared/units.js";

const READS = 1000;
const BULK = 2048;
const INITIATE_FLR = 0x8000;

/** `vfiokit demo`: the serial card, with processes, sockets and eventfds as in earnest, and the laboratory. */
export function demoCommand(): Command {
  return new Command("demo").action(() => {
    void endSignal().then((signal) => process.exit(128 + constants.signals[signal]));
    return demo();
  });
}

async function demo(): Promise<void> {
  const directory = mkdtempSync(join(tmpdir(), "vfiokit-demo-"));
  process.once("exit", () => rmSync(directory, { recursive: true, force: true }));
  const tell = new Narrator();
  const start = performance.now();

  await cards(tell, directory);

  tell.line(`\n${tell.style.bold("Try it in a virtual machine")} (QEMU 10.1 or newer)`);
  tell.note(tell.style.cyan("npx vfiokit serve serial --socket-path /tmp/card.sock"));
  tell.note(tell.style.cyan(`qemu-system-x86_64 … ${shellLine(qemuMemory)} \\`));
  tell.note(`  ${tell.style.cyan(shellLine(qemuDevice("/tmp/card.sock")))}`);
  tell.note("The guest has one more serial port then; its other end is the terminal that serve names.");

  await laboratory(tell);
  tell.dim(`This took ${((performance.now() - start) / 1000).toFixed(1)} s.`);
}

/** The card as a guest uses it, and as it moves from one process to another. */
async function cards(tell: Narrator, directory: string): Promise<void> {
  await tell.chapter("Two serial cards, each in a process of its own (vfiokit serve serial)");
  const starting = [CardProcess.start("a", directory), CardProcess.start("b", directory)] as const;
  await using cardA = await starting[0];
  await using cardB = await starting[1];
  for (const card of [cardA, cardB]) tell.note(`process ${card.pid} at ${card.socket}`);

  await tell.chapter("What a virtual machine finds (vfiokit info)");
  const { config } = await inspect(cardA.socket);
  for (const line of highlights(config!)) tell.dim(line);

  using clientA = await VfioUserClient.connect(cardA.socket);
  using lineA = await FarEnd.connect(cardA.line);
  const guestA = new Guest(clientA);
  await guestA.openTty();
  await text(tell, guestA, lineA);
  await interrupts(tell, guestA, lineA);
  await resets(tell, clientA, guestA);

  using clientB = await VfioUserClient.connect(cardB.socket);
  using lineB = await FarEnd.connect(cardB.line);
  await guestA.openTty();
  await migration(tell, [clientA, guestA, lineA], [clientB, new Guest(clientB), lineB]);
  await resetInMigration(tell, clientB);
}

/** The first line of everything that `vfiokit info` prints of the function. */
function highlights(config: ConfigDescription): string[] {
  return formatDescription(config)
    .filter((line) => /^\S|Region|Capabilities|Interrupt/.test(line))
    .map((line) => line.replace("\t", "  "));
}

async function text(tell: Narrator, guest: Guest, line: FarEnd): Promise<void> {
  await tell.chapter("Text, both ways");
  const out = "Hello from a guest that is not there.";
  await guest.send(Buffer.from(out));
  const seen = (await line.read(out.length)).toString();
  tell.check(seen === out, `the far end reads   "${seen}"`);

  const back = "Hello from the far end.";
  line.type(back);
  const received = Buffer.from(await guest.receive(back.length)).toString();
  tell.check(received === back, `the guest reads     "${received}"`);

  const times: number[] = [];
  for (let i = 0; i < READS; i++) times.push(await timed(() => guest.read(reg.LSR)));
  const median = times.sort((a, b) => a - b)[READS / 2]!;
  tell.note(`a register read takes ${duration(median)} (median of ${READS}), to the other process and back`);

  const bulk = randomBytes(BULK);
  let arrived: Buffer = Buffer.alloc(0);
  const down = await timed(async () => {
    [arrived] = await Promise.all([line.read(BULK), guest.send(bulk)]);
  });
  tell.check(arrived.equals(bulk), `${BULK} random bytes out, unchanged, ${rate(down)}`);
  let returned: Buffer = Buffer.alloc(0);
  const up = await timed(async () => {
    line.type(bulk);
    returned = Buffer.from(await guest.receive(BULK));
  });
  tell.check(
    returned.equals(bulk),
    `and the same back in, ${rate(up)}; ${guest.accesses} register accesses so far`,
  );
}

function rate(milliseconds: number): string {
  return `${Math.round(BULK / milliseconds)} kB/s`;
}

async function interrupts(tell: Narrator, guest: Guest, line: FarEnd): Promise<void> {
  await tell.chapter("An interrupt");
  let identity: number = reg.IIR_NONE;
  const latency = await timed(async () => {
    line.type("!");
    // As in any driver: an interrupt that was signalled before its cause was served finds nothing to do.
    while (identity === reg.IIR_NONE) {
      await guest.nextInterrupt();
      identity = (await guest.read(reg.IIR)) & 0x0f;
    }
  });
  tell.note(
    `a key is pressed at the far end: INTx by eventfd, and the driver knows why ${duration(latency)} later`,
  );
  tell.check(
    identity === reg.IIR_TIME_OUT,
    `IIR says 0x${identity.toString(16)}, character time-out: one byte is less than the FIFO's trigger level`,
  );
  await guest.receive(1);
  tell.check(((await guest.read(reg.IIR)) & 0x0f) === reg.IIR_NONE, `reading it ended the interrupt`);
}

async function resets(tell: Narrator, client: VfioUserClient, guest: Guest): Promise<void> {
  await tell.chapter("Two ways to reset it");
  await guest.write(reg.SCR, 0x5a);
  const message = await timed(() => client.reset());
  tell.check(
    (await guest.read(reg.SCR)) === 0 && (await guest.read(reg.LCR)) === 0,
    `DEVICE_RESET took ${duration(message)}; every register is at its power-on value`,
  );
  await guest.write(reg.SCR, 0xa5);
  const flr = await timed(() => functionLevelReset(client));
  tell.check(
    (await guest.read(reg.SCR)) === 0,
    `function-level reset by the guest's own write took ${duration(flr)}`,
  );
}

/** Sets Initiate Function Level Reset in the Device Control register, wherever the capability is. */
async function functionLevelReset(client: VfioUserClient): Promise<void> {
  const { CONFIG } = RegionIndex;
  const space = new Uint8Array(256);
  await client.regionRead(CONFIG, 0, space);
  let capability = space[0x34]!;
  while (space[capability] !== 0x10) capability = space[capability + 1]!;
  const at = capability + PciExp.DEVCTL;
  const control = space[at]! | (space[at + 1]! << 8) | INITIATE_FLR;
  await client.regionWrite(CONFIG, at, Uint8Array.of(control & 0xff, control >> 8));
}

type Side = readonly [VfioUserClient, Guest, FarEnd];

async function migration(
  tell: Narrator,
  [from, guestA, lineA]: Side,
  [to, guestB, lineB]: Side,
): Promise<void> {
  await tell.chapter("Migration, with both FIFOs half full");
  lineA.type("typed ahead");
  await guestA.nextInterrupt();
  await from.migration.setState("STOP");
  await Promise.all(Array.from(Buffer.from("still to go"), (byte) => guestA.write(reg.THR, byte)));
  tell.note(`card a is stopped with 11 bytes that were not read and 11 that were not sent`);

  let size = 0;
  const took = await timed(async () => {
    await from.migration.setState("STOP_COPY");
    await to.migration.setState("RESUMING");
    for await (const chunk of from.migration.stream()) {
      size += chunk.length;
      await to.migration.write(chunk);
    }
    await to.migration.setState("RUNNING");
  });
  tell.note(`${size} bytes of state went from process to process in ${duration(took)}`);
  const sent = (await lineB.read(11)).toString();
  tell.check(sent === "still to go", `card b sends        "${sent}"`);
  const read = Buffer.from(await guestB.receive(11)).toString();
  tell.check(read === "typed ahead", `and its guest reads "${read}"`);
}

/** The point at which other implementations refuse, or deadlock. */
async function resetInMigration(tell: Narrator, client: VfioUserClient): Promise<void> {
  await tell.chapter("A reset in the middle of a migration");
  await client.migration.setState("STOP_COPY");
  const first = await client.migration.read(64);
  await client.reset();
  const state = await client.migration.state();
  tell.check(
    state === "RUNNING",
    `DEVICE_RESET in STOP_COPY, ${first.length} bytes into the image: the device is ${state}`,
  );
  const error: unknown = await client.migration.read(64).then(
    () => undefined,
    (refused: unknown) => refused,
  );
  tell.check(
    error instanceof ServerError && error.code === "ENODEV",
    `the old image cannot be read on: ${error instanceof ServerError ? error.code : "it can"}`,
  );
}
