import fc from "fast-check";
import { expect, it } from "vitest";
import { explore, type Exploration } from "@vfiokit/explore";

interface Item {
  n: number;
}

class Secret {
  #n = 0;
  bump(): number {
    return ++this.#n;
  }
  read(): number {
    return this.#n;
  }
}

/** What a task keeps, and uses without asking for it again. */
interface Mine {
  item?: Item | undefined;
  since?: Date;
  secret?: Secret;
}

/** What tasks share: of every sort that can be watched. */
class State {
  a = 0;
  b?: number;
  inner = { n: 0 };
  list: number[] = [1, 2];
  readonly map = new Map<string, number>([["x", 1]]);
  readonly set = new Set<string>(["x"]);
  item: Item | undefined;
  items: Item[] = [];
  since = new Date(0);
  readonly secret = new Secret();
}

/** What a piece can do: it tells what it has seen. `mine` is what the task keeps. */
const USES: readonly ((s: State, mine: Mine) => unknown)[] = [
  (s) => s.a++,
  (s) => s.a,
  (s) => (s.b = (s.b ?? 5) + s.a),
  (s) => "b" in s,
  (s) => delete s.b,
  (s) => Object.keys(s).length,
  (s) => s.inner.n++,
  (s) => (s.inner = { n: s.inner.n + 10 }).n,
  (s) => s.list.push(s.list.length),
  (s) => s.list.pop(),
  (s) => s.list.join(),
  (s) => (s.list = s.list.filter((each) => each > 1)).length,
  (s) => (s.list[0] = s.a),
  (s) => s.map.get("x"),
  (s) => s.map.set("y", s.map.size).size,
  (s) => s.map.delete("x"),
  (s) => [...s.map].join(),
  (s) => s.set.has("y"),
  (s) => s.set.add("y").size,
  (s) => s.set.clear(),
  (s, mine) => {
    s.item = mine.item = { n: 1 };
    return undefined;
  },
  (s, mine) => mine.item === s.item,
  (s, mine) => mine.item && ++mine.item.n,
  (s) => s.item && ++s.item.n,
  (s, mine) => (mine.item = s.items[0])?.n,
  (s) => s.items.push({ n: s.items.length }),
  (s) => s.items.reduce((sum, { n }) => sum + n, 0),
  (s) => s.since.getTime(),
  (s) => s.since.setTime(s.since.getTime() + 1),
  (s, mine) => (mine.since = s.since).getTime(),
  (_, mine) => mine.since?.getTime(),
  (_, mine) => mine.since?.setTime(mine.since.getTime() + 1),
  (s, mine) => (s.a > 0 ? (mine.secret = s.secret).read() : "not yet"),
  (_, mine) => mine.secret?.read(),
  (_, mine) => mine.secret?.bump(),
];

type Program = readonly (readonly (readonly number[])[])[]; // uses, by piece, by task

const tasks = (count: number, pieces: number): fc.Arbitrary<Program> => {
  const piece = fc.array(fc.nat(USES.length - 1), { minLength: 1, maxLength: 2 });
  const task = fc.array(piece, { minLength: 1, maxLength: pieces });
  return fc.array(task, { minLength: count, maxLength: count });
};

async function outcomes(program: Program, strategy: "exhaustive" | "all"): Promise<string[]> {
  const seen = new Set<string>();
  const body = (x: Exploration): void => {
    const state = x.watch(new State());
    const notes: string[][] = program.map(() => []);
    for (const [i, pieces] of program.entries())
      x.task(`t${i}`, async () => {
        const mine: Mine = {};
        for (const uses of pieces) {
          await x.step();
          for (const use of uses) notes[i]!.push(String(USES[use]!(state, mine)));
        }
      });
    x.finally(() => {
      seen.add(
        `${JSON.stringify(notes)} ${JSON.stringify(state)} ${[...state.map].join()} ${[...state.set].join()} ${state.secret.read()}`,
      );
    });
  };
  const report = await explore(body, { strategy, plainFields: "none", keepGoing: true });
  expect(report.failures).toEqual([]);
  expect(report.unknown).toEqual([]);
  return [...seen].sort();
}

it(
  "random uses of watched objects: every outcome is reached that all orders reach",
  { timeout: 120_000 },
  async () => {
    const seed = Number(process.env["WATCH_SEED"] ?? Date.now() % 2 ** 31);
    console.log(`WATCH_SEED=${seed}`);
    await fc.assert(
      fc.asyncProperty(fc.oneof(tasks(2, 3), tasks(3, 1)), async (program) => {
        const every = await outcomes(program, "all");
        expect(await outcomes(program, "exhaustive")).toEqual(every);
      }),
      { seed, numRuns: Number(process.env["WATCH_RUNS"] ?? 60) },
    );
  },
);
