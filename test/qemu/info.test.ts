import { afterAll, beforeAll, expect, it } from "vitest";
import { VfioUserCard, vfiokit } from "./cards.js";
import { describeWithQemu } from "./lab.js";
import { flagsOf, parseLspci, type LspciFunction } from "./lspci.js";
import { Qemu } from "./qemu.js";
import { plugged, slot } from "./tty.js";
import { Undo } from "./undo.js";

const MINUTES = 60_000;
const ROOT_PORT = { id: "port0", addr: "0x10" };
const PLACE = slot(ROOT_PORT);

/** What the guest's bus code and driver did to the function since `info` looked at it: decode I/O, report errors. */
const SET_BY_GUEST = { "I/O": true, SERR: true };
/** What lspci knows from the guest and not from the function. */
const ABOUT_GUEST = ["Physical Slot", "Kernel driver in use"];

type Field = string | number | boolean;

/** The parts of `vfiokit info --json` that lspci can be asked about. */
interface Report {
  readonly config: {
    readonly vendor: number;
    readonly device: number;
    readonly subsystemVendor: number;
    readonly subsystem: number;
    readonly class: number;
    readonly progIf: number;
    readonly revision: number;
    readonly interruptPin: number;
    readonly control: Register;
    readonly status: Register;
    readonly bars: readonly { readonly index: number; readonly space: string; readonly size: number }[];
    readonly capabilities: readonly Capability[];
    readonly problems: readonly string[];
  };
}

interface Register {
  readonly name: string;
  readonly fields: Readonly<Record<string, Field>>;
}

interface Capability {
  readonly offset: number;
  readonly name: string;
  readonly fields: Readonly<Record<string, Field>>;
  readonly registers: readonly Register[];
}

describeWithQemu("vfiokit info against the guest's lspci -vv", (lab) => {
  const undo = new Undo();
  let report: Report["config"];
  let infoText: string;
  let lspciText: string;
  let lspci: LspciFunction;
  /** `lspci -vmm`: the identity as label and number. */
  let identity: Map<string, number>;

  beforeAll(async () => {
    const scratch = lab.scratch();
    undo.add(() => scratch[Symbol.dispose]());
    const card = await VfioUserCard.start(scratch, "card");
    undo.add(() => card.stop());
    report = (JSON.parse(await info("--json", card.socketPath)) as Report).config;
    infoText = await info(card.socketPath);

    const qemu = await Qemu.start(lab, { rootPorts: [ROOT_PORT], devices: [plugged(card, PLACE)] });
    undo.add(() => qemu.stop());
    // lspci complains about module files that this guest does not have.
    const run = (options: string): Promise<string> =>
      qemu.guest.ok(`lspci ${options} -s $(basename ${PLACE.sysfs}) 2>/dev/null`);
    lspciText = await run("-vv");
    lspci = parseLspci(lspciText);
    const lines = (await run("-n -vmm")).split("\n");
    identity = new Map(lines.map((line) => [line.split(":\t")[0]!, parseInt(line.split(":\t")[1]!, 16)]));
  }, 3 * MINUTES);
  afterAll(() => undo.run(), MINUTES);

  it("agrees on who the function is", () => {
    expect(identity.get("Vendor")).toBe(report.vendor);
    expect(identity.get("Device")).toBe(report.device);
    expect(identity.get("SVendor")).toBe(report.subsystemVendor);
    expect(identity.get("SDevice")).toBe(report.subsystem);
    expect(identity.get("Class")).toBe(report.class);
    expect(identity.get("ProgIf")).toBe(report.progIf);
    expect(identity.get("Rev") ?? 0).toBe(report.revision);
    expect(report.problems).toEqual([]);
  });

  it("agrees on command and status, but for what the guest set", () => {
    expect(flagsOf(lspci.header.get("Control")!)).toEqual({
      ...flagsOfFields(report.control),
      ...SET_BY_GUEST,
    });
    expectRegister(lspci.header.get("Status")!, report.status);
  });

  it("agrees on the interrupt pin and on every BAR", () => {
    expect(lspci.header.get("Interrupt")).toMatch(`pin ${" ABCD"[report.interruptPin]!} routed`);
    const regions = [...lspci.header.keys()].filter((label) => label.startsWith("Region "));
    expect(regions).toEqual(report.bars.map((bar) => `Region ${bar.index}`));
    for (const bar of report.bars) {
      const kind = bar.space === "io" ? "I/O ports at" : "Memory at";
      expect(lspci.header.get(`Region ${bar.index}`)).toMatch(kind);
      expect(lspci.header.get(`Region ${bar.index}`)).toMatch(`[size=${bar.size}]`);
    }
  });

  it("agrees on the capabilities, register by register and field by field", () => {
    expect(lspci.capabilities.map(({ offset }) => offset)).toEqual(
      report.capabilities.map(({ offset }) => offset),
    );
    for (const [index, capability] of report.capabilities.entries()) {
      const printed = lspci.capabilities[index]!;
      expect(printed.title).toContain(capability.name);
      for (const value of Object.values(capability.fields)) expect(printed.title).toContain(`${value}`);
      expect([...printed.registers.keys()]).toEqual(capability.registers.map(({ name }) => name));
      for (const register of capability.registers) {
        expectRegister(printed.registers.get(register.name)!, register);
      }
    }
  });

  it("prints the same lines, but for what the guest set", () => {
    const ours = infoText
      .slice(infoText.indexOf("\tSubsystem"), infoText.indexOf("\nRegions"))
      .replace("Subsystem: ", "Subsystem: Device ")
      .replace("I/O-", "I/O+")
      .replace("SERR-", "SERR+");
    const theirs = lspciText
      .slice(lspciText.indexOf("\tSubsystem"))
      .split("\n")
      .filter((line) => !ABOUT_GUEST.some((label) => line.startsWith(`\t${label}:`)))
      .join("\n")
      // Where the guest put things.
      .replace(/routed to IRQ \d+/, "routed to IRQ 0")
      .replace(/at [0-9a-f]{4} \[size/, "at <unassigned> [disabled] [size");
    expect(ours.trimEnd()).toBe(theirs.trimEnd());
  });
});

async function info(...args: string[]): Promise<string> {
  const command = vfiokit("info", ...args);
  const end = await command.ended;
  if (end !== 0) throw new Error(`vfiokit info ended with ${end}:\n${command.output}`);
  return command.output;
}

/** The bits among a register's fields, those that a text holds included. */
function flagsOfFields(register: Register): Record<string, boolean> {
  const flags: Record<string, boolean> = {};
  for (const [name, value] of Object.entries(register.fields)) {
    if (typeof value === "boolean") flags[name] = value;
    else Object.assign(flags, flagsOf(`${value}`));
  }
  return flags;
}

/** Every bit that lspci prints is among the fields and the other way round; every other field is printed. */
function expectRegister(printed: string, register: Register): void {
  expect(flagsOf(printed), register.name).toEqual(flagsOfFields(register));
  for (const [name, value] of Object.entries(register.fields)) {
    if (typeof value === "boolean" || Object.keys(flagsOf(`${value}`)).length > 0) continue;
    // "MaxPayload 128 bytes", "DEVSEL=fast", "Width x1", "Target Link Speed: 2.5GT/s"; "D0" stands alone.
    const before = name === "State" ? "^" : `${literal(name)}[^,]{0,20}?[ =:#x]`;
    expect(printed, register.name).toMatch(new RegExp(`${before}${literal(`${value}`)}`));
  }
}

function literal(text: string): string {
  return text.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");
}
