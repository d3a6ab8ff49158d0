import { readFileSync } from "node:fs";
import { explainSplat, parseKernelLog, splatJson, type Splat } from "@vfiokit/lockdep/explain";
import { describe, expect, it } from "vitest";

const splat = (name: string): string =>
  readFileSync(new URL(`splats/${name}.log`, import.meta.url), "utf8").trimEnd();
const only = (text: string): Splat => {
  const splats = parseKernelLog(text);
  expect(splats).toHaveLength(1);
  return splats[0]!;
};
const words = (text: string): string => explainSplat(only(text));

/** A cycle of two, as the kernel prints it: t/1 wants a and holds b. */
const cycle = (options: {
  a: string;
  b: string;
  usage?: [string, string];
  wants: readonly string[];
  before: readonly string[];
  table?: readonly string[];
}): string => {
  const [ua, ub] = options.usage ?? ["+.+.", "+.+."];
  const table = options.table ?? [
    `  lock(${options.b});`,
    `                               lock(${options.a});`,
    `                               lock(${options.b});`,
    `  lock(${options.a});`,
  ];
  return `
WARNING: possible circular locking dependency detected
6.9.0 #1 Not tainted
------------------------------------------------------
t/1 is trying to acquire lock:
ffff01 (${options.a}){${ua}}-{4:4}, at: ${options.wants.at(-1)!}

but task is already holding lock:
ffff02 (${options.b}){${ub}}-{4:4}, at: outer+0x1/0x9

the existing dependency chain (in reverse order) is:

-> #1 (${options.b}){${ub}}-{4:4}:
${options.before.map((frame) => `       ${frame}`).join("\n")}

-> #0 (${options.a}){${ua}}-{4:4}:
${options.wants.map((frame) => `       ${frame}`).join("\n")}

other info that might help us debug this:

 Possible unsafe locking scenario:

       CPU0                    CPU1
       ----                    ----
${table.join("\n")}

 *** DEADLOCK ***

1 lock held by t/1:
 #0: ffff02 (${options.b}){${ub}}-{4:4}, at: outer+0x1/0x9
`;
};
const inconsistent = (from: string, to: string, lock: string): string => `
WARNING: inconsistent lock state
6.9.0 #1 Not tainted
--------------------------------
inconsistent {${from}} -> {${to}} usage.
t/1 [HC0[0]:SC1[1]:HE1:SE0] takes:
ffff01 (${lock}){+.?.}-{3:3}, at: inner+0x1/0x9
{${from}} state was registered at:
  lock_acquire+0x1/0x9
  _raw_spin_lock+0x1/0x9
  earlier+0x1/0x9
irq event stamp: 1
`;

