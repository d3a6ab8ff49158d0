import { IrqIndex, VfioError } from "@vfiokit/core";
import { IrqController, IrqFlags, type IrqAction, type IrqData, type SetIrqs } from "@vfiokit/core/host";
import { Task } from "@vfiokit/lockdep";
import { beforeEach, describe, expect, it } from "vitest";
import { CountingTrigger } from "./trigger.js";

const { INTX, MSI, MSIX, ERR, REQ } = IrqIndex;
const task = new Task("client");

let irqs: IrqController;

beforeEach(() => {
  irqs = new IrqController({ intx: 1, msi: 4, msix: 8, err: 1, req: 1 });
});

function set(index: number, action: IrqAction, data: IrqData, start = 0, count?: number): void {
  const entries = data === "none" ? 1 : "bools" in data ? data.bools.length : data.triggers.length;
  expect(irqs.set(task, { index, start, count: count ?? entries, action, data })).toBeUndefined();
}
const bools = (...values: number[]): IrqData => ({ bools: Uint8Array.from(values) });
const eventfds = (...triggers: (CountingTrigger | null)[]): IrqData => ({ triggers });
const make = (count: number): CountingTrigger[] => Array.from({ length: count }, () => new CountingTrigger());
const signals = (triggers: readonly CountingTrigger[]): number[] => triggers.map((t) => t.signals);
const closed = (triggers: readonly CountingTrigger[]): number[] => triggers.map((t) => t.closed);

function outcome(request: SetIrqs): string {
  try {
    void irqs.set(task, request);
    return "ok";
  } catch (error) {
    if (error instanceof VfioError) return error.code;
    throw error;
  }
}

describe("VFIO_DEVICE_GET_IRQ_INFO", () => {
  const { EVENTFD, MASKABLE, AUTOMASKED } = IrqFlags;
  it.each([
    [INTX, EVENTFD | MASKABLE | AUTOMASKED, 1],
    [MSI, EVENTFD | MASKABLE, 4],
    [MSIX, EVENTFD | MASKABLE, 8],
    [ERR, EVENTFD, 1],
    [REQ, EVENTFD, 1],
  ])("index %i has flags %i and count %i", (index, flags, count) => {
    expect(irqs.info(index)).toEqual({ index, flags, count });
  });

  it("there is no index 5", () => {
    expect(() => irqs.info(5)).toThrow("EINVAL: index 5: irq indices are 0 to 4");
  });
});

describe("VFIO_DEVICE_SET_IRQS refuses", () => {
  const one = eventfds(null);
  const rules: [
    rule: string,
    index: number,
    start: number,
    count: number,
    action: IrqAction,
    data: IrqData,
    expected: string,
  ][] = [
    // Linux: vfio_set_irqs_validate_and_prepare
    ["an index that is none", 5, 0, 1, "trigger", "none", "EINVAL"],
    ["a start at the count", MSIX, 8, 1, "trigger", "none", "EINVAL"],
    ["a start at the count, with count 0", MSIX, 8, 0, "trigger", "none", "EINVAL"],
    ["a range past the count", MSIX, 7, 2, "trigger", "none", "EINVAL"],
    ["a range that wraps at 2^32", MSIX, 1, 0xffffffff, "trigger", "none", "EINVAL"],
    ["fewer bools than interrupts", MSIX, 0, 2, "trigger", bools(1), "EINVAL"],
    ["fewer eventfds than interrupts", MSIX, 0, 2, "trigger", one, "EINVAL"],
    // libvfio-user: device_set_irqs_validate
    ["more bools than interrupts", MSIX, 0, 2, "trigger", bools(1, 1, 1), "EINVAL"],
    ["more eventfds than interrupts", MSIX, 0, 1, "trigger", eventfds(null, null), "EINVAL"],
    ["count 0 from a start other than 0", MSIX, 1, 0, "trigger", "none", "EINVAL"],
    ["count 0 to mask", MSIX, 0, 0, "mask", "none", "EINVAL"],
    ["count 0 to unmask", MSIX, 0, 0, "unmask", "none", "EINVAL"],
    ["count 0 with bools", MSIX, 0, 0, "trigger", bools(), "EINVAL"],
    ["count 0 with eventfds", MSIX, 0, 0, "trigger", eventfds(), "EINVAL"],
    ["to mask ERR", ERR, 0, 1, "mask", "none", "EINVAL"],
    ["to unmask REQ", REQ, 0, 1, "unmask", "none", "EINVAL"],
    ["two ERR", ERR, 0, 2, "trigger", "none", "EINVAL"],
    // Linux: vfio_pci_set_intx_mask
    ["an eventfd that masks", INTX, 0, 1, "mask", eventfds(new CountingTrigger()), "ENOTTY"],
    ["an eventfd that unmasks", INTX, 0, 1, "unmask", eventfds(new CountingTrigger()), "ENOTTY"],
    ["an eventfd that masks a vector", MSIX, 0, 1, "mask", eventfds(new CountingTrigger()), "ENOTTY"],
  ];
  it.each(rules)("%s", (_rule, index, start, count, action, data, expected) => {
    expect(outcome({ index, start, count, action, data })).toBe(expected);
    if (data !== "none" && "triggers" in data)
      expect(closed(data.triggers.filter((t) => t !== null) as CountingTrigger[])).not.toContain(0);
    expect(irqs.igate.owner).toBeUndefined();
  });

  it("everything for an index that the device has not", () => {
    irqs = new IrqController({ intx: 0, msi: 0, msix: 0, err: 0, req: 0 });
    for (const index of [INTX, MSI, MSIX, ERR, REQ])
      for (const count of [0, 1])
        expect(outcome({ index, start: 0, count, action: "trigger", data: "none" })).toBe("EINVAL");
  });

  it("with the field, the value and the rule", () => {
    expect(() => set(MSIX, "trigger", "none", 7, 2)).toThrow(
      "EINVAL: start 7 + count 2 = 9: MSI-X has 8 interrupts",
    );
  });
});

