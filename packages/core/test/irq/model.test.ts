import { IrqIndex } from "@vfiokit/core";
import { IrqController } from "@vfiokit/core/host";
import { Task } from "@vfiokit/lockdep";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { CountingTrigger } from "./trigger.js";

const task = new Task("client");
const VECTORS = 3;

/** What can happen to one index, by device, guest, client and core. */
const operation = fc.oneof(
  { weight: 4, arbitrary: fc.record({ kind: fc.constant("raise" as const), vector: fc.nat(VECTORS - 1) }) },
  fc.record({ kind: fc.constant("lower" as const) }),
  {
    weight: 2,
    arbitrary: fc.record({
      kind: fc.constantFrom("mask" as const, "unmask" as const),
      vector: fc.nat(VECTORS - 1),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      kind: fc.constantFrom("assign" as const, "deassign" as const),
      vector: fc.nat(VECTORS - 1),
    }),
  },
  fc.record({ kind: fc.constant("guestMask" as const), on: fc.boolean() }),
  fc.record({ kind: fc.constant("hold" as const), on: fc.boolean() }),
  fc.record({
    kind: fc.constantFrom("disable" as const, "disconnect" as const, "reset" as const, "migrate" as const),
  }),
);

/**
 * Runs operations on a real controller; `rule` says what the model expects. A trigger that is replaced keeps its
 * count, so that signals to the wrong one show.
 */
describe.each([
  ["INTx", IrqIndex.INTX, 1],
  ["MSI-X", IrqIndex.MSIX, VECTORS],
] as const)("%s against a model", (name, index, vectors) => {
  interface Line {
    /** INTx: asserted. MSI-X: pending. */
    waiting: boolean;
    masked: boolean;
    trigger: { real: CountingTrigger; expected: number } | undefined;
  }

  it("every signal arrives once, where and when it should", () => {
    fc.assert(
      fc.property(fc.array(operation, { maxLength: 60 }), (operations) => {
        let irqs = new IrqController({ intx: 1, msi: 0, msix: VECTORS, err: 0, req: 0 });
        let guestMasked = false;
        let held = false;
        const lines = Array.from({ length: vectors }, (): Line => ({
          waiting: false,
          masked: false,
          trigger: undefined,
        }));
        const triggers: { real: CountingTrigger; expected: number; closed: boolean }[] = [];
        const set = (vector: number, action: "mask" | "unmask"): void =>
          void irqs.set(task, { index, start: vector, count: 1, action, data: "none" });
        const assign = (vector: number, real: CountingTrigger | null): void =>
          void irqs.set(task, {
            index,
            start: vector,
            count: 1,
            action: "trigger",
            data: { triggers: [real] },
          });
        const close = (line: Line): void => {
          for (const trigger of triggers) if (trigger === line.trigger) trigger.closed = true;
          line.trigger = undefined;
        };

        for (const op of operations) {
          const vector = "vector" in op ? Math.min(op.vector, vectors - 1) : 0;
          const line = lines[vector]!;
          switch (op.kind) {
            case "raise":
              if (name === "INTx") irqs.intx.raise();
              else irqs.msix.raise(vector);
              line.waiting = true;
              break;
            case "lower":
              irqs.intx.lower();
              if (name === "INTx") line.waiting = false;
              break;
            case "mask":
            case "unmask":
              line.masked = op.kind === "mask";
              set(vector, op.kind);
              break;
            case "assign":
            case "deassign": {
              close(line);
              const trigger = { real: new CountingTrigger(), expected: 0, closed: false };
              if (op.kind === "assign") triggers.push((line.trigger = trigger));
              assign(vector, op.kind === "assign" ? trigger.real : null);
              break;
            }
            case "guestMask":
              guestMasked = op.on;
              if (name === "INTx") irqs.setIntxDisabled(op.on);
              else irqs.setFunctionMasked(op.on);
              break;
            case "hold":
              held = op.on;
              if (held) irqs.hold();
              else irqs.release();
              break;
            case "disable":
            case "disconnect":
              for (const each of lines) {
                close(each);
                each.masked = false;
                if (op.kind === "disable" && name === "MSI-X") each.waiting = false;
              }
              if (op.kind === "disconnect") void irqs.disconnect(task);
              else void irqs.set(task, { index, start: 0, count: 0, action: "trigger", data: "none" });
              break;
            case "reset":
              irqs.deviceReset();
              guestMasked = false;
              for (const each of lines) each.waiting = false;
              break;
            case "migrate": {
              // To a controller of another process: its client sets everything up again.
              const snapshot = irqs.snapshot();
              void irqs.disconnect(task);
              irqs = new IrqController({ intx: 1, msi: 0, msix: VECTORS, err: 0, req: 0 });
              for (const each of lines) {
                close(each);
                each.masked = false;
              }
              guestMasked = held = false;
              irqs.load(snapshot);
              break;
            }
          }
          // The rule: what waits goes out as soon as nothing holds it back. INTx then masks itself.
          for (const each of lines) {
            if (!each.waiting || each.masked || !each.trigger || guestMasked || held) continue;
            each.trigger.expected++;
            if (name === "INTx") each.masked = true;
            else each.waiting = false;
          }
          for (const trigger of triggers) {
            expect(trigger.real.signals).toBe(trigger.expected);
            expect(trigger.real.closed).toBe(trigger.closed ? 1 : 0);
          }
          if (name === "INTx") expect(irqs.intx.asserted).toBe(lines[0]!.waiting);
          else lines.forEach((each, v) => expect(irqs.msix.isPending(v)).toBe(each.waiting));
        }
      }),
      { numRuns: 300 },
    );
  });
});
