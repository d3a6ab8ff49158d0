import { describe, expect, it } from "vitest";
import { explore, replay, type Exploration } from "@vfiokit/explore";
import { Mutex, type Task } from "@vfiokit/lockdep";

// The commonest bug of async code, as it has been reported of many projects: a check, an await, and an act on what the
// check has seen. The classes are ordinary ones: they know nothing of who explores them.

/** What is slow. */
type Io = (what: string) => Promise<void>;

function must(holds: boolean, what: string): void {
  if (!holds) throw new Error(what);
}

/** OAuth: a server takes each refresh token once. */
class Session {
  valid = "r0";
  token = "r0";
  async refresh(io: Io): Promise<void> {
    const sent = this.token;
    await io("POST /token");
    must(sent === this.valid, "invalid_grant");
    this.valid = `${sent}+`;
    this.token = this.valid;
  }
}

/** A folder is made if it is not there. */
class Folders {
  readonly names = new Set<string>();
  async ensure(name: string, io: Io): Promise<void> {
    if (this.names.has(name)) return;
    await io("mkdir");
    must(!this.names.has(name), "EEXIST");
    this.names.add(name);
  }
}

/** A connection that is opened when it is first needed. */
class Client {
  connection: { id: number } | undefined;
  opened = 0;
  async connect(io: Io): Promise<void> {
    if (this.connection) return;
    await io("connect");
    this.connection = { id: ++this.opened };
  }
}

/** Goods are sold while there are any. */
class Shop {
  readonly stock = new Map([["seat", 1]]);
  readonly sold: string[] = [];
  async buy(what: string, io: Io): Promise<void> {
    const left = this.stock.get(what) ?? 0;
    if (left === 0) return;
    await io("charge the card");
    this.stock.set(what, left - 1);
    this.sold.push(what);
  }
}

/** A page is rendered if it is not in the cache. */
class Pages {
  readonly cache = new Map<string, { html: string }>();
  renders = 0;
  async get(path: string, io: Io): Promise<string> {
    const cached = this.cache.get(path);
    if (cached) return cached.html;
    this.renders++;
    await io("render");
    const html = `<p>${path}</p>`;
    this.cache.set(path, { html });
    return html;
  }
}

/** A request that comes twice is done once. */
class Payments {
  readonly done: string[] = [];
  balance = 100;
  async pay(key: string, io: Io): Promise<void> {
    if (this.done.includes(key)) return;
    await io("bank");
    this.balance -= 30;
    this.done.push(key);
  }
}

/** No more connections than allowed. */
class Pool {
  readonly connections: { id: number }[] = [];
  static readonly LIMIT = 1;
  async open(io: Io): Promise<void> {
    if (this.connections.length >= Pool.LIMIT) return;
    await io("open");
    this.connections.push({ id: this.connections.length });
  }
}

/** What has gathered is sent, and forgotten. */
class Batch {
  pending = ["a", "b"];
  sent: string[] = [];
  async flush(io: Io): Promise<void> {
    const items = this.pending;
    if (items.length === 0) return;
    await io("send");
    this.sent.push(...items);
    this.pending = [];
  }
  add(item: string): void {
    this.pending.push(item);
  }
}

/** One of these: two tasks that do the same, and what must hold in the end. */
interface Model {
  readonly make: () => object;
  readonly act: (it: never, io: Io) => Promise<unknown>;
  readonly holds: (it: never) => void;
}

const model = <T extends object>(
  make: () => T,
  act: (it: T, io: Io) => Promise<unknown>,
  holds: (it: T) => void,
): Model => ({ make, act, holds });

const MODELS: Record<string, Model> = {
  "a refresh token is used twice": model(
    () => new Session(),
    (it, io) => it.refresh(io),
    () => undefined,
  ),
  "a folder is made twice": model(
    () => new Folders(),
    (it, io) => it.ensure("out", io),
    () => undefined,
  ),
  "a connection is opened twice": model(
    () => new Client(),
    (it, io) => it.connect(io),
    ({ opened }) => must(opened === 1, `opened ${opened} times`),
  ),
  "the last seat is sold twice": model(
    () => new Shop(),
    (it, io) => it.buy("seat", io),
    ({ sold }) => must(sold.length === 1, `sold ${sold.length} of one`),
  ),
  "a page is rendered twice": model(
    () => new Pages(),
    (it, io) => it.get("/", io),
    ({ renders }) => must(renders === 1, `rendered ${renders} times`),
  ),
  "a payment is made twice": model(
    () => new Payments(),
    (it, io) => it.pay("order 7", io),
    ({ balance }) => must(balance === 70, `${balance} left`),
  ),
  "a pool grows beyond its limit": model(
    () => new Pool(),
    (it, io) => it.open(io),
    ({ connections }) => must(connections.length <= Pool.LIMIT, `${connections.length} connections`),
  ),
  "a batch is sent twice": model(
    () => new Batch(),
    (it, io) => it.flush(io),
    ({ sent }) => must(sent.join() === "a,b", `sent ${sent.join()}`),
  ),
};

describe("check, await, act, in ordinary classes:", () => {
  const program =
    ({ make, act, holds }: Model, lock: boolean) =>
    (x: Exploration): void => {
      const it = x.watch(make()) as never;
      const mutex = new Mutex("mended");
      for (const name of ["ann", "bob"])
        x.task(name, async (task: Task) => {
          using _ = lock ? await mutex.acquire(task) : undefined;
          await act(it, (what) => x.step(what));
        });
      x.finally(() => {
        holds(it);
      });
    };

  it.each(Object.entries(MODELS))("%s", async (_, each) => {
    const options = { plainFields: "none" } as const;
    for (const strategy of ["exhaustive", "all"] as const) {
      const broken = program(each, false);
      const report = await explore(broken, { ...options, strategy });
      expect(report.verdict, strategy).toBe("failed");
      const again = await replay(broken, report.failures[0]!.schedule, options);
      expect(again.failures).toEqual(report.failures);
      // With a lock around it, there is no such order.
      expect(await explore(program(each, true), { ...options, strategy })).toMatchObject({
        verdict: "proved",
      });
    }
    // Nobody sees the classes' fields without x.watch: what is promised is not kept, and nothing is found.
    const unseen = await explore((x) => program(each, false)({ ...x, watch: (object) => object }), options);
    expect(unseen.verdict).toBe("proved");
  });

  it("a late answer overwrites a later one", async () => {
    class Search {
      shown = "";
      wanted = "";
    }
    const broken = (checks: boolean) => (x: Exploration) => {
      const search = x.watch(new Search());
      x.task("user", async () => {
        for (const text of ["a", "ab"]) {
          search.wanted = text;
          x.task(`fetch ${text}`, async () => {
            await x.step("response");
            if (!checks || search.wanted === text) search.shown = text;
          });
          await x.step("types");
        }
      });
      x.finally(() => {
        must(search.shown === search.wanted, `wanted ${search.wanted}, shown ${search.shown}`);
      });
    };
    for (const strategy of ["exhaustive", "all"] as const) {
      const options = { plainFields: "none", strategy } as const;
      const report = await explore(broken(false), options);
      expect(report.failures[0]).toMatchObject({ message: "wanted ab, shown a" });
      const again = await replay(broken(false), report.failures[0]!.schedule, options);
      expect(again.failures).toEqual(report.failures);
      expect(await explore(broken(true), options)).toMatchObject({ verdict: "proved" });
    }
  });
});
