import { circular, type KernelCycle } from "./circular.js";
import { freed, leaked, returning, stillHolds, type FreedProblem, type StillHeldProblem } from "./held.js";
import { hung, type HungTaskProblem } from "./hung.js";
import { inconsistent, type InconsistentState } from "./inconsistent.js";
import { irqInversion, irqOrder, type IrqOrderProblem } from "./irq-order.js";
import { limit, nonStaticKey, type KernelLimitProblem } from "./limit.js";
import { nested, type NestedProblem } from "./nested.js";
import { rcu, type RcuProblem } from "./rcu.js";
import { recursive } from "./recursive.js";
import { notRunning, scheduling, sleeping, type AtomicSleepProblem } from "./sleeping.js";
import type { Sort } from "./sort.js";
import { spinlock, type SpinlockProblem } from "./spinlock.js";
import { unlock } from "./unlock.js";
import { waitContext, type WaitContextProblem } from "./wait-context.js";
import { workqueue, type WorkqueueProblem } from "./workqueue.js";
import type { BadUnlockProblem, RecursionProblem } from "../../problem.js";

/** What a kernel's report says, told apart by `kind`. */
export type SplatProblem =
  | KernelCycle
  | RecursionProblem
  | InconsistentState
  | IrqOrderProblem
  | BadUnlockProblem
  | StillHeldProblem
  | FreedProblem
  | NestedProblem
  | WaitContextProblem
  | RcuProblem
  | KernelLimitProblem
  | HungTaskProblem
  | WorkqueueProblem
  | AtomicSleepProblem
  | SpinlockProblem;

/** A sort reads its own problems and gets no others, which its type says and this list of all of them cannot. */
const sort = <P extends SplatProblem>(one: Sort<P>): Sort<SplatProblem> =>
  one as unknown as Sort<SplatProblem>;

/** Every sort of report that is explained. */
export const SORTS: readonly Sort<SplatProblem>[] = [
  sort(circular),
  sort(recursive),
  sort(inconsistent),
  sort(irqOrder),
  sort(irqInversion),
  sort(unlock),
  sort(returning),
  sort(stillHolds),
  sort(leaked),
  sort(freed),
  sort(nested),
  sort(waitContext),
  sort(rcu),
  sort(limit),
  sort(nonStaticKey),
  sort(hung),
  sort(workqueue),
  sort(sleeping),
  sort(scheduling),
  sort(notRunning),
  sort(spinlock),
];

/** The sort that puts this problem into words. */
export const sortOf = (problem: SplatProblem): Sort<SplatProblem> =>
  SORTS.find((one) => one.kinds.includes(problem.kind))!;