describe("nothing that the report does not say", () => {
  it("no reader is invented where both sides are writers", () => {
    const text = words(
      cycle({
        a: "&a",
        b: "&b",
        usage: ["++++", "++++"],
        wants: ["lock_acquire+0x1/0x9", "down_write+0x1/0x9", "outer+0x5/0x9"],
        before: ["lock_acquire+0x1/0x9", "down_write+0x1/0x9", "other+0x1/0x9", "down_read+0x1/0x9"],
      }),
    );
    expect(text).not.toMatch(/reads|rlock|a writer of/);
    expect(text).toContain("does not say whether &b and &a were held for reading or for writing");
  });

  it("a task that returns to user space and runs on is not said to be over", () => {
    const text = words(`
WARNING: lock held when returning to user space!
6.9.0 #1 Not tainted
bash/11 is leaving the kernel with locks still held!
1 lock held by bash/11:
 #0: ffff01 (cpu_hotplug_lock){++++}-{0:0}, at: do_core_test+0x35/0x1c0 [intel_ifs]
`);
    expect(text).not.toContain("is over");
    expect(text).toContain("The task runs on.");
  });

  it("a task that ends with locks held is named, in the words of old kernels too", () => {
    const text = words(`
[ BUG: lock held at task exit time! ]
-------------------------------------
init/1 is exiting with locks still held!
1 lock held by init/1:
 #0:  (&m){--..}, at: [<c0123456>] f+0x1/0x9
`);
    expect(text).toContain("init/1 still holds &m where it must hold nothing");
    expect(text).toContain("&m taken at: f+0x1/0x9");
  });

  it("nobody waits for ever for rcu_read_lock", () => {
    const held = words(`
WARNING: lock held when returning to user space!
6.9.0 #1 Not tainted
bash/11 is leaving the kernel with locks still held!
1 lock held by bash/11:
 #0: ffff01 (rcu_read_lock){....}-{1:2}, at: f+0x1/0x9
`);
    expect(held).not.toMatch(/waits for ever|Whoever wants/);
    expect(held).toContain("no grace period ends");
    const ring = words(
      cycle({
        a: "rcu_read_lock",
        b: "&b",
        wants: ["lock_acquire+0x1/0x9", "outer+0x5/0x9"],
        before: ["lock_acquire+0x1/0x9", "_raw_spin_lock+0x1/0x9", "other+0x1/0x9"],
      }),
    );
    expect(ring).not.toContain("each waits for the next");
    expect(ring).not.toContain("takes rcu_read_lock");
  });

  it("spin_lock_bh() is not said for fs_reclaim", () => {
    const text = words(inconsistent("SOFTIRQ-ON-W", "IN-SOFTIRQ-W", "fs_reclaim"));
    expect(text).not.toContain("spin_lock");
    expect(text).toContain("GFP_ATOMIC");
  });

  it('"a soft interrupt", not "an soft interrupt"', () => {
    const text = words(inconsistent("SOFTIRQ-ON-W", "IN-SOFTIRQ-W", "&l"));
    expect(text).toContain("in a soft interrupt (inner+0x1/0x9)");
    expect(text).not.toContain("an soft");
    expect(text).toContain("spin_lock_bh()");
  });

  it.each([
    ["HARDIRQ-ON-W", "IN-HARDIRQ-W", "in an interrupt", "spin_lock_irqsave()"],
    ["IN-HARDIRQ-W", "HARDIRQ-ON-R", "with interrupts on", "read_lock_irqsave()"],
    ["HARDIRQ-ON-W", "IN-HARDIRQ-R", "in an interrupt", "write_lock_irqsave()"],
    ["SOFTIRQ-ON-R", "IN-SOFTIRQ-W", "in a soft interrupt", "read_lock_bh()"],
    ["HARDIRQ-ON-R", "IN-HARDIRQ-R", "in an interrupt", "Both only read"],
    ["RECLAIM_FS-ON-W", "IN-RECLAIM_FS-W", "in memory reclaim", "memalloc_nofs_save()"],
    ["INITIAL USE", "IN-NMI", "in an NMI", "nothing keeps an NMI out"],
  ])("the context of {%s} -> {%s} is named", (from, to, context, remedy) => {
    const text = words(inconsistent(from, to, "&l"));
    expect(text).toContain(context);
    expect(text).toContain(remedy);
    expect(text).toContain("earlier+0x1/0x9");
  });

  it("no writer is needed in between where one of the two writes", () => {
    expect(words(inconsistent("HARDIRQ-ON-R", "IN-HARDIRQ-W", "&l"))).not.toContain("in between");
  });

  it("an inlined helper (lock_acquire.part.0) is not named as the place", () => {
    const text = words(
      cycle({
        a: "&a",
        b: "&b",
        wants: [
          "__lock_acquire.constprop.0+0x1/0x9",
          "lock_acquire.part.0+0x1/0x9",
          "spin_lock include/linux/spinlock.h:363 [inline]",
          "outer.isra.0.cold+0x5/0x9",
        ],
        before: ["lock_acquire.part.0+0x1/0x9", "_raw_spin_lock+0x1/0x9", "other+0x1/0x9"],
      }),
    );
    expect(text).not.toMatch(/lock_acquire|\.part|\.constprop|\.isra|\.cold|spin_lock /);
    expect(text).toContain("&a at outer\n");
    expect(text).toContain("other takes &b");
  });

  it("a frame of another processor is not the culprit", () => {
    const log = cycle({
      a: "&a",
      b: "&b",
      wants: ["lock_acquire+0x1/0x9", "outer+0x5/0x9"],
      before: ["lock_acquire+0x1/0x9"],
    });
    const other = "NMI backtrace for cpu 1\nCall Trace:\n innocent+0x1/0x9\n";
    const text = words(log.replace("\n-> #0", `${other}\n-> #0`));
    expect(text).not.toContain("innocent");
    expect(text).toContain("somebody takes &b");
  });

  it("__might_fault is not named as who takes mmap_lock: the function that copies is, and it may fault", () => {
    const text = words(
      cycle({
        a: "&mm->mmap_lock",
        b: "&migf->lock",
        wants: ["__lock_acquire+0x1/0x9", "lock_acquire+0x1/0x9", "__might_fault+0x1/0x9"].concat(
          "_copy_to_user+0x1/0x9",
          "data_read+0x5/0x9",
        ),
        before: ["lock_acquire+0x1/0x9", "mutex_lock_nested+0x1/0x9", "other+0x1/0x9"],
      }).replace("at: data_read+0x5/0x9", "at: __might_fault+0x1/0x9"),
    );
    expect(text).not.toContain("might_fault");
    expect(text).toContain("t/1 may fault in copy_to_user, which takes &mm->mmap_lock");
    expect(text).toContain("&mm->mmap_lock at data_read+0x5/0x9");
  });

  it("a sleep in copy_from_user under a spinlock: the function that copies is named, and not __might_fault", () => {
    const text = words(`
BUG: sleeping function called from invalid context at include/linux/uaccess.h:162
in_atomic(): 1, irqs_disabled(): 0, non_block: 0, pid: 321, name: qemu
preempt_count: 1, expected: 0
1 lock held by qemu/321:
 #0: ffff01 (&dev->lock){+.+.}-{2:2}, at: data_open+0x2/0x9
CPU: 0 PID: 321 Comm: qemu Not tainted 6.1.0 #1
Call Trace:
 <TASK>
 dump_stack_lvl+0x1/0x9
 __might_resched+0x1/0x9
 __might_fault+0x1/0x9
 _copy_from_user+0x1/0x9
 data_write+0x5/0x9
 vfs_write+0x1/0x9
 </TASK>
`);
    expect(text).not.toContain("might_fault");
    expect(text).toContain("Where: data_write+0x5/0x9 and vfs_write+0x1/0x9");
    expect(text).toContain("Held: &dev->lock (data_open+0x2/0x9).");
  });

  it("the same report twice, from a console and a dmesg, is explained once", () => {
    const console_ = splat("abba");
    const dmesg = console_.replaceAll(/^/gm, "[   58.257433] ");
    const [one, ...more] = parseKernelLog(`${console_}\n${dmesg}`);
    expect(more).toEqual([]);
    expect(one!.again).toHaveLength(1);
    expect(explainSplat(one!)).toContain(`The same report again: line ${one!.again[0]!}.`);
  });

  it("a torn report is told from one of a sort that is not explained", () => {
    const cut = only(splat("abba").split("\n").slice(0, 20).join("\n"));
    expect(cut).toMatchObject({ status: "torn", problem: undefined });
    expect(explainSplat(cut)).toContain("the dependency chain is missing: cut off by the end of the log");
    expect(only("WARNING: chain_key collision\n")).toMatchObject({ status: "unsupported" });
    const oops = `${splat("abba").split("\n").slice(0, 20).join("\n")}\n------------[ cut here ]------------\n`;
    expect(only(oops).missing).toContain("cut off by other output");
  });

  it("a table of CPU0 and CPU1 that contradicts the chain is said to", () => {
    const stacks = {
      wants: ["lock_acquire+0x1/0x9", "outer+0x5/0x9"],
      before: ["lock_acquire+0x1/0x9", "other+0x1/0x9"],
    };
    expect(only(cycle({ a: "&a", b: "&b", ...stacks })).notes).toEqual([]);
    const wrong = ["lock(&c);", "lock(&a);", "lock(&b);", "lock(&a);"];
    expect(only(cycle({ a: "&a", b: "&b", ...stacks, table: wrong })).notes).toEqual([
      expect.stringContaining(
        "contradicts its own chain: it has &c, &a, &b and &a, and from the chain follows &b, &a, &b and &a",
      ),
    ]);
    const torn = ["lock(&b);", "lock(&a);"];
    expect(only(cycle({ a: "&a", b: "&b", ...stacks, table: torn })).notes[0]).toContain(
      "is torn: 2 of its 4",
    );
  });
});

