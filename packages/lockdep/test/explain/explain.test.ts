import { readFileSync } from "node:fs";
import { formatProblem, lockdep, Mutex, Task, type CycleProblem } from "@vfiokit/lockdep";
import { explainSplat, parseKernelLog, splatGraph, type Splat } from "@vfiokit/lockdep/explain";
import { checkScenario, parseProtocol } from "@vfiokit/lockdep/protocol";
import { describe, expect, it } from "vitest";
import { freshValidator } from "../support/validator.js";

freshValidator();

const log = (name: string): string => readFileSync(new URL(`splats/${name}.log`, import.meta.url), "utf8");
const only = (text: string): Splat => {
  const splats = parseKernelLog(text);
  expect(splats).toHaveLength(1);
  return splats[0]!;
};
const cycle = (text: string): CycleProblem => only(text).problem as CycleProblem;
const orders = (problem: CycleProblem): string[] =>
  problem.orders.map((order) => `${order.from} -> ${order.to}`);

describe("reports of a real kernel", () => {
  it("ABBA, torn apart by another printk", () => {
    const splat = only(log("abba"));
    expect(splat).toMatchObject({
      title: "possible circular locking dependency detected",
      kernel: "7.3.4 #1 Not tainted",
    });
    expect(splat.problem).toMatchObject({
      kind: "cycle",
      task: { name: "task-ba", id: 36 },
      acquiring: { lock: "ffffffff81614180", class: "a", at: [{ fn: "ba+0x20/0x3b" }] },
      holding: { lock: "ffffffff816140e0", class: "b", at: [{ fn: "ba+0x12/0x3b" }] },
      held: [{ class: "b", usage: { exclusive: true, shared: false } }],
    });
    expect(orders(splat.problem as CycleProblem)).toEqual(["a -> b", "b -> a"]);
    expect((splat.problem as CycleProblem).orders.map((order) => order.task.name)).toEqual(["ab", "task-ba"]);
  });

  it("readers of rw-semaphores", () => {
    const problem = cycle(log("rwsem"));
    expect(orders(problem)).toEqual(["ra -> rb", "rb -> ra"]);
    expect(problem.orders.map((order) => order.acquired)).toEqual(["exclusive", "read"]);
    expect(problem.holding).toMatchObject({
      class: "rb",
      access: "read",
      usage: { exclusive: true, shared: true },
    });
    expect(explainSplat(only(log("rwsem")))).toContain("a writer of ra");
  });

  it("a bad unlock", () => {
    expect(only(log("bad-unlock")).problem).toMatchObject({
      kind: "bad-unlock",
      task: { name: "bad-unlock", id: 34 },
      class: "ra",
      at: [{ fn: "bad_unlock+0x2a/0x2d" }],
      held: [],
    });
  });

  it("an inconsistent state", () => {
    const splat = only(log("irq"));
    expect(splat.problem).toMatchObject({
      kind: "inconsistent-state",
      task: { name: "irq-user", id: 33 },
      lock: { class: "sl", at: [{ fn: "irq_inconsistent+0x28/0x37" }] },
      before: "IN-HARDIRQ-W",
      now: "HARDIRQ-ON-W",
    });
    expect(explainSplat(splat)).toContain("spin_lock_irqsave()");
    expect(splatGraph(splat)!.edges).toHaveLength(2);
  });

  it("several in one log", () => {
    const names = ["abba", "bad-unlock", "irq", "rwsem", "vfio-hot-reset", "vfio-ioctl-reset"];
    const splats = parseKernelLog(names.map(log).join("random: crng init done\n"));
    expect(splats.map((splat) => splat.problem?.kind)).toEqual([
      "cycle",
      "bad-unlock",
      "inconsistent-state",
      "cycle",
      "cycle",
      "cycle",
    ]);
    const lines = names.map(log).join("random: crng init done\n").split("\n");
    for (const { line, title } of splats) expect(lines[line - 1]).toContain(title);
  });

  it("with times, log levels, callers, a syslog's prefix, or quoted in a mail, reads the same", () => {
    const plain = { ...only(log("vfio-hot-reset")), line: 0 };
    const prefixes: ((line: string, i: number) => string)[] = [
      (line, i) => `[${(12.5 + i / 1000).toFixed(6).padStart(12)}] ${line}`,
      (line, i) => `[  139.${String(304775 + i)}][  T100] ${line}`,
      (line) => `<4>[   14.530533] ${line}`,
      (line) => `Jul 10 14:03:22 host kernel: [   14.530533] ${line}`,
      (line) => `2026-03-10T14:03:22.123456+00:00 host kernel: ${line}`,
      (line) => `> > ${line}`,
      (line) => `${line}\r`,
    ];
    for (const prefix of prefixes) {
      const text = log("vfio-hot-reset").split("\n").map(prefix).join("\n");
      expect({ ...only(text), line: 0 }).toEqual(plain);
    }
  });

  it("names the order that is the cheapest to break", () => {
    expect(explainSplat(only(log("vfio-ioctl-reset")))).toMatch(
      /Cheapest to break: &vdev->memory_lock -> &vdev->state_mutex: both locks are taken in ioctl_reset_like\./,
    );
  });
});

