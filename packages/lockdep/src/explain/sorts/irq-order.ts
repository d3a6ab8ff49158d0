import type { LockUse, Place, TaskName } from "../../problem.js";
import { at, list, nameOf } from "../../report/words.js";
import { adviceFor, holds, takes } from "../kinds.js";
import { callers, Torn, type Report } from "../report.js";
import { head, picture, type Sort } from "./sort.js";

/**
 * A lock that an interrupt takes (safe) is held while, at the end of a chain, one is taken that is also taken with
 * interrupts on (unsafe). Found when the chain closes ("order"), or when a lock turns safe or unsafe ("inversion").
 */
export interface IrqOrderProblem {
  readonly kind: "irq-order";
  readonly found: "order" | "inversion";
  readonly task: TaskName;
  /** "HARDIRQ", "SOFTIRQ", with "-READ" where it is a reader. */
  readonly context: string;
  readonly safe: string;
  readonly unsafe: string;
  /** The chain from the safe lock to the unsafe one, and which link is new; none is, in an inversion. */
  readonly orders: readonly { readonly from: string; readonly to: string; readonly isNew: boolean }[];
  /** Parts of the chain were cut off: `orders` has those that are there. */
  readonly whole: boolean;
  /** The lock that the task takes, and where. */
  readonly acquiring: LockUse;
  readonly safeAt: Place;
  readonly unsafeAt: Place;
  readonly held: readonly LockUse[];
}

const CLASS = /^\((.+)\)\s*\{[^}]*\}(?:-\{\d+:\d+\})?$/;
const BLOCK = /^->\s*\((.+)\)\s*\{[^}]*\}(?:-\{\d+:\d+\})?.*\{$/;
const NEW = /^\((.+)\)\s*\{[^}]*\}(?:-\{\d+:\d+\})? -> \((.+)\)\s*\{[^}]*\}/;

export const irqOrder: Sort<IrqOrderProblem> = {
  name: "irq-order",
  title: head(String.raw`\S+-safe -> \S+-unsafe lock order detected`),
  kinds: ["irq-order"],
  sections: ["acquireIrq", "holdingIrq", "safe", "unsafe"],
  read: readOrder,
  words,
  graph,
  notes,
};

export const irqInversion: Sort<IrqOrderProblem> = {
  ...irqOrder,
  name: "irq-inversion",
  title: head("possible irq lock inversion dependency detected"),
  kinds: [],
  sections: ["changed"],
  read: readInversion,
};

function readOrder(report: Report): IrqOrderProblem {
  const context = report.find(/(?:WARNING|INFO): (\S+)-safe -> /)![1]!;
  const task = report.task(/^(\S.*)\/(\d+) \[HC\d.*\] is trying to acquire:/);
  const acquiring = report.lockAfter(/\] is trying to acquire:/, "the lock that the task wants");
  const holding = report.lockAfter(/^and this task is already holding:/, "the lock that the task holds");
  const edge = report.need(report.find(NEW), "the new dependency");
  const safe = classAfter(report, /connects an? \S+-irq-safe lock:/, "the irq-safe lock");
  const unsafe = classAfter(report, /^to an? \S+-irq-unsafe lock:/, "the irq-unsafe lock");
  const [first, second] = [
    /^the dependencies between \S+-irq-safe lock/,
    /^the dependencies between the lock to be/,
  ];
  // Both lists begin at the lock in their title that is not the task's: the second one runs against its arrows.
  const toHolding = blocks(report, first, second);
  const fromAcquiring = blocks(report, second, /^stack backtrace/).reverse();
  const whole =
    toHolding[0] === safe &&
    toHolding.at(-1) === holding.class &&
    fromAcquiring[0] === acquiring.class &&
    fromAcquiring.at(-1) === unsafe;
  return {
    kind: "irq-order",
    found: "order",
    task,
    context,
    safe,
    unsafe,
    orders: whole
      ? [...links(toHolding), { from: edge[1]!, to: edge[2]!, isNew: true }, ...links(fromAcquiring)]
      : [{ from: edge[1]!, to: edge[2]!, isNew: true }],
    whole,
    acquiring: { ...acquiring, at: callers(report.backtrace(), acquiring.at).slice(0, 1) },
    safeAt: stackAfter(report, /which became \S+-irq-safe at:/),
    unsafeAt: stackAfter(report, /which became \S+-irq-unsafe at:/),
    held: report.held().locks,
  };
}

function readInversion(report: Report): IrqOrderProblem {
  const task = report.task(/^(\S.*)\/(\d+) just changed the state of lock:/);
  const lock = report.lockAfter(/just changed the state of lock:/, "the lock");
  const other = /but this lock (took another|was taken by another), (\S+)-(?:un)?safe lock in the past:/;
  const past = report.need(report.find(other), "the other lock");
  const otherLock = classAfter(report, other, "the other lock");
  const forwards = past[1] === "took another";
  const chain = blocks(
    report,
    /^the shortest dependencies between 2nd lock and 1st lock:/,
    /^stack backtrace/,
  );
  if (forwards) chain.reverse();
  const [safe, unsafe] = forwards ? [lock.class, otherLock] : [otherLock, lock.class];
  const whole = chain[0] === safe && chain.at(-1) === unsafe;
  const place = callers(report.backtrace(), lock.at).slice(0, 1);
  return {
    kind: "irq-order",
    found: "inversion",
    task,
    context: past[2]!,
    safe,
    unsafe,
    orders: whole ? links(chain) : [],
    whole,
    acquiring: { ...lock, at: place },
    safeAt: forwards ? place : [],
    unsafeAt: forwards ? [] : place,
    held: report.held().locks,
  };
}

