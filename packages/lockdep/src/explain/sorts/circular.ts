import type { CycleProblem, LockUse, Order } from "../../problem.js";
import { cheapestToBreak } from "../../report/cheapest.js";
import { problemGraph } from "../../report/graph.js";
import { fromTheNewOrder, scheduleOf } from "../../report/schedule.js";
import { formatSchedule } from "../../report/text.js";
import { at, list, nameOf } from "../../report/words.js";
import { fromCaller, functionOf, isReader, usageOf, userAccess, type StackFrame } from "../frames.js";
import { adviceFor, canWait, holds, isLock, takes } from "../kinds.js";
import { callers, Torn, type KernelLock, type Report } from "../report.js";
import { head, type Sort } from "./sort.js";

/** An order, with what a kernel's report leaves open. */
export interface KernelOrder extends Order {
  /** The report shows how `from` was held; else `held` says "exclusive" for want of better knowledge. */
  readonly heldKnown: boolean;
  /** The lock is wanted because an access to user memory may fault, by this function; "" otherwise. */
  readonly mayFault: string;
}

export interface KernelCycle extends CycleProblem {
  readonly orders: readonly KernelOrder[];
}

/** "-> #1 (b){+.+.}-{4:4}:" */
const ENTRY = /^-> #(\d+) \((.+)\)\s*\{([^}]*)\}/;

/** One of "the existing dependency chain". */
interface Entry {
  readonly class: string;
  readonly usage: LockUse["usage"];
  readonly reader: boolean;
  readonly frames: readonly StackFrame[];
}

export const circular: Sort<KernelCycle> = {
  name: "circular",
  title: head("possible circular locking dependency detected"),
  kinds: ["cycle"],
  sections: ["acquire", "holding", "chain"],
  read,
  words,
  graph: problemGraph,
  notes,
  more: (problem) => {
    const { order, advice } = cheapestToBreak(problem);
    return {
      schedule: scheduleOf(problem),
      cheapestToBreak: { from: order.from, to: order.to, advice },
    };
  },
};

function read(report: Report): KernelCycle {
  const task = report.task(/^(\S.*)\/(\d+) is trying to acquire lock:/);
  const acquiring = report.lockAfter(/is trying to acquire lock:/, "the lock that the task wants");
  const holding = report.lockAfter(/but task is already holding lock:/, "the lock that the task holds");
  const entries = readChain(report);
  const [first, last] = [entries[0]!, entries[entries.length - 1]!];
  if (first.class !== acquiring.class || last.class !== holding.class)
    throw new Torn("a chain that leads from the lock wanted to the lock held");
  // Entry #n was taken while the lock of #n-1 was held, and #0, the new one, while that of the last was.
  const orders = entries.map((entry, n): KernelOrder => {
    const isNew = n === 0;
    const before = isNew ? last : entries[n - 1]!;
    const place = isNew ? callers(entry.frames, acquiring.at) : callers(entry.frames);
    const held = isNew ? heldNow(holding, report) : heldBefore(before);
    return {
      from: before.class,
      to: entry.class,
      held: held ?? "exclusive",
      heldKnown: held !== undefined,
      acquired: entry.reader || (isNew && rlock(report, acquiring.class)) ? "read" : "exclusive",
      usage: entry.usage,
      task: isNew ? task : { name: place[0] ? functionOf(place[0]) : "somebody", id: 0 },
      heldAt: isNew ? fromCaller(holding.at) : [],
      at: place,
      besides: [],
      mayFault: userAccess(entry.frames),
    };
  });
  return {
    kind: "cycle",
    task,
    acquiring: { ...acquiring, access: orders[0]!.acquired },
    holding: { ...holding, access: orders[0]!.held },
    orders: [...orders.slice(1), orders[0]!],
    held: report.held().locks,
  };
}

function readChain(report: Report): Entry[] {
  const entries: Entry[] = [];
  report.lines.forEach((line, i) => {
    const match = ENTRY.exec(line);
    if (!match) return;
    const frames = report.frames(i + 1);
    entries[Number(match[1])] = {
      class: match[2]!,
      usage: usageOf(match[3]!),
      reader: isReader(frames),
      frames,
    };
  });
  if (entries.length < 2) throw new Torn("the dependency chain");
  const gap = Array.from(entries).findIndex((entry) => (entry as unknown) === undefined);
  if (gap >= 0) throw new Torn(`#${gap} of the dependency chain`);
  return entries;
}

/** The kernel's own table says rlock(); that it says lock() proves nothing: older kernels knew only that. */
const rlock = (report: Report, lockClass: string): boolean => report.lines.includes(`rlock(${lockClass});`);

function heldNow(holding: KernelLock, report: Report): "read" | "exclusive" | undefined {
  if (rlock(report, holding.class) || isReader(holding.at)) return "read";
  return holding.usage.shared ? undefined : "exclusive";
}

