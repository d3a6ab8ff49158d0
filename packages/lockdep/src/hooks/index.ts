/** The seams through which packages/explore drives the locks. Not for applications. */
export { observe, observer, type LockObserver } from "../observer.js";
export { arriving, schedule, scheduler, unseen, type Scheduler } from "../scheduler.js";
export { EXCLUSIVE, READ, READ_RECURSIVE, type Access } from "../access.js";