describe("reports of other kernels", () => {
  it("recursion, with symbols resolved and inlined callers", () => {
    const splat = only(`
============================================
WARNING: possible recursive locking detected
6.15.0-rc1-syzkaller-ge618ee89561b #0 Not tainted
--------------------------------------------
kworker/2:3/6044 is trying to acquire lock:
ffffc90006f360d8 (&rb->spinlock){-.-.}-{2:2}, at: __bpf_ringbuf_reserve+0x36e/0x4b0 kernel/bpf/ringbuf.c:423

but task is already holding lock:
ffffc900070410d8 (&rb->spinlock){-.-.}-{2:2}, at: __bpf_ringbuf_reserve+0x36e/0x4b0 kernel/bpf/ringbuf.c:423

other info that might help us debug this:
 Possible unsafe locking scenario:

       CPU0
       ----
  lock(&rb->spinlock);
  lock(&rb->spinlock);

 *** DEADLOCK ***

2 locks held by kworker/2:3/6044:
 #0: ffff88801b48ad48 ((wq_completion)rcu_gp){+.+.}-{0:0}, at: process_one_work+0x12a2/0x1b70 kernel/workqueue.c:3213
 #1: ffffc900070410d8 (&rb->spinlock){-.-.}-{2:2}, at: inlined_one kernel/x.c:1 [inline]
 #1: ffffc900070410d8 (&rb->spinlock){-.-.}-{2:2}, at: __bpf_ringbuf_reserve+0x36e/0x4b0 kernel/bpf/ringbuf.c:423

stack backtrace:
`);
    expect(splat.problem).toMatchObject({
      kind: "recursion",
      sameLock: false,
      task: { name: "kworker/2:3", id: 6044 },
      acquiring: { class: "&rb->spinlock", at: [{ file: "kernel/bpf/ringbuf.c", line: 423 }] },
      held: [{ class: "(wq_completion)rcu_gp" }, { at: [{ fn: "__bpf_ringbuf_reserve+0x36e/0x4b0" }] }],
    });
  });

  it("held when returning to user space, with a place that a mail program wrapped", () => {
    const splat = only(`
[  139.304775] ================================================
[  139.311185] WARNING: lock held when returning to user space!
[  139.317593] 6.6.0-rc2ifs01+ #11 Tainted: G S      W I
[  139.324499] ------------------------------------------------
[  139.330908] bash/11476 is leaving the kernel with locks still held!
[  139.338000] 1 lock held by bash/11476:
[  139.342262]  #0: ffffffffaa26c930 (cpu_hotplug_lock){++++}-{0:0}, at:
do_core_test+0x35/0x1c0 [intel_ifs]
`);
    expect(splat.kernel).toBe("6.6.0-rc2ifs01+ #11 Tainted: G S      W I");
    expect(splat.problem).toMatchObject({
      kind: "held-at-exit",
      task: { name: "bash", id: 11476 },
      held: [{ class: "cpu_hotplug_lock", at: [{ fn: "do_core_test+0x35/0x1c0" }] }],
    });
  });

  it("of before 2017: INFO in brackets, no addresses, places in angle brackets", () => {
    const splat = only(`
=============================================
[ INFO: possible recursive locking detected ]
4.10.0-rc8-next-20170214-zram #24 Not tainted
---------------------------------------------
as/6557 is trying to acquire lock:
 (&(&((cluster_info + ci)->lock))->rlock){+.+.-.}, at: [<ffffffff811ddd03>] cluster_list_add_tail.part.31+0x33/0x70

but task is already holding lock:
 (&(&((cluster_info + ci)->lock))->rlock){+.+.-.}, at: [<ffffffff811df2bb>] swapcache_free_entries+0x9b/0x330
`);
    expect(splat.problem).toMatchObject({
      kind: "recursion",
      acquiring: {
        class: "&(&((cluster_info + ci)->lock))->rlock",
        at: [{ fn: "cluster_list_add_tail" }],
      },
    });
  });

  it("what is not explained is named, not passed over; a log without any has none", () => {
    const splat = only("WARNING: chain_key collision\n6.1 #1 Not tainted\n");
    expect(splat).toMatchObject({ status: "unsupported", problem: undefined });
    expect(explainSplat(splat)).toContain("chain_key collision");
    expect(explainSplat(splat)).toContain("not explained here");
    expect(splatGraph(splat)).toBeUndefined();
    expect(parseKernelLog("random: crng init done\n")).toEqual([]);
    expect(only(log("abba").split("\n").slice(0, 12).join("\n")).problem).toBeUndefined();
  });
});