describe("hung tasks and the locks of the system", () => {
  const log = `
INFO: task a:11 blocked for more than 143 seconds.
      Not tainted 6.9.0 #1
task:a state:D stack:0 pid:11
Call Trace:
 __schedule+0x1/0x9
 schedule+0x1/0x9
 schedule_preempt_disabled+0x1/0x9
 __mutex_lock+0x1/0x9
 first+0x1/0x9
INFO: task b:12 blocked for more than 143 seconds.
Call Trace:
 __schedule+0x1/0x9
 schedule_preempt_disabled+0x1/0x9
 __mutex_lock+0x1/0x9
 second+0x1/0x9
INFO: task c:13 blocked for more than 143 seconds.
Call Trace:
 __schedule+0x1/0x9
 io_schedule+0x1/0x9
 third+0x1/0x9

Showing all locks held in the system:
2 locks held by a/11:
 #0: ffff01 (&x){+.+.}-{4:4}, at: first+0x0/0x9
 #1: ffff02 (&y){+.+.}-{4:4}, at: first+0x1/0x9
2 locks held by b/12:
 #0: ffff02 (&y){+.+.}-{4:4}, at: second+0x0/0x9
 #1: ffff01 (&x){+.+.}-{4:4}, at: second+0x1/0x9

=============================================
`;
  it("are one report: who waits for which lock, and the ring that they form", () => {
    const one = only(log);
    const text = explainSplat(one);
    expect(text).toContain(
      "a/11 has been blocked for more than 143 s in first+0x1/0x9. It waits for &y (ffff02)",
    );
    expect(text).toContain(
      "c/13 has been blocked for more than 143 s in third+0x1/0x9. It waits for something that is no lock",
    );
    expect(text).toContain("in a ring, and none ever goes on: a/11 and b/12.");
    expect(splatJson(one).graph!.edges).toContainEqual({
      from: "&y ffff02",
      to: "b/12",
      label: ["in its list"],
      culprit: false,
    });
  });

  it("without the list, who holds what is said to be unknown", () => {
    const text = words(log.slice(0, log.indexOf("Showing")));
    expect(text).not.toContain("It waits for");
    expect(text).toContain("does not have the list of all locks held");
  });
});
