import { VfioError } from "@vfiokit/core";
import type { IrqAction, IrqData, IrqTrigger } from "@vfiokit/core/host";
import { EventFdTrigger } from "../linux/index.js";
import { EventFdListener } from "./event-listener.js";
import { IrqSetFlags, type RequestPayload } from "../wire/index.js";
import type { MessageFds } from "../socket/index.js";
import type { Handler } from "./session.js";

export const setIrqs: Handler<"DEVICE_SET_IRQS"> = ({ device, task }, request, attached) => {
  const { index, start, count, flags } = request;
  const available = device.irqInfo(index).count;
  // Before anything is made for each of them: count comes from the peer.
  if (start + count > available)
    throw new VfioError("EINVAL", `start ${start} + count ${count}: irq index ${index} has ${available}`);
  const wait = device.setIrqs(task, {
    index,
    start,
    count,
    action: actionOf(flags),
    data: dataOf(request, attached),
  });
  return wait ? wait.then(() => ({ payload: {} })) : { payload: {} };
};

function actionOf(flags: number): IrqAction {
  if (flags & IrqSetFlags.ACTION_MASK) return "mask";
  return flags & IrqSetFlags.ACTION_UNMASK ? "unmask" : "trigger";
}

function dataOf({ flags, count, data }: RequestPayload<"DEVICE_SET_IRQS">, { fds }: MessageFds): IrqData {
  if (!(flags & IrqSetFlags.DATA_EVENTFD) && fds.length > 0)
    throw new VfioError("EINVAL", `${fds.length} descriptors: only DATA_EVENTFD takes any`);
  if (flags & IrqSetFlags.DATA_NONE) return "none";
  // A copy: the receive buffer is reused, and setting may have to wait.
  if (flags & IrqSetFlags.DATA_BOOL) return { bools: data.slice() };
  // vfio-user: "If no file descriptors are provided, this de-assigns the specified previously configured interrupts."
  if (fds.length === 0) return { triggers: Array.from({ length: count }, () => null) };
  if (fds.length !== count) throw new VfioError("EINVAL", `${fds.length} descriptors: count is ${count}`);
  const triggers: IrqTrigger[] = [];
  const unmasks = actionOf(flags) === "unmask";
  try {
    while (fds.length > 0) {
      const fd = fds.shift()!;
      triggers.push(unmasks ? new EventFdListener(fd) : new EventFdTrigger(fd));
    }
  } catch (error) {
    for (const trigger of triggers) trigger.close();
    throw error;
  }
  return { triggers };
}