describe("our own reports", () => {
  it("are in the kernel's form: the reader of kernel logs reads them", () => {
    lockdep.configure({ mode: () => undefined });
    const [a, b] = [new Mutex("a"), new Mutex("b")];
    for (const [name, first, second] of [
      ["t1", a, b],
      ["t2", b, a],
    ] as const) {
      const task = new Task(name);
      void first.lock(task);
      void second.lock(task);
      second.unlock(task);
      first.unlock(task);
    }
    const ours = lockdep.problems[0] as CycleProblem;
    const read = cycle(formatProblem(ours));
    expect(orders(read)).toEqual(orders(ours));
    expect(read.task).toEqual(ours.task);
    expect(read.acquiring).toMatchObject({ lock: ours.acquiring.lock, class: "a" });
    expect(read.acquiring.at[0]).toEqual(ours.acquiring.at[0]);
    expect(read.held.map((use) => use.class)).toEqual(ours.held.map((use) => use.class));
  });
});

describe("examples/vfio-reset.yaml against the same orders on a real kernel", () => {
  const file = new URL("../../../../examples/vfio-reset.yaml", import.meta.url);
  const [ioctl, after, hot] = parseProtocol(readFileSync(file, "utf8"), "vfio-reset.yaml").scenarios.map(
    checkScenario,
  );
  const shape = (problem: CycleProblem): unknown => ({
    orders: problem.orders.map(({ from, to, acquired, usage }) => ({ from, to, acquired, usage })),
    acquiring: [problem.acquiring.class, problem.acquiring.usage],
    holding: [problem.holding.class, problem.holding.access, problem.holding.usage],
    held: problem.held.map((use) => [use.class, use.usage]),
  });
  /** From the header of the chain to the scenario, without places and stacks. */
  const kernelForm = (text: string): string[] =>
    text
      .split("\n")
      .filter((line) => /^-> #|^Chain exists|^ {2}\S+ -->|^ +r?lock\(/.test(line))
      .map((line) => line.trimEnd());

  it("reset_done under memory_lock: the cycle of four, as the kernel reports it", () => {
    const ours = ioctl!.findings[0]!.problem as CycleProblem;
    expect(ours.orders).toHaveLength(4);
    expect(shape(ours)).toEqual(shape(cycle(log("vfio-ioctl-reset"))));
    const report = formatProblem(ours);
    const untilWhy = report.slice(0, report.indexOf("\nWhy:"));
    expect(kernelForm(untilWhy)).toEqual(kernelForm(log("vfio-ioctl-reset")));
  });

  it("the callback after memory_lock is clean", () => {
    expect(after!.verdict).toBe("clean");
  });

  it("two devices in a hot reset: the cycle is back, as the kernel reports it", () => {
    const ours = hot!.findings[0]!.problem as CycleProblem;
    expect(shape(ours)).toEqual(shape(cycle(log("vfio-hot-reset"))));
    const report = formatProblem(ours);
    expect(kernelForm(report.slice(0, report.indexOf("\nWhy:")))).toEqual(kernelForm(log("vfio-hot-reset")));
  });
});
