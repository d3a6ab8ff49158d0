import { VfioError } from "../errno.js";
import { IrqIndex } from "../uapi.js";
import type { IrqTrigger } from "./trigger.js";

/**
 * VFIO_DEVICE_SET_IRQS (VFIO uAPI: struct vfio_irq_set), its flags decoded.
 *
 * - `trigger` with triggers assigns them (null de-assigns), with "none" or bools fires the ones assigned (a
 *   loopback test), and with "none" and a count of 0 disables the whole index.
 * - `mask` and `unmask` take "none" or bools; `unmask` of INTx takes a trigger that is listened to (null ends that).
 */
export interface SetIrqs {
  /** One of `IrqIndex`. */
  readonly index: number;
  /** First interrupt of the index that is meant. */
  readonly start: number;
  readonly count: number;
  readonly action: IrqAction;
  readonly data: IrqData;
}

/** VFIO_IRQ_SET_ACTION_*. */
export type IrqAction = "mask" | "unmask" | "trigger";

/** "none": all of the range; `bools`: those that are not 0; `triggers`: DATA_EVENTFD, null where uAPI has -1. */
export type IrqData =
  "none" | { readonly bools: Uint8Array } | { readonly triggers: readonly (IrqTrigger | null)[] };

const names = ["INTx", "MSI", "MSI-X", "ERR", "REQ"] as const;

/** "MSI-X" for 2; "irq index 9" for what is none. */
export function irqName(index: number): string {
  return names[index] ?? `irq index ${index}`;
}

/**
 * The rules of VFIO_DEVICE_SET_IRQS that do not depend on what was set before: Linux's
 * vfio_set_irqs_validate_and_prepare, and what libvfio-user adds for vfio-user.
 * @param counts interrupts an index has, by index
 * @throws VfioError EINVAL, ENOTTY
 */
export function validateSetIrqs(request: SetIrqs, counts: readonly number[]): void {
  const { index, start, count, action, data } = request;
  const available = counts[index];
  if (available === undefined)
    throw new VfioError("EINVAL", `index ${index}: irq indices are 0 to ${counts.length - 1}`);
  const name = irqName(index);

  // uAPI: start below the count even when count is 0, so an index without interrupts refuses everything.
  if (start >= available)
    throw new VfioError("EINVAL", `start ${start}: ${name} has ${available} interrupts`);
  if (start + count > available)
    throw new VfioError(
      "EINVAL",
      `start ${start} + count ${count} = ${start + count}: ${name} has ${available} interrupts`,
    );

  if (count === 0) {
    if (action !== "trigger" || data !== "none")
      throw new VfioError("EINVAL", "count 0: only ACTION_TRIGGER with DATA_NONE, which disables the index");
    if (start !== 0)
      throw new VfioError("EINVAL", `start ${start}: count 0 disables the whole index, so start must be 0`);
  }

  if (data !== "none") {
    const entries = "bools" in data ? data.bools.length : data.triggers.length;
    if (entries !== count)
      throw new VfioError(
        "EINVAL",
        `${entries} ${"bools" in data ? "bools" : "eventfds"}: count is ${count}, and each needs one`,
      );
  }

  if (action !== "trigger") {
    if (index === IrqIndex.ERR || index === IrqIndex.REQ)
      throw new VfioError("EINVAL", `action ${action}: ${name} cannot be masked`);
    // Linux takes an eventfd that unmasks INTx (for KVM's resampling), and no other.
    const byEventFd =
      data !== "none" && "triggers" in data ? data.triggers.filter((one) => one !== null) : [];
    const listens =
      index === IrqIndex.INTX && action === "unmask" && byEventFd.every((one) => "listen" in one);
    if (byEventFd.length > 0 && !listens)
      throw new VfioError(
        "ENOTTY",
        `action ${action} by eventfd: ${name} has only an eventfd that unmasks INTx`,
      );
  }
}
