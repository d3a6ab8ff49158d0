export { Task } from "./task.js";
export { Mutex } from "./mutex.js";
export { RwSemaphore, type ReadOptions } from "./rwsem.js";
export { Semaphore } from "./semaphore.js";
export { ConditionVariable } from "./condition-variable.js";
export { Barrier } from "./barrier.js";
export { Latch } from "./latch.js";
export { Channel, type Sendable } from "./channel.js";
export { Once } from "./once.js";
export { LockMap } from "./lock-map.js";
export { LockContext } from "./lock-context.js";
export { assertNothingHeld, pin, unpin } from "./annotations.js";
export { Lock } from "./lock.js";
export { Shared } from "./shared.js";
export type { Hold, HoldMode } from "./hold.js";
export type { AcquireOptions, Waiter } from "./wait-queue.js";
export { ChannelClosed, LockError, LockdepError, LockTimeout } from "./errors.js";
export {
  lockdep,
  assertHeld,
  assertHeldRead,
  assertHeldWrite,
  assertNotHeld,
  mightLock,
  type LockdepOptions,
  type Mode,
} from "./lockdep.js";
export type { SeenOrder } from "./graph.js";
export type * from "./problem.js";
export type { Frame } from "./stack.js";
export { formatProblem } from "./report/text.js";
export { why } from "./report/why.js";
export { problemGraph, type ProblemGraph } from "./report/graph.js";
export { toDot } from "./report/dot.js";
export { toMermaid } from "./report/mermaid.js";
export { toJson, type ProblemJson } from "./report/json.js";
export { cheapestToBreak, type Cheapest } from "./report/cheapest.js";
