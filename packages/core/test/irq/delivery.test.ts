import { IrqIndex } from "@vfiokit/core";
import { IrqController } from "@vfiokit/core/host";
import { Task } from "@vfiokit/lockdep";
import { beforeEach, describe, expect, it } from "vitest";
import { CountingTrigger } from "./trigger.js";

const { INTX, MSI, MSIX } = IrqIndex;
const task = new Task("client");

let irqs: IrqController;
/** What the registers were told, in order. */
let registers: string[];
let trigger: CountingTrigger;

beforeEach(() => {
  registers = [];
  trigger = new CountingTrigger();
  irqs = new IrqController(
    { intx: 1, msi: 32, msix: 9, err: 1, req: 1 },
    {
      intxStatus: (asserted) => registers.push(`intx ${asserted}`),
      msiPending: (vector, pending) => registers.push(`msi ${vector} ${pending}`),
      msixPending: (vector, pending) => registers.push(`msix ${vector} ${pending}`),
    },
  );
});

function assign(index: number, vector = 0): void {
  void irqs.set(task, { index, start: vector, count: 1, action: "trigger", data: { triggers: [trigger] } });
}
function mask(index: number, vector = 0): void {
  void irqs.set(task, { index, start: vector, count: 1, action: "mask", data: "none" });
}
function unmask(index: number, vector = 0): void {
  void irqs.set(task, { index, start: vector, count: 1, action: "unmask", data: "none" });
}
function disable(index: number): void {
  void irqs.set(task, { index, start: 0, count: 0, action: "trigger", data: "none" });
}

describe("INTx is a level", () => {
  it("one assertion is one signal, until the client unmasks", () => {
    assign(INTX);
    irqs.intx.raise();
    irqs.intx.raise();
    irqs.intx.lower();
    irqs.intx.raise();
    expect(trigger.signals).toBe(1);
  });

  it("unmasking signals again while it is asserted, and not when it was served", () => {
    assign(INTX);
    irqs.intx.raise();
    unmask(INTX);
    expect(trigger.signals).toBe(2);
    irqs.intx.lower();
    unmask(INTX);
    expect(trigger.signals).toBe(2);
    irqs.intx.raise();
    expect(trigger.signals).toBe(3);
  });

  it("a line that goes up, down and up while masked is one signal on unmask", () => {
    assign(INTX);
    mask(INTX);
    irqs.intx.raise();
    irqs.intx.lower();
    irqs.intx.raise();
    expect(trigger.signals).toBe(0);
    unmask(INTX);
    expect(trigger.signals).toBe(1);
  });

  it("one that goes down while masked is none", () => {
    assign(INTX);
    mask(INTX);
    irqs.intx.raise();
    irqs.intx.lower();
    unmask(INTX);
    expect(trigger.signals).toBe(0);
  });

  it("a trigger that comes late is signalled for a line that is up", () => {
    irqs.intx.raise();
    assign(INTX);
    expect(trigger.signals).toBe(1);
  });

  it("Interrupt Disable holds it back, but not the status bit", () => {
    assign(INTX);
    irqs.setIntxDisabled(true);
    irqs.intx.raise();
    expect([trigger.signals, registers]).toEqual([0, ["intx true"]]);
    irqs.setIntxDisabled(false);
    expect(trigger.signals).toBe(1);
    irqs.setIntxDisabled(true);
    irqs.setIntxDisabled(false); // still masked: the client has not said that it was served
    expect(trigger.signals).toBe(1);
  });

  it("Interrupt Disable holds a loopback test back; the client's mask does not", () => {
    assign(INTX);
    const fire = () => irqs.set(task, { index: INTX, start: 0, count: 1, action: "trigger", data: "none" });
    mask(INTX);
    void fire();
    expect(trigger.signals).toBe(1);
    irqs.setIntxDisabled(true);
    void fire();
    expect(trigger.signals).toBe(1);
  });

  it("set raises and lowers, and the status bit follows each change once", () => {
    irqs.intx.set(true);
    irqs.intx.set(true);
    irqs.intx.set(false);
    irqs.intx.lower();
    expect(registers).toEqual(["intx true", "intx false"]);
  });

  it("disabling the index forgets the mask: a new client's line starts unmasked", () => {
    assign(INTX);
    irqs.intx.raise();
    disable(INTX);
    trigger = new CountingTrigger();
    assign(INTX);
    expect(trigger.signals).toBe(1);
  });
});

