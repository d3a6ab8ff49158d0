import { describe, expect, it } from "vitest";
import { explore, formatReport, replay, type Body, type Exploration } from "@vfiokit/explore";

/** Tasks share nothing but what is watched. */
const plainFields = "none";

interface Outcomes {
  readonly outcomes: readonly string[];
  readonly executions: number;
  readonly unknown: readonly string[];
}

/** Everything that tasks note, in any execution. */
async function outcomesOf(
  body: (x: Exploration, note: (text: string) => void) => (() => string) | undefined | void,
  strategy: "exhaustive" | "all" = "exhaustive",
): Promise<Outcomes> {
  const seen = new Set<string>();
  const { executions, failures, unknown } = await explore(
    (x) => {
      const notes: string[] = [];
      const end = body(x, (text) => void notes.push(text));
      x.finally(() => void seen.add([...notes.sort(), end?.() ?? ""].join(" ")));
    },
    { strategy, plainFields, keepGoing: true },
  );
  expect(failures).toEqual([]);
  return { outcomes: [...seen].sort(), executions, unknown };
}

class Account {
  balance = 0;
  limit: number | undefined;
  owner = { name: "ann" };
  history: number[] = [1, 2];
  readonly tags = new Set(["new"]);
  readonly rates = new Map([["eur", 1]]);

  get worth(): number {
    return this.balance * 2;
  }
  set worth(value: number) {
    this.balance = value / 2;
  }
  add(value: number): void {
    this.balance += value;
  }
}

type Use = (account: Account) => unknown;

/** One task looks, another changes: who comes first makes a difference. */
const related: Record<string, readonly [look: Use, change: Use]> = {
  "a field": [(a) => a.balance, (a) => (a.balance = 5)],
  "a field, by a method": [(a) => a.balance, (a) => a.add(5)],
  "a field, by a getter and a setter": [(a) => a.worth, (a) => (a.worth = 10)],
  "a field of an object in it": [(a) => a.owner.name, (a) => (a.owner.name = "bob")],
  "an object in it": [(a) => a.owner.name, (a) => (a.owner = { name: "bob" })],
  "a field that is not there yet": [(a) => a.limit ?? "none", (a) => (a.limit = 5)],
  "whether a field is there (in)": [(a) => "extra" in a, (a) => Object.assign(a, { extra: 1 })],
  "whether a field is there (hasOwn)": [
    (a) => Object.hasOwn(a, "extra"),
    (a) => Object.assign(a, { extra: 1 }),
  ],
  "which fields there are (keys)": [(a) => Object.keys(a).length, (a) => Object.assign(a, { extra: 1 })],
  "which fields there are (for in)": [
    (a) => {
      let count = 0;
      for (const _ in a) count++;
      return count;
    },
    (a) => Reflect.deleteProperty(a, "balance"),
  ],
  "a copy": [(a) => ({ ...(a as { balance: number }) }).balance, (a) => a.add(5)],
  JSON: [(a) => JSON.stringify(a), (a) => (a.owner.name = "bob")],
  "a field that is deleted": [(a) => a.balance, (a) => Reflect.deleteProperty(a, "balance")],
  "a field that is defined": [(a) => a.balance, (a) => Object.defineProperty(a, "balance", { value: 3 })],
  "what it inherits": [
    (a) => (a as { extra?: number }).extra ?? "none",
    (a) => Object.setPrototypeOf(a, { extra: 1 }) as unknown,
  ],
  "whether it is frozen": [(a) => Object.isFrozen(a.owner), (a) => Object.freeze(a.owner)],
  "whether it can grow": [(a) => Object.isExtensible(a.owner), (a) => Object.preventExtensions(a.owner)],
  "a field that is refused": [
    (a) => Reflect.set(a.owner, "extra", 1),
    (a) => Object.preventExtensions(a.owner),
  ],
  "its class": [
    (a) => Object.getPrototypeOf(a) === Account.prototype,
    (a) => Object.setPrototypeOf(a, {}) as unknown,
  ],
  "an array's length": [(a) => a.history.length, (a) => a.history.push(3)],
  "an array's elements": [(a) => a.history.at(-1), (a) => a.history.push(3)],
  "an array, gone through": [(a) => [...a.history].join(), (a) => (a.history[0] = 9)],
  "an array, searched": [(a) => a.history.includes(9), (a) => (a.history[1] = 9)],
  "an array that is cut": [(a) => a.history[1] ?? "none", (a) => (a.history.length = 1)],
  "an array that is sorted": [(a) => a.history[0], (a) => a.history.sort((x, y) => y - x)],
  "an array that is replaced": [(a) => a.history.join(), (a) => (a.history = [...a.history, 3])],
  "a map's entry": [(a) => a.rates.get("eur"), (a) => a.rates.set("eur", 2)],
  "a map's entry that is not there": [(a) => a.rates.has("usd"), (a) => a.rates.set("usd", 2)],
  "a map's size": [(a) => a.rates.size, (a) => a.rates.delete("eur")],
  "a map, gone through": [(a) => [...a.rates].join(), (a) => a.rates.set("usd", 2)],
  "a map, gone through by forEach": [
    (a) => {
      let sum = 0;
      a.rates.forEach((rate) => (sum += rate));
      return sum;
    },
    (a) => a.rates.set("eur", 2),
  ],
  "a map that is cleared": [(a) => a.rates.get("eur") ?? "none", (a) => a.rates.clear()],
  "a set's member": [(a) => a.tags.has("old"), (a) => a.tags.add("old")],
  "a set's size": [(a) => a.tags.size, (a) => a.tags.add("old")],
  "a set, gone through": [(a) => [...a.tags.values()].join(), (a) => a.tags.delete("new")],
};

