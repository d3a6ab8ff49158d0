import type { Instr, Mode, Program } from "./program.js";

const take = (
  lock: string,
  mode: Mode,
  inside: number,
  more: { caught?: boolean; signal?: string } = {},
): Instr => ({
  ...{ do: "take", lock, mode, skip: inside, caught: more.caught ?? false },
  ...(more.signal !== undefined && { signal: more.signal }),
});
const release = (lock: string, mode: Mode): Instr => ({ do: "release", lock, mode });
const lock = (name: string, ...inside: Instr[]): Instr[] => [
  take(name, "write", inside.length + 1, { caught: true }),
  ...inside,
  release(name, "write"),
];
const step: Instr = { do: "step" };

function program(plain: boolean, ...tasks: (readonly Instr[])[]): Program {
  return { plain, tasks: tasks.map((code) => ({ late: false, code })) };
}

/** What the explorer once did not see, or saw too much of, by its symptom. */
export const CASES: readonly (readonly [symptom: string, program: Program])[] = [
  [
    "a join while a mutex is held hides who comes to the mutex first",
    program(
      false,
      [{ do: "set", cell: "c0" }],
      lock("m0", { do: "join", task: "a" }),
      lock("m0", { do: "see", cell: "c0" }, { do: "fail", when: "a" }),
    ),
  ],
  [
    "a trylock between a hand-over of a mutex and the turn of its new owner",
    program(false, lock("m0", step, { do: "append", cell: "c0" }), lock("m0", { do: "append", cell: "c1" }), [
      step,
      { do: "try", lock: "m0", mode: "write", skip: 1 },
      release("m0", "write"),
      { do: "see", cell: "c0" },
      { do: "see", cell: "c1" },
    ]),
  ],
  [
    "a look at the owner of a mutex that was free",
    program(false, lock("m0"), [{ do: "look", lock: "m0", at: "owner" }]),
  ],
  [
    "a look at a mutex's queue",
    program(false, lock("m0", step), lock("m0"), [{ do: "look", lock: "m0", at: "waiters" }]),
  ],
  [
    "a trylock of a mutex that is taken and let go in one piece",
    program(false, lock("m0"), [{ do: "try", lock: "m0", mode: "write", skip: 0 }]),
  ],
  [
    "a trylock of an rwsem between the wake-up of readers and their turns",
    program(
      false,
      [take("r0", "write", 2), step, release("r0", "write")],
      [take("r0", "read", 1), release("r0", "read")],
      [
        take("r0", "read", 1),
        release("r0", "read"),
        { do: "try", lock: "r0", mode: "write", skip: 1 },
        release("r0", "write"),
      ],
    ),
  ],
  [
    "a trylock of an rwsem after a downgrade that wakes readers",
    program(
      false,
      [take("r0", "write", 3), step, { do: "downgrade", lock: "r0" }, release("r0", "read")],
      [take("r0", "read", 1), release("r0", "read")],
      [{ do: "try", lock: "r0", mode: "write", skip: 1 }, release("r0", "write")],
    ),
  ],
  [
    "a waiter that is cancelled and would be handed the lock, in one piece",
    program(false, lock("m0"), lock("m0", step, { do: "abort", task: "a" })),
  ],
  [
    "a wait that a time-out ends before the lock is let go",
    program(
      false,
      [
        { do: "timer", timer: "t0", ms: 1, act: { do: "cancel", signal: "k0" } },
        take("m0", "write", 1, { caught: true, signal: "k0" }),
        release("m0", "write"),
        { do: "stop", timer: "t0" },
      ],
      lock("m0", { do: "sleep", ms: 1 }),
    ),
  ],
  [
    "a writer that gives up lets the readers behind it in",
    program(
      false,
      [take("r0", "read", 2), step, release("r0", "read")],
      [take("r0", "write", 1, { caught: true, signal: "k0" }), release("r0", "write")],
      [
        take("r0", "read", 1),
        { do: "set", cell: "c0" },
        release("r0", "read"),
        { do: "cancel", signal: "k0" },
      ],
      [{ do: "cancel", signal: "k0" }],
    ),
  ],
  [
    "promises of one's own: each task waits for what the other does later",
    program(
      false,
      [
        { do: "await", promise: "d0" },
        { do: "resolve", promise: "d1" },
      ],
      [
        { do: "await", promise: "d1" },
        { do: "resolve", promise: "d0" },
      ],
    ),
  ],
  [
    "a place that an await of no lock makes: another task comes between",
    program(
      true,
      [
        { do: "see", field: "p0" },
        { do: "gap", how: "helper" },
        { do: "put", field: "p0" },
      ],
      [{ do: "append", field: "p0" }],
    ),
  ],
  [
    "plain fields between steps: check, then act",
    program(
      true,
      ...["a", "b"].map((): Instr[] => [
        step,
        { do: "see", field: "p0" },
        { do: "fail", when: "b" },
        step,
        { do: "put", field: "p0" },
      ]),
    ),
  ],
  [
    "plain fields before the first step",
    program(true, [{ do: "append", field: "p0" }], [{ do: "append", field: "p0" }]),
  ],
  [
    "a deadlock elsewhere in the program hides an order of two trylocks",
    program(
      false,
      [
        { do: "try", lock: "m0", mode: "write", skip: 3 },
        take("r0", "write", 1),
        release("r0", "write"),
        release("m0", "write"),
      ],
      [
        { do: "try", lock: "r0", mode: "read", skip: 4 },
        take("m0", "write", 2),
        step,
        release("m0", "write"),
        release("r0", "read"),
      ],
    ),
  ],
  [
    "the clock is looked at before a timer fires, and after",
    program(false, [{ do: "now" }], [{ do: "sleep", ms: 1 }]),
  ],
  [
    "reading again behind a writer that waits",
    program(
      false,
      [take("r0", "read", 4), step, take("r0", "read", 1), release("r0", "read"), release("r0", "read")],
      [take("r0", "write", 1), release("r0", "write")],
    ),
  ],
  [
    "a task that a cancelled task's exception ends while it holds a lock",
    program(
      false,
      [take("m0", "write", 3), take("m1", "write", 1), release("m1", "write"), release("m0", "write")],
      [take("m1", "write", 2), { do: "abort", task: "a" }, step, release("m1", "write"), ...lock("m0")],
    ),
  ],
  [
    "a task that is cancelled already comes to a mutex whose owner has not gone on yet",
    program(false, [{ do: "abort", task: "a" }, ...lock("m0")], lock("m0")),
  ],
  [
    "a signal that is aborted already, and a mutex that is never let go",
    program(
      false,
      [{ do: "cancel", signal: "k0" }, take("m1", "write", 1, { signal: "k0" }), release("m1", "write")],
      [take("m1", "write", 0)],
    ),
  ],
  [
    "a signal that two abort: who comes second does nothing in this order",
    program(
      false,
      lock("m0"),
      [take("m0", "write", 1), { do: "abort", task: "b" }],
      [{ do: "abort", task: "b" }],
    ),
  ],
  [
    "a wait that a signal may end, and a trylock that meets its lock taken and not yet gone on",
    program(
      false,
      [{ do: "cancel", signal: "k0" }],
      [take("m1", "write", 1, { signal: "k0" }), release("m1", "write")],
      [
        { do: "try", lock: "m1", mode: "write", skip: 2 },
        step,
        release("m1", "write"),
        { do: "try", lock: "m1", mode: "write", skip: 1 },
        release("m1", "write"),
      ],
    ),
  ],
  [
    "a timer cancels a wait that had the lock already in the order that came first",
    program(
      false,
      lock("m0"),
      [
        { do: "look", lock: "m0", at: "waiters" },
        { do: "timer", timer: "t0", ms: 1, act: { do: "cancel", signal: "k0" } },
      ],
      [take("m0", "write", 1, { caught: true, signal: "k0" }), release("m0", "write")],
    ),
  ],
  [
    "a task whose own timer cancels it, and a look at the queue where it may have been",
    program(
      false,
      [{ do: "timer", timer: "t0", ms: 1, act: { do: "abort", task: "a" } }, ...lock("m0")],
      lock("m0"),
      [{ do: "look", lock: "m0", at: "waiters" }],
    ),
  ],
  [
    "a look at who reads, before somebody does by a trylock",
    program(
      false,
      [{ do: "try", lock: "r0", mode: "read", skip: 2 }, { do: "set", cell: "c0" }, release("r0", "read")],
      [
        { do: "get", cell: "c0" },
        { do: "look", lock: "r0", at: "owner" },
      ],
    ),
  ],
  [
    "a task that is started before an await of who starts it",
    {
      plain: false,
      tasks: [
        {
          late: false,
          code: [
            { do: "start", task: "b" },
            { do: "gap", how: "then" },
            { do: "try", lock: "h1", mode: "receive", skip: 0 },
          ],
        },
        { late: true, code: [take("h1", "send", 0)] },
      ],
    },
  ],
  [
    "a function that has touched nothing when it is called, and something when it is over",
    program(
      false,
      [{ do: "set", cell: "c0" }],
      [{ do: "call" }, { do: "get", cell: "c0" }, { do: "return" }, { do: "see", cell: "c0" }],
    ),
  ],
  [
    "a schedule of awaits that are points, in an order where nobody has to wait",
    program(
      false,
      [
        { do: "await", promise: "d0" },
        { do: "set", cell: "c0" },
      ],
      [
        { do: "resolve", promise: "d0" },
        { do: "get", cell: "c0" },
      ],
    ),
  ],
  [
    "a look at a once that is done, while who ran it has not gone on yet",
    program(
      false,
      [
        { do: "look", lock: "o0", at: "state" },
        { do: "try", lock: "m0", mode: "write", skip: 1 },
        release("m0", "write"),
      ],
      [
        { do: "try", lock: "m0", mode: "write", skip: 3 },
        take("o0", "once", 1, { caught: true }),
        { do: "made", lock: "o0", caught: true },
        release("m0", "write"),
      ],
    ),
  ],
  [
    "a wait whose signal follows that of a task which is cancelled",
    program(
      false,
      [{ do: "abort", task: "a" }],
      [take("b1", "wait", 0)],
      [take("b1", "wait", 0, { caught: true, signal: "any a" })],
    ),
  ],
  [
    "a reader that is cancelled while the writer before it has not gone on yet",
    program(
      false,
      [take("r1", "read", 1, { signal: "k0" }), release("r1", "read")],
      [{ do: "cancel", signal: "k0" }, take("r1", "write", 1, { caught: true }), release("r1", "write")],
    ),
  ],
  [
    "a trylock while the holder awaits a promise of its own that is resolved",
    program(
      false,
      [
        { do: "try", lock: "m0", mode: "write", skip: 3 },
        { do: "resolve", promise: "d0" },
        { do: "await", promise: "d0" },
        release("m0", "write"),
      ],
      [{ do: "try", lock: "m0", mode: "write", skip: 1 }, release("m0", "write")],
    ),
  ],
  [
    "a task takes a mutex twice before the one that keeps it",
    program(
      true,
      [take("m1", "write", 0), take("r1", "write", 1), release("r1", "write")],
      [...lock("m1"), ...lock("m1")],
    ),
  ],
  [
    "two trylocks in a row, each of which meets a lock that was just taken",
    program(
      false,
      [...lock("m0"), take("r0", "write", 1), release("r0", "write")],
      [
        { do: "call" },
        { do: "try", lock: "m0", mode: "write", skip: 1 },
        release("m0", "write"),
        { do: "return" },
        { do: "try", lock: "r0", mode: "write", skip: 1 },
        release("r0", "write"),
      ],
    ),
  ],
  [
    "a look at who holds a semaphore",
    program(
      false,
      [{ do: "look", lock: "s0", at: "owner" }],
      [take("s0", "permit", 1), release("s0", "permit")],
    ),
  ],
  [
    "a wait with a condition is cancelled while another one has the mutex",
    program(
      false,
      [take("m0", "write", 2), take("v0", "wait", 0, { signal: "k0" }), release("m0", "write")],
      lock("m0", { do: "cancel", signal: "k0" }),
    ),
  ],
  [
    "a time limit that is over when a once's runner has woken, and has not gone on yet",
    program(
      false,
      [
        { do: "take", lock: "o0", mode: "once", skip: 1, caught: false, limit: 2 },
        { do: "made", lock: "o0", caught: false },
      ],
      [
        { do: "take", lock: "o0", mode: "once", skip: 2, caught: false },
        { do: "sleep", ms: 1 },
        { do: "made", lock: "o0", caught: false },
      ],
    ),
  ],
  [
    "what a lock throws is caught before any timer can fire",
    program(
      false,
      [{ do: "take", lock: "r1", mode: "write", skip: 0, caught: true, limit: 1 }],
      [
        take("r1", "recursive", 3, { caught: true }),
        take("r1", "read", 1, { caught: true }),
        release("r1", "read"),
        release("r1", "recursive"),
      ],
    ),
  ],
];