describe.each([
  ["MSI", MSI, "msi"],
  ["MSI-X", MSIX, "msix"],
] as const)("%s: each raise is an edge", (_name, index, key) => {
  const lines = () => irqs[key];

  it("to its own vector's trigger", () => {
    assign(index, 3);
    lines().raise(3);
    lines().raise(3);
    lines().raise(2);
    expect(trigger.signals).toBe(2);
  });

  it("that stays pending while masked, once however many there were", () => {
    assign(index, 3);
    mask(index, 3);
    lines().raise(3);
    lines().raise(3);
    expect([trigger.signals, lines().isPending(3)]).toEqual([0, true]);
    unmask(index, 3);
    unmask(index, 3);
    expect([trigger.signals, lines().isPending(3)]).toEqual([1, false]);
    expect(registers).toEqual([`${key} 3 true`, `${key} 3 false`]);
  });

  it("that stays pending while there is no trigger", () => {
    lines().raise(3);
    assign(index, 3);
    expect(trigger.signals).toBe(1);
  });

  it("that goes out when the last of the masks is gone", () => {
    assign(index, 3);
    mask(index, 3);
    lines().setMasked(3, true);
    lines().raise(3);
    unmask(index, 3);
    expect(trigger.signals).toBe(0);
    lines().setMasked(3, false);
    expect(trigger.signals).toBe(1);
  });

  it("that a client which disables the index no longer waits for", () => {
    assign(index, 3);
    mask(index, 3);
    lines().raise(3);
    disable(index);
    expect(lines().isPending(3)).toBe(false);
    trigger = new CountingTrigger();
    assign(index, 3);
    lines().raise(3); // and its mask is forgotten
    expect(trigger.signals).toBe(1);
  });

  it("that the next client gets, if one disconnects", () => {
    assign(index, 3);
    mask(index, 3);
    lines().raise(3);
    void irqs.disconnect(task);
    trigger = new CountingTrigger();
    assign(index, 3);
    expect(trigger.signals).toBe(1);
  });

  it("from a vector that the device has", () => {
    expect(() => lines().raise(lines().count)).toThrow(/EINVAL: MSI.* vector \d+: the device has/);
    expect(() => lines().raise(-1)).toThrow("EINVAL");
    expect(() => lines().raise(NaN)).toThrow("EINVAL");
  });

  it("the index is enabled from the first SET_IRQS with eventfds to the disabling one", () => {
    expect(lines().enabled).toBe(false);
    void irqs.set(task, { index, start: 0, count: 1, action: "trigger", data: { triggers: [null] } }); // QEMU: none yet
    expect(lines().enabled).toBe(true);
    disable(index);
    expect(lines().enabled).toBe(false);
    assign(index);
    void irqs.disconnect(task);
    expect(lines().enabled).toBe(false);
  });
});

describe("the guest's masks", () => {
  it("MSI Mask Bits mask their vectors, vector 31 too", () => {
    const triggers = [new CountingTrigger(), new CountingTrigger()];
    [0, 31].forEach((vector, i) => {
      trigger = triggers[i]!;
      assign(MSI, vector);
    });
    irqs.setMsiMask(0x8000_0000);
    irqs.msi.raise(0);
    irqs.msi.raise(31);
    expect(triggers.map((t) => t.signals)).toEqual([1, 0]);
    irqs.setMsiMask(0x0000_0001);
    expect(triggers.map((t) => t.signals)).toEqual([1, 1]);
    irqs.msi.raise(0);
    expect(triggers.map((t) => t.signals)).toEqual([1, 1]);
  });

  it("MSI-X Function Mask masks all (libvfio-user issue 807)", () => {
    const triggers = Array.from({ length: 9 }, () => new CountingTrigger());
    triggers.forEach((t, vector) => {
      trigger = t;
      assign(MSIX, vector);
    });
    irqs.setFunctionMasked(true);
    for (const vector of [0, 8, 8]) irqs.msix.raise(vector);
    expect(triggers.every((t) => t.signals === 0)).toBe(true);
    mask(MSIX, 8);
    irqs.setFunctionMasked(false);
    expect(triggers.map((t) => t.signals)).toEqual([1, 0, 0, 0, 0, 0, 0, 0, 0]);
    unmask(MSIX, 8);
    expect(triggers[8]!.signals).toBe(1);
  });

  it("the MSI-X table's power-on value masks nothing: a client that virtualises the table never writes it", () => {
    assign(MSIX, 2);
    irqs.msix.raise(2);
    expect(trigger.signals).toBe(1);
  });
});