const unrelated: Record<string, readonly [Use, Use]> = {
  "different fields": [(a) => (a.balance = 1), (a) => (a.owner.name = "bob")],
  "reads of one field": [(a) => a.balance, (a) => a.worth],
  "different elements": [(a) => (a.history[0] = 3), (a) => (a.history[1] = 4)],
  "different entries": [(a) => a.rates.set("eur", 3), (a) => a.rates.get("usd")],
  "the size, and an entry that stays": [(a) => a.rates.size, (a) => a.rates.set("eur", 3)],
  "different members": [(a) => a.tags.has("x"), (a) => a.tags.delete("new")],
};

const pair =
  (look: Use, change: Use, watched = true) =>
  (x: Exploration, note: (text: string) => void): (() => string) => {
    const account = watched ? x.watch(new Account()) : new Account();
    x.task("looks", async () => {
      await x.step();
      note(String(look(account)));
    });
    x.task("changes", async () => {
      await x.step();
      change(account);
    });
    return () => JSON.stringify(account);
  };

describe("what is watched", () => {
  it.each(Object.entries(related))("both orders are tried of uses of %s", async (_, [look, change]) => {
    const every = await outcomesOf(pair(look, change), "all");
    const found = await outcomesOf(pair(look, change));
    expect(every.outcomes).toHaveLength(2);
    expect(found.outcomes).toEqual(every.outcomes);
    expect(found.unknown).toEqual([]);
    // It is the watching that does it.
    expect((await outcomesOf(pair(look, change, false))).outcomes).toHaveLength(1);
  });

  it.each(Object.entries(unrelated))("one order is enough for %s", async (_, [one, other]) => {
    expect((await outcomesOf(pair(one, other))).executions).toBe(1);
    expect((await outcomesOf(pair(one, other), "all")).executions).toBeGreaterThan(1);
  });

  it("behaves as it does without", async () => {
    await outcomesOf((x) => {
      const inner = { n: 1 };
      const account = x.watch(
        Object.assign(new Account(), { inner, list: [inner], byInner: new Map([[inner, 1]]) }),
      );
      const check = (): void => {
        expect(account).toBeInstanceOf(Account);
        expect(x.watch(account)).toBe(account);
        expect(account.inner).toBe(account.list[0]);
        expect(x.watch(inner)).toBe(account.inner);
        expect(account.list.indexOf(account.inner)).toBe(0);
        expect(account.list.includes(inner)).toBe(true);
        expect(account.byInner.get(account.inner)).toBe(1);
        expect([...account.byInner.keys()][0]).toBe(account.inner);
        expect(Array.isArray(account.history)).toBe(true);
        expect(account.history.map((n) => n + 1)).toEqual([2, 3]);
        expect(Object.keys(account)).toEqual(Object.keys(new Account()).concat("inner", "list", "byInner"));
        expect(account.rates).toBeInstanceOf(Map);
        expect(account.rates.set("eur", 1)).toBe(account.rates);
        account.inner = account.list[0]!;
        expect(Object.getOwnPropertyDescriptor(account, "inner")!.value).toBe(account.inner);
      };
      check();
      x.task("checks", async () => {
        await x.step();
        check();
      });
      x.finally(check);
    });
  });

  it("what a task makes and stores stays the object that it is", async () => {
    const body = (x: Exploration, note: (text: string) => void): void => {
      const page = x.watch({ current: undefined as { shown: boolean } | undefined });
      for (const name of ["a", "b"])
        x.task(name, async () => {
          const request = { shown: false };
          page.current = request;
          await x.step();
          if (page.current !== request) return;
          request.shown = true; // not through the Proxy
          note(name);
        });
      x.task("looks", async () => {
        await x.step();
        note(`${page.current?.shown}`);
      });
    };
    const every = await outcomesOf(body, "all");
    const found = await outcomesOf(body);
    expect(found.outcomes).toEqual(every.outcomes);
    expect(found.outcomes).toContain("a b true ");
    expect(found.unknown).toEqual([]);
  });

  it("invariants look at it", async () => {
    const report = await explore(
      (x) => {
        const pair = x.watch({ left: 0, right: 0 });
        x.task("left", async () => {
          await x.step();
          pair.left = 1;
        });
        x.task("right", async () => {
          await x.step();
          pair.right = 1;
        });
        x.invariant(() => expect(pair.right).toBeLessThanOrEqual(pair.left));
      },
      { plainFields },
    );
    expect(report.failures[0]).toMatchObject({ kind: "assertion" });
  });

  it("after x.pure(), it is all that counts, whatever other tasks may use", async () => {
    const executions = async (use: (account: Account, name: string) => void): Promise<number> => {
      const report = await explore((x) => {
        const account = x.watch(new Account());
        for (const name of ["a", "b"])
          x.task(name, async () => {
            await x.pure();
            await x.pure();
            use(account, name);
          });
      });
      expect(report.verdict).toBe("proved");
      return report.executions;
    };
    const apart = await executions((account, name) => account.rates.set(name, 1).size);
    const nothing = await executions(() => undefined);
    const different = await executions((account, name) =>
      name === "a" ? account.balance++ : account.owner.name,
    );
    expect(different).toBe(nothing);
    expect(apart).toBeGreaterThan(nothing);
  });
});