describe("ACTION_TRIGGER", () => {
  const indices = [
    ["INTx", INTX, 1],
    ["MSI", MSI, 4],
    ["MSI-X", MSIX, 8],
    ["ERR", ERR, 1],
    ["REQ", REQ, 1],
  ] as const;

  describe.each(indices)("%s", (_name, index, count) => {
    it("DATA_EVENTFD assigns, DATA_NONE fires", () => {
      const triggers = make(count);
      set(index, "trigger", eventfds(...triggers));
      expect(signals(triggers)).toEqual(triggers.map(() => 0));
      set(index, "trigger", "none", 0, count);
      expect(signals(triggers)).toEqual(triggers.map(() => 1));
      expect(closed(triggers)).toEqual(triggers.map(() => 0));
    });

    it("DATA_BOOL fires where it is true", () => {
      const triggers = make(count);
      set(index, "trigger", eventfds(...triggers));
      set(index, "trigger", { bools: Uint8Array.from({ length: count }, (_, i) => (i % 2 === 0 ? 255 : 0)) });
      expect(signals(triggers)).toEqual(triggers.map((_, i) => (i % 2 === 0 ? 1 : 0)));
    });

    it("-1 de-assigns one, and closes it", () => {
      const triggers = make(count);
      set(index, "trigger", eventfds(...triggers));
      set(index, "trigger", eventfds(null), count - 1);
      set(index, "trigger", "none", 0, count);
      expect(signals(triggers)).toEqual(triggers.map((_, i) => (i === count - 1 ? 0 : 1)));
      expect(closed(triggers)).toEqual(triggers.map((_, i) => (i === count - 1 ? 1 : 0)));
    });

    it("-1 for what is not assigned does nothing", () => {
      set(index, "trigger", eventfds(null));
      set(index, "trigger", "none");
    });

    it("another eventfd replaces the first, which is closed", () => {
      const [first, second] = make(2) as [CountingTrigger, CountingTrigger];
      set(index, "trigger", eventfds(first));
      set(index, "trigger", eventfds(second));
      set(index, "trigger", "none");
      expect(signals([first, second])).toEqual([0, 1]);
      expect(closed([first, second])).toEqual([1, 0]);
    });

    it("count 0 with DATA_NONE disables the index, even twice", () => {
      const triggers = make(count);
      set(index, "trigger", eventfds(...triggers));
      set(index, "trigger", "none", 0, 0);
      set(index, "trigger", "none", 0, 0);
      set(index, "trigger", "none", 0, count);
      expect(signals(triggers)).toEqual(triggers.map(() => 0));
      expect(closed(triggers)).toEqual(triggers.map(() => 1));
    });

    it("a client that disconnects leaves no trigger open", () => {
      const triggers = make(count);
      set(index, "trigger", eventfds(...triggers));
      void irqs.disconnect(task);
      void irqs.disconnect(task);
      expect(closed(triggers)).toEqual(triggers.map(() => 1));
    });
  });

  it("indices do not share triggers", () => {
    const [intx, msi, msix] = make(3) as [CountingTrigger, CountingTrigger, CountingTrigger];
    set(INTX, "trigger", eventfds(intx));
    set(MSI, "trigger", eventfds(msi));
    set(MSIX, "trigger", eventfds(msix));
    set(MSI, "trigger", "none", 0, 0);
    set(MSIX, "trigger", "none");
    expect(signals([intx, msi, msix])).toEqual([0, 0, 1]);
    expect(closed([intx, msi, msix])).toEqual([0, 1, 0]);
  });

  it("ERR and REQ are raised to whom they are assigned", () => {
    irqs.raise(ERR); // to nobody: lost
    const [err, req] = make(2) as [CountingTrigger, CountingTrigger];
    set(ERR, "trigger", eventfds(err));
    set(REQ, "trigger", eventfds(req));
    irqs.raise(ERR);
    irqs.raise(REQ);
    irqs.raise(REQ);
    expect(signals([err, req])).toEqual([1, 2]);
  });
});