describe("reset", () => {
  it("drops levels and pending edges, and the guest's masks", () => {
    irqs.setIntxDisabled(true);
    irqs.intx.raise();
    irqs.setFunctionMasked(true);
    irqs.msix.raise(1);
    irqs.setMsiMask(1);
    irqs.msi.raise(0);
    registers.length = 0;
    irqs.deviceReset();
    expect(registers.sort()).toEqual(["intx false", "msi 0 false", "msix 1 false"]);
    const triggers = [INTX, MSI, MSIX].map((index) => {
      trigger = new CountingTrigger();
      assign(index);
      return trigger;
    });
    expect(triggers.map((t) => t.signals)).toEqual([0, 0, 0]);
    irqs.intx.raise();
    irqs.msi.raise(0);
    irqs.msix.raise(0);
    expect(triggers.map((t) => t.signals)).toEqual([1, 1, 1]);
  });

  it("keeps what is the client's: triggers and masks", () => {
    assign(MSIX, 2);
    mask(MSIX, 2);
    irqs.deviceReset();
    irqs.msix.raise(2);
    expect([trigger.closed, trigger.signals]).toEqual([0, 0]);
    unmask(MSIX, 2);
    expect(trigger.signals).toBe(1);
  });
});

describe("a held device", () => {
  it("interrupts nobody, and nothing is lost", () => {
    const triggers = [INTX, MSI, MSIX].map((index) => {
      trigger = new CountingTrigger();
      assign(index);
      return trigger;
    });
    irqs.hold();
    irqs.intx.raise();
    irqs.msi.raise(0);
    irqs.msix.raise(0);
    irqs.msix.raise(0);
    expect(triggers.map((t) => t.signals)).toEqual([0, 0, 0]);
    irqs.release();
    expect(triggers.map((t) => t.signals)).toEqual([1, 1, 1]);
  });
});

describe("migration", () => {
  it("levels and pending edges arrive, once, where the client sets its triggers up", () => {
    irqs.hold();
    irqs.intx.raise();
    irqs.msi.raise(31);
    irqs.msix.raise(0);
    irqs.msix.raise(8);
    const snapshot = irqs.snapshot();
    expect([...snapshot.msixPending]).toEqual([0x01, 0x01]);

    const destination = new IrqController({ intx: 1, msi: 32, msix: 9, err: 1, req: 1 });
    destination.hold();
    destination.msix.raise(4); // of its own past: replaced
    const triggers = [
      [INTX, 0],
      [MSI, 31],
      [MSIX, 0],
      [MSIX, 4],
      [MSIX, 8],
    ].map(([index, start]) => {
      const own = new CountingTrigger();
      void destination.set(task, {
        index: index!,
        start: start!,
        count: 1,
        action: "trigger",
        data: { triggers: [own] },
      });
      return own;
    });
    destination.load(snapshot);
    expect(triggers.map((t) => t.signals)).toEqual([0, 0, 0, 0, 0]);
    destination.release();
    expect(triggers.map((t) => t.signals)).toEqual([1, 1, 1, 0, 1]);
  });

  it("a snapshot of other vector counts is refused, and changes nothing", () => {
    irqs.msix.raise(1);
    const other = new IrqController({ intx: 1, msi: 32, msix: 17, err: 1, req: 1 });
    other.msi.raise(5);
    other.intx.raise();
    expect(() => irqs.load(other.snapshot())).toThrow("MSI-X pending bits of 3 bytes: 9 vectors need 2");
    expect(irqs.snapshot()).toEqual({
      intxAsserted: false,
      msiPending: new Uint8Array(4),
      msixPending: Uint8Array.of(2, 0),
      msixMasked: Uint8Array.of(0, 0),
    });
  });

  it("a vector that the guest masked in the table stays masked, and what it has pending stays pending", () => {
    irqs.msix.setMasked(3, true);
    irqs.msix.raise(3);
    const destination = new IrqController({ intx: 1, msi: 32, msix: 9, err: 1, req: 1 });
    const own = new CountingTrigger();
    const data = { triggers: [own] };
    void destination.set(task, { index: MSIX, start: 3, count: 1, action: "trigger", data });
    destination.load(irqs.snapshot());
    expect([own.signals, destination.msix.isPending(3)]).toEqual([0, true]);
    destination.msix.setMasked(3, false);
    expect([own.signals, destination.msix.isPending(3)]).toEqual([1, false]);
  });
});