function classAfter(report: Report, pattern: RegExp, what: string): string {
  const start = report.index(pattern);
  const line =
    start < 0 ? undefined : report.lines.slice(start + 1, start + 7).find((text) => CLASS.test(text));
  if (line === undefined) throw new Torn(what);
  return CLASS.exec(line)![1]!;
}

function stackAfter(report: Report, pattern: RegExp): Place {
  const start = report.index(pattern);
  if (start < 0) return [];
  return callers(report.frames(start + (report.lines[start + 1] === "..." ? 2 : 1)));
}

/** The classes of a list of dependencies, as they stand. */
function blocks(report: Report, from: RegExp, to: RegExp): string[] {
  const start = report.index(from);
  if (start < 0) return [];
  const end = report.index(to, start + 1);
  return report.lines.slice(start, end < 0 ? undefined : end).flatMap((line) => BLOCK.exec(line)?.[1] ?? []);
}

const links = (chain: readonly string[]): IrqOrderProblem["orders"] =>
  chain.slice(1).map((to, i) => ({ from: chain[i]!, to, isNew: false }));

const interrupt = (context: string): string => (context.startsWith("SOFT") ? "soft interrupt" : "interrupt");
const article = (word: string): string => (word.startsWith("i") ? `an ${word}` : `a ${word}`);

function words(problem: IrqOrderProblem): string[] {
  const { task, context, safe, unsafe, orders, acquiring, safeAt, unsafeAt, whole } = problem;
  const irq = interrupt(context);
  const where = (place: Place): string => (place.length > 0 ? ` (${at(place)})` : "");
  const path = whole ? orders.map(({ from }) => from).concat(unsafe) : [safe, "…", unsafe];
  const did =
    problem.found === "order"
      ? `${nameOf(task)} ${takes(acquiring.class, acquiring.access)}${where(acquiring.at)} and closes the chain.`
      : safe === acquiring.class
        ? `${nameOf(task)} has now taken ${safe} in ${article(irq)}${where(acquiring.at)}; the chain was there before.`
        : `${nameOf(task)} has now taken ${unsafe} with ${irq}s on${where(acquiring.at)}; the chain was there before.`;
  const lines = [
    `${safe} is taken in ${article(irq)}${problem.found === "inversion" && safe === acquiring.class ? "" : where(safeAt)}, and ${unsafe} with ${irq}s on${problem.found === "inversion" && unsafe === acquiring.class ? "" : where(unsafeAt)}.`,
    `From the first to the second leads a chain: ${path.join(" -> ")}. ${did}`,
    "",
    `One processor ${holds(unsafe)} when the ${irq} comes and wants ${safe}; another ${holds(safe)} and, along the chain, waits for ${unsafe}: neither goes on.`,
  ];
  const bh = irq === "interrupt" ? "spin_lock_irqsave()" : "spin_lock_bh()";
  const special = adviceFor(unsafe);
  lines.push(
    "",
    `What to do: ${special ?? `take ${unsafe} with ${bh} everywhere`}, or do not ${
      path.length > 2 ? "let the chain close" : `take ${unsafe} while ${safe} is held`
    }.`,
  );
  return lines;
}

function graph({ context, safe, unsafe, orders, task, acquiring, safeAt, unsafeAt }: IrqOrderProblem) {
  const irq = interrupt(context);
  const shown = orders.length > 0 ? orders : [{ from: safe, to: unsafe, isNew: false }];
  return picture(
    `Down: taken while the other is held. The ${irq} comes while ${unsafe} is held, and takes ${safe}`,
    [],
    [
      ...shown.map(({ from, to, isNew }) => ({
        from,
        to,
        label: isNew ? [nameOf(task), at(acquiring.at)] : orders.length > 0 ? [] : ["a chain that is torn"],
        culprit: isNew,
      })),
      {
        from: unsafe,
        to: safe,
        label: [`${irq} while it is held`, at(unsafeAt), safeAt.length > 0 ? `taken at ${at(safeAt)}` : ""],
        culprit: orders.every(({ isNew }) => !isNew),
      },
    ],
  );
}

/** The kernel's table, made again from the chain and compared with the one that it printed. */
function notes({ safe, unsafe, orders, whole, found }: IrqOrderProblem, report: Report): string[] {
  const lines = report.heldNotes();
  if (!whole) lines.push("The lists of dependencies are torn: the chain is not shown.");
  const printed = report.lines.flatMap((line) => /^lock\((.*)\);$/.exec(line)?.[1] ?? []);
  if (printed.length === 4) {
    const [kernelUnsafe, kernelSafe, middle, again] = printed;
    // The kernel puts any lock of the chain in the middle; in an order, one end of the new link.
    const ends = found === "order" ? orders.filter(({ isNew }) => isNew) : orders;
    const middles = whole ? ends.flatMap(({ from, to }) => [from, to]) : [middle];
    if (kernelUnsafe !== unsafe || kernelSafe !== safe || again !== safe || !middles.includes(middle))
      lines.push(
        `The kernel's table of CPU0 and CPU1 contradicts its own chain: it has ${list(printed)}, and the chain leads from ${safe} to ${unsafe}. The chain is what is explained here.`,
      );
  } else if (printed.length > 0)
    lines.push(`The kernel's table of CPU0 and CPU1 is torn: ${printed.length} of its 4 locks are there.`);
  return lines;
}