/** Two tasks that look, wait, and act on what they saw. */
const race =
  (make: (x: Exploration) => { count(): number; set(count: number): void }): Body =>
  (x) => {
    const counter = make(x);
    for (const name of ["a", "b"])
      x.task(name, async () => {
        await x.step();
        const before = counter.count();
        await x.step();
        counter.set(before + 1);
      });
    x.finally(() => expect(counter.count()).toBe(2));
  };

describe("what cannot be seen into makes no proof:", () => {
  const hidden: Record<string, Body> = {
    "private fields": race((x) => {
      class Counter {
        #count = 0;
        count(): number {
          return this.#count;
        }
        set(count: number): void {
          this.#count = count;
        }
      }
      return x.watch(new Counter());
    }),
    "private fields of an object in it": race((x) => {
      class Cell {
        #count = 0;
        read(): number {
          return this.#count;
        }
        write(count: number): void {
          this.#count = count;
        }
      }
      class Counter {
        readonly cell = new Cell();
        count(): number {
          return this.cell.read();
        }
        set(count: number): void {
          this.cell.write(count);
        }
      }
      return x.watch(new Counter());
    }),
    "arrow functions of the constructor's": race((x) => {
      class Counter {
        n = 0;
        count = (): number => this.n;
        set = (count: number): void => void (this.n = count);
      }
      return x.watch(new Counter());
    }),
    "bound methods": race((x) => {
      class Counter {
        n = 0;
        constructor() {
          this.count = this.count.bind(this);
          this.set = this.set.bind(this);
        }
        count(): number {
          return this.n;
        }
        set(count: number): void {
          this.n = count;
        }
      }
      return x.watch(new Counter());
    }),
    "functions that close over a variable": race((x) => {
      let n = 0;
      return x.watch({ count: () => n, set: (count: number) => void (n = count) });
    }),
    "a regular expression": race((x) => {
      const state = x.watch({ at: /x/g });
      return { count: () => state.at.lastIndex, set: (count) => void (state.at.lastIndex = count) };
    }),
    "fields of an error": race((x) => {
      const state = x.watch({ error: Object.assign(new Error("e"), { n: 0 }) });
      return { count: () => state.error.n, set: (count) => void (state.error.n = count) };
    }),
    "private fields of an error": race((x) => {
      class Failed extends Error {
        #n = 0;
        read(): number {
          return this.#n;
        }
        write(n: number): void {
          this.#n = n;
        }
      }
      const state = x.watch({ error: new Failed() });
      return { count: () => state.error.read(), set: (count) => state.error.write(count) };
    }),
    "fields of a promise": race((x) => {
      const state = x.watch({ promise: Object.assign(Promise.resolve(), { n: 0 }) });
      return { count: () => state.promise.n, set: (count) => void (state.promise.n = count) };
    }),
    "fields of a map": race((x) => {
      const map = x.watch(Object.assign(new Map<string, number>(), { n: 0 }));
      return { count: () => map.n, set: (count) => void (map.n = count) };
    }),
    "statics of its constructor": race((x) => {
      class Counter {
        static n = 0;
        kept = true;
      }
      const state = x.watch(new Counter());
      const statics = (): { n: number } => state.constructor as unknown as { n: number };
      return { count: () => statics().n, set: (count) => void (statics().n = count) };
    }),
    "statics of a class in a field": race((x) => {
      const state = x.watch({
        kept: class {
          static n = 0;
          kept = true;
        },
      });
      return { count: () => state.kept.n, set: (count) => void (state.kept.n = count) };
    }),
    "a field of the prototype": race((x) => {
      const prototype = { n: 0 };
      const state = x.watch(Object.create(prototype) as { n: number });
      return { count: () => state.n, set: (count) => void (prototype.n = count) };
    }),
    "an event target": race((x) => {
      const target = x.watch(new EventTarget());
      let n = 0;
      return {
        count: () => (target.dispatchEvent(new Event("count")), n),
        set: (count) => {
          target.dispatchEvent(new Event("set"));
          n = count;
        },
      };
    }),
    "a class that extends Map": race((x) => {
      class Counter extends Map<string, number> {
        count(): number {
          return super.get("n") ?? 0;
        }
        override set(count: number | string): this {
          return super.set("n", Number(count));
        }
      }
      return x.watch(new Counter());
    }),
    "a buffer": race((x) => {
      const state = x.watch({ bytes: new Uint8Array(1) });
      return { count: () => state.bytes[0]!, set: (count) => void (state.bytes[0] = count) };
    }),
    "a date": race((x) => {
      const state = x.watch({ since: new Date(0) });
      return { count: () => state.since.getTime(), set: (count) => void state.since.setTime(count) };
    }),
    "an object that a task has made": race((x) => {
      class Made {
        n = 0;
      }
      const state = x.watch({ made: undefined as Made | undefined });
      return { count: () => (state.made ??= new Made()).n, set: (count) => void (state.made!.n = count) };
    }),
  };
  it.each(Object.entries(hidden))("%s", async (_, body) => {
    for (const strategy of ["exhaustive", "all"] as const) {
      const report = await explore(body, { strategy, plainFields });
      expect(report.verdict, strategy).toBe("failed");
      const again = await replay(body, report.failures[0]!.schedule, { plainFields });
      expect(again.failures.map(({ kind }) => kind)).toEqual(["assertion"]);
    }
  });

  it.each(["a date", "an object with private fields"])("%s, kept by a task for later", async (what) => {
    class Counter {
      #count = 0;
      getTime(): number {
        return this.#count;
      }
      setTime(count: number): void {
        this.#count = count;
      }
    }
    const body = (x: Exploration, note: (text: string) => void): void => {
      const state = x.watch({ kept: what === "a date" ? new Date(0) : new Counter() });
      x.task("looks", async () => {
        const { kept } = state;
        await x.step();
        const first = kept.getTime(); // and nothing else
        await x.step();
        note(`${first}${kept.getTime()}`);
      });
      x.task("changes", async () => {
        const { kept } = state;
        await x.step();
        kept.setTime(5);
      });
    };
    expect((await outcomesOf(body)).outcomes).toEqual(["00 ", "05 ", "55 "]);
    expect((await outcomesOf(body, "all")).outcomes).toEqual(["00 ", "05 ", "55 "]);
  });

  it("an object that is changed past its Proxy: unknown, and by whom", async () => {
    const report = await explore(
      (x) => {
        const plain = { n: 0, list: [] as number[] };
        const watched = x.watch(plain, "plain");
        x.task("ann", async () => {
          await x.step();
          watched.n++;
        });
        x.task("bob", async () => {
          await x.step();
          plain.list.push(1);
        });
      },
      { plainFields },
    );
    expect(report).toMatchObject({ verdict: "unknown" });
    expect(formatReport(report)).toMatch(
      /^UNKNOWN: bob changes plain\.list\[0\] past x\.watch: use what x\.watch returned/,
    );
  });

  it("a signal in it: an abort comes before a look, and after", async () => {
    const body = (x: Exploration, note: (text: string) => void): void => {
      const state = x.watch({ controller: new AbortController() });
      x.task("looks", async () => {
        await x.step();
        note(String(state.controller.signal.aborted));
      });
      x.task("aborts", async () => {
        await x.step();
        state.controller.abort();
      });
    };
    for (const strategy of ["exhaustive", "all"] as const)
      expect((await outcomesOf(body, strategy)).outcomes).toEqual(["false ", "true "]);
  });

  it("what has no fields is refused", async () => {
    for (const value of [Promise.resolve(), new Date(), new Uint8Array(1), () => 1, new AbortController()]) {
      const report = await explore((x) => void x.watch(value));
      expect(report.failures[0]!.message).toMatch(/^x\.watch: .* has no fields that tasks could share/);
    }
  });
});
