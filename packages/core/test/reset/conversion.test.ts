import "../../../../test/setup-lockdep.js";
import { describe, expect, it } from "vitest";
import { Task } from "@vfiokit/lockdep";
import { PciDevice } from "@vfiokit/core";
import { MigrationState, type MigrationOps, type ResetStateRequirement } from "@vfiokit/core/migration";
import { checkMigrationOps } from "../../src/migration/ops.js";
import { cardDefinition, heldLocks, type Ops } from "./card.js";
import { counterDefinition } from "../device/counter.js";

const { RUNNING, STOP_COPY } = MigrationState;

/** Registers a driver. @returns the device and what registration said of it */
function register(ops: Ops, resetStateOp?: ResetStateRequirement) {
  const warnings: string[] = [];
  const { definition } = cardDefinition({ ops });
  const warn = (message: string) => warnings.push(message);
  const device = new PciDevice(definition, resetStateOp ? { resetStateOp, warn } : { warn });
  return { device, warnings };
}

describe("converting drivers to migrationResetState, one at a time", () => {
  it("first the op may be there: nobody hears anything", () => {
    for (const ops of ["present", "partial", "absent"] as const) {
      expect(register(ops, "off").warnings).toEqual([]);
    }
  });

  it("then a driver without it is warned about, and works; this is the default", () => {
    const warning = "card: migration op migrationResetState is missing; it will become mandatory";
    expect(register("partial", "warn").warnings).toEqual([warning]);
    expect(register("partial").warnings).toEqual([warning]);
    expect(register("present", "warn").warnings).toEqual([]);
    expect(register("absent", "warn").warnings).toEqual([]);
  });

  it("at last it is enforced: EINVAL names the op; drivers that do not migrate are not asked", () => {
    expect(() => register("partial", "enforce")).toThrow(
      "EINVAL: card: migration op migrationResetState is missing",
    );
    expect(register("present", "enforce").warnings).toEqual([]);
    expect(register("absent", "enforce").warnings).toEqual([]);
  });

  it("a device that declares its state has it from the core", () => {
    const { definition } = counterDefinition();
    expect(() => new PciDevice(definition, { resetStateOp: "enforce" })).not.toThrow();
  });

  for (const step of ["off", "warn", "enforce"] as const) {
    for (const ops of ["present", "partial", "absent"] as const) {
      if (step === "enforce" && ops === "partial") continue; // not registered
      it(`at "${step}", a reset of a driver with the op ${ops} in a migration leaves it RUNNING`, async () => {
        const { device } = register(ops, step);
        const task = new Task("client");
        await device.migration?.setState(task, STOP_COPY);
        await device.reset(task);
        if (ops !== "absent") expect(device.migration!.state).toBe(RUNNING);
        await device.migration?.setState(task, STOP_COPY); // and a new migration begins
        expect(heldLocks(device)).toEqual([]);
      });
    }
  }
});

describe("registration (Linux: vfio_pci_core_register_device)", () => {
  const complete = (): MigrationOps => {
    const { definition, made } = cardDefinition();
    new PciDevice(definition);
    return made[0]!.migrationOps!;
  };
  const check = (ops: MigrationOps) => {
    checkMigrationOps("card", ops, "off", () => undefined);
  };

  it.each(["migrationSetState", "migrationGetState", "migrationGetDataSize"])(
    "refuses ops without %s",
    (op) => {
      const ops = { ...complete(), [op]: undefined };
      expect(() => {
        check(ops);
      }).toThrow(`EINVAL: card: migration op ${op} is missing`);
    },
  );

  it.each([0, 2, 4, 6])("refuses flags 0x%s: STOP_COPY is mandatory", (flags) => {
    expect(() => {
      check({ ...complete(), flags });
    }).toThrow(`EINVAL: card: migration flags 0x${flags} lack STOP_COPY`);
  });

  it.each([1, 3, 5, 7])("accepts flags 0x%s", (flags) => {
    check({ ...complete(), flags });
  });
});