describe("ACTION_MASK and ACTION_UNMASK", () => {
  it("DATA_BOOL masks where it is true", () => {
    const triggers = make(4);
    set(MSI, "trigger", eventfds(...triggers));
    set(MSI, "mask", bools(0, 1, 255), 1);
    for (let v = 0; v < 4; v++) irqs.msi.raise(v);
    expect(signals(triggers)).toEqual([1, 1, 0, 0]);
    set(MSI, "unmask", bools(0, 1), 2);
    expect(signals(triggers)).toEqual([1, 1, 0, 1]);
  });

  it("DATA_NONE masks all of the range", () => {
    const triggers = make(4);
    set(MSI, "trigger", eventfds(...triggers));
    set(MSI, "mask", "none", 1, 2);
    for (let v = 0; v < 4; v++) irqs.msi.raise(v);
    expect(signals(triggers)).toEqual([1, 0, 0, 1]);
    set(MSI, "unmask", "none", 0, 4);
    expect(signals(triggers)).toEqual([1, 1, 1, 1]);
  });

  it("an eventfd of -1 takes none away", () => {
    set(INTX, "unmask", eventfds(null));
    set(INTX, "mask", eventfds(null));
    const [intx] = make(1) as [CountingTrigger];
    set(INTX, "trigger", eventfds(intx));
    irqs.intx.raise();
    expect(intx.signals).toBe(1);
  });

  it("a mask set before the trigger holds", () => {
    const [intx] = make(1) as [CountingTrigger];
    set(INTX, "mask", "none");
    set(INTX, "trigger", eventfds(intx));
    irqs.intx.raise();
    expect(intx.signals).toBe(0);
    set(INTX, "unmask", "none");
    expect(intx.signals).toBe(1);
  });
});

describe("igate", () => {
  it("a request waits for it, and is applied then", async () => {
    const other = new Task("other");
    void irqs.igate.lock(other);
    const [trigger] = make(1) as [CountingTrigger];
    const setting = irqs.set(task, {
      index: MSI,
      start: 0,
      count: 1,
      action: "trigger",
      data: eventfds(trigger),
    });
    irqs.msi.raise(0);
    expect(trigger.signals).toBe(0);
    irqs.igate.unlock(other);
    await setting;
    expect(trigger.signals).toBe(1); // pending until there was a trigger
    expect(irqs.igate.owner).toBeUndefined();
  });

  it("a request that gives up waiting closes its triggers", async () => {
    const other = new Task("other");
    void irqs.igate.lock(other);
    const abort = new AbortController();
    const triggers = make(2);
    const leaving = new Task("client", { signal: abort.signal });
    const setting = irqs.set(leaving, {
      index: MSI,
      start: 0,
      count: 2,
      action: "trigger",
      data: eventfds(...triggers),
    });
    abort.abort(new Error("disconnected"));
    await expect(setting).rejects.toThrow("disconnected");
    expect(closed(triggers)).toEqual([1, 1]);
    irqs.igate.unlock(other);
  });

  it("a disconnect waits for it", async () => {
    const [trigger] = make(1) as [CountingTrigger];
    set(MSI, "trigger", eventfds(trigger));
    const other = new Task("other");
    void irqs.igate.lock(other);
    const leaving = irqs.disconnect(task);
    expect(trigger.closed).toBe(0);
    irqs.igate.unlock(other);
    await leaving;
    expect(trigger.closed).toBe(1);
  });
});