/**
 * How a lock of the chain was held while the next one was taken: by another task than the one whose stack is shown,
 * so only the class tells. A class that nobody has ever read was held exclusively; a semaphore that nobody has ever
 * written (it is always taken with interrupts on, so "." means never) was held for reading.
 */
function heldBefore({ usage, reader, frames }: Entry): "read" | "exclusive" | undefined {
  if (!usage.shared) return "exclusive";
  const sleeping = frames.some((frame) => /^_*(?:percpu_)?down_read/.test(functionOf(frame)));
  return reader && sleeping && !usage.exclusive ? "read" : undefined;
}

function words(problem: KernelCycle): string[] {
  const orders = fromTheNewOrder(problem) as KernelOrder[];
  const lines = ["These orders conflict:", ""];
  for (const order of orders) {
    lines.push(`  ${order.from} -> ${order.to}`, `      ${sentence(order)}`);
    const places = [order.heldAt, order.at].map((place) => at(place.slice(0, 1)));
    if (places[0] !== "") lines.push(`      ${order.from} at ${places[0]!}`);
    if (places[1] !== "") lines.push(`      ${order.to} at ${places[1]!}`);
  }
  const all = orders.length === 2 ? "both are" : "they are all";
  const never = orders.filter(({ to }) => !canWait(to)).map(({ to }) => to);
  const end =
    never.length === 0
      ? `when ${all} under way at once, each waits for the next, and none ever goes on.`
      : `nobody waits for ${list(never)} itself: who waits for the end of such a section, while it waits for them, never goes on.`;
  lines.push("", `${list(orders.map(sentence))}: ${end}`);
  if (never.length === 0)
    lines.push("", "A schedule that hangs:", "", ...formatSchedule(scheduleOf(problem)), ...open(orders));
  lines.push("", `Cheapest to break: ${cheapestToBreak(problem).advice}`);
  for (const lockClass of new Set(orders.map(({ to }) => to))) {
    const advice = adviceFor(lockClass);
    if (advice !== undefined) lines.push(`For ${lockClass}: ${advice}.`);
  }
  return lines;
}

function sentence({ task, from, to, acquired, at: place, mayFault }: KernelOrder): string {
  const who = nameOf(task);
  if (mayFault !== "")
    return `${who} may fault in ${mayFault}, which ${takes(to, acquired, place)}, while it ${holds(from)}`;
  return `${who} ${takes(to, acquired, place)} while it ${holds(from)}`;
}

/** What the schedule assumes and the report does not say. */
function open(orders: readonly KernelOrder[]): string[] {
  const unknown = orders.filter(({ heldKnown, from }) => !heldKnown && isLock(from)).map(({ from }) => from);
  const lines: string[] = [];
  if (unknown.length > 0)
    lines.push(
      `The report does not say whether ${list(unknown)} ${unknown.length === 1 ? "was" : "were"} held for reading or for writing there: lock() stands for either.`,
    );
  const invented = orders.some((order, i) => {
    const holder = orders[(i + 1) % orders.length]!;
    return order.acquired !== "exclusive" && holder.held !== "exclusive";
  });
  if (invented)
    lines.push(
      "A reader waits for a reader only behind a writer that waits: the report shows no such writer.",
    );
  return lines.length > 0 ? ["", ...lines] : [];
}

/** The kernel's table of CPU0 and CPU1, made again from the chain and compared with the one that it printed. */
function notes(problem: KernelCycle, report: Report): string[] {
  const { acquiring, holding, orders } = problem;
  const parent = orders[orders.length - 2]!.from;
  const expected = [holding.class, parent, holding.class, acquiring.class];
  const found = report.lines.flatMap((line) => /^(?:r?lock|sync)\((.*)\);$/.exec(line)?.[1] ?? []);
  const lines = report.heldNotes();
  if (found.length === 0)
    lines.push("The kernel's table of CPU0 and CPU1 is missing: it is not compared with the chain.");
  else if (found.join() !== expected.join())
    lines.push(
      found.length < 4
        ? `The kernel's table of CPU0 and CPU1 is torn: ${found.length} of its 4 locks are there.`
        : `The kernel's table of CPU0 and CPU1 contradicts its own chain: it has ${list(found)}, and from the chain follows ${list(expected)}. The chain is what is explained here.`,
    );
  const exists = report.index(/^Chain exists of:/);
  const chain = exists < 0 ? undefined : report.lines[exists + 1];
  if (
    chain !== undefined &&
    / --> /.test(chain) &&
    chain !== `${acquiring.class} --> ${parent} --> ${holding.class}`
  )
    lines.push(
      `"Chain exists of" contradicts the chain: it has ${chain}, and from the chain follows ${acquiring.class} --> ${parent} --> ${holding.class}.`,
    );
  if (orders.length > 2)
    lines.push(
      `The kernel's table has room for 2 processors; the cycle takes ${orders.length} tasks, one for each order.`,
    );
  return lines;
}
