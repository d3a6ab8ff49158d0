import { RwSemaphore } from "@vfiokit/lockdep";
import { critical, type Classic, type World } from "./world.js";

const free: ReturnType<typeof critical> = (_, run) => run();

function must(holds: boolean, what: string): void {
  if (!holds) throw new Error(what);
}

/** Two deposits; each reads the balance, and writes it back with its own added. */
const lostUpdate = (world: World, section: typeof free) => {
  const balance = world.cell("balance", 0);
  for (const name of ["ann", "bob"])
    world.task(name, (task) => section(task, async () => balance.set((await balance.get()) + 10)));
  return () => must(balance.current === 20, "a deposit is lost");
};

/** One seat, three who would book it. */
const checkThenAct = (world: World, section: typeof free) => {
  const free = world.cell("free", 1);
  let booked = 0;
  for (const name of ["ann", "bob", "cid"])
    world.task(name, (task) =>
      section(task, async () => {
        const left = await free.get();
        if (left === 0) return;
        await free.set(left - 1);
        booked++;
      }),
    );
  return () => must(booked === 1, "the seat is booked twice");
};

/** A consumer looks, and then waits to be woken; the wake-up comes in between. */
const lostWakeUp = (world: World, looksAgain: boolean) => {
  const ready = world.cell("ready", false);
  const sleeper = world.cell<(() => void) | undefined>("sleeper", undefined);
  world.task("consumer", async () => {
    if (await ready.get()) return;
    let wake!: () => void;
    const woken = new Promise<void>((resolve) => (wake = resolve));
    await sleeper.set(wake);
    if (looksAgain && (await ready.get())) return;
    await woken;
  });
  world.task("producer", async () => {
    await ready.set(true);
    (await sleeper.get())?.();
  });
  return () => undefined;
};

/** A writer that comes when nobody reads, and readers that do not wait for it. */
const writerStarvation = (world: World) => {
  const readers = world.cell("readers", 0);
  let read = 0;
  for (const name of ["reader 1", "reader 2"])
    world.task(name, async () => {
      for (let i = 0; i < 2; i++) {
        await readers.set(readers.current + 1);
        await readers.set(readers.current - 1);
        read++;
      }
    });
  let overtaken = 0;
  world.task("writer", async () => {
    const before = read;
    for (let tries = 0; tries < 3 && (await readers.get()) > 0; tries++) overtaken = read - before;
  });
  return () => must(overtaken < 3, `${overtaken} reads have overtaken the writer`);
};

/** The same readers with a fair lock: those that came after the writer wait for it. */
const writerInTurn = (world: World) => {
  const lock = new RwSemaphore("readers");
  const cell = world.cell("data", 0);
  let read = 0;
  for (const name of ["reader 1", "reader 2"])
    world.task(name, async (task) => {
      for (let i = 0; i < 2; i++) {
        using _ = await lock.read(task);
        await cell.get();
        read++;
      }
    });
  let overtaken = 0;
  world.task("writer", async (task) => {
    await cell.get();
    const before = read;
    using _ = await lock.write(task);
    overtaken = read - before;
  });
  return () => must(overtaken < 3, `${overtaken} reads have overtaken the writer`);
};

interface Entry {
  readonly buffer: string;
}

/**
 * A cache's list of free buffers, without a lock: whoever takes the first one looks again, before it makes the second
 * one the first, whether the first one still is. It can be the first one again.
 */
const aba = (world: World, same: (a: Entry | undefined, b: Entry | undefined) => boolean) => {
  const head = world.cell<Entry | undefined>("head", { buffer: "A" });
  const next = world.cell<Readonly<Record<string, string | undefined>>>("next", { A: "B" });
  const inUse: string[] = [];
  const take = async (): Promise<string | undefined> => {
    for (;;) {
      const first = await head.get();
      if (!first) return undefined;
      const second = (await next.get())[first.buffer];
      if (!same(await head.get(), first)) continue;
      head.current = second === undefined ? undefined : { buffer: second };
      inUse.push(first.buffer);
      return first.buffer;
    }
  };
  const giveBack = async (buffer: string): Promise<void> => {
    inUse.splice(inUse.indexOf(buffer), 1);
    for (;;) {
      const first = await head.get();
      await next.set({ ...next.current, [buffer]: first?.buffer });
      if (!same(await head.get(), first)) continue;
      head.current = { buffer };
      return;
    }
  };
  world.task("one", async () => {
    await take();
    await take();
  });
  world.task("two", async () => {
    const mine = await take();
    await take();
    if (mine !== undefined) await giveBack(mine);
  });
  return () => must(new Set(inUse).size === inUse.length, "a buffer is used twice");
};

/** Three requests for what is not cached yet. */
const cacheStampede = (world: World, section: typeof free) => {
  const cache = world.cell<string | undefined>("cache", undefined);
  let loads = 0;
  for (const name of ["request 1", "request 2", "request 3"])
    world.task(name, (task) =>
      section(task, async () => {
        if ((await cache.get()) !== undefined) return;
        loads++;
        await cache.set("page");
      }),
    );
  return () => must(loads === 1, `the page is loaded ${loads} times`);
};

/** A payment, and its repetition because the first answer was slow. */
const doubleCharge = (world: World, section: typeof free) => {
  const order = world.cell<"open" | "paid">("order", "open");
  const account = world.cell("account", 100);
  for (const name of ["click", "retry"])
    world.task(name, (task) =>
      section(task, async () => {
        if ((await order.get()) === "paid") return;
        await account.set((await account.get()) - 30);
        await order.set("paid");
      }),
    );
  return () => must(account.current === 70, "the customer has paid twice");
};

export const CLASSICS: readonly Classic[] = [
  { name: "lost update", program: (w) => lostUpdate(w, free), mended: (w) => lostUpdate(w, critical()) },
  {
    name: "check-then-act",
    program: (w) => checkThenAct(w, free),
    mended: (w) => checkThenAct(w, critical()),
  },
  { name: "lost wake-up", program: (w) => lostWakeUp(w, false), mended: (w) => lostWakeUp(w, true) },
  { name: "writer starvation", program: writerStarvation, mended: writerInTurn },
  {
    name: "ABA on a cache",
    program: (w) => aba(w, (a, b) => a?.buffer === b?.buffer),
    mended: (w) => aba(w, (a, b) => a === b),
  },
  {
    name: "cache stampede",
    program: (w) => cacheStampede(w, free),
    mended: (w) => cacheStampede(w, critical()),
  },
  {
    name: "double charge",
    program: (w) => doubleCharge(w, free),
    mended: (w) => doubleCharge(w, critical()),
  },
];
