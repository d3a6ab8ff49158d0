import { lockdep } from "@vfiokit/lockdep";
import { afterEach, describe, expect, it } from "vitest";
import { catalogue, choose, designs, runLab, runPart, type Elsewhere, type LabReport } from "@vfiokit/lab";
import { generator } from "../../explore/src/random.js";

afterEach(() => lockdep.reset());

const some = designs.filter(({ name }) => ["callback", "generation"].includes(name));

/** Runs parts in an order drawn by lot, each with nothing but what is sent to it. */
function elsewhere(seed: number): Elsewhere & { readonly done: string[] } {
  const random = generator(seed);
  const done: string[] = [];
  const waiting: (() => Promise<void>)[] = [];
  let working = false;
  const work = async (): Promise<void> => {
    working = true;
    await Promise.resolve(); // lets others hand in more
    for (let next; (next = waiting.splice(Math.floor(random() * waiting.length), 1)[0]);) await next();
    working = false;
  };
  return {
    parts: 10,
    done,
    run: (part, signal) =>
      new Promise((resolve, reject) => {
        waiting.push(async () => {
          try {
            const result = await runPart(sent(part), signal);
            done.push(`${part.design}/${part.scenario}`);
            resolve(sent(result));
          } catch (error) {
            reject(error instanceof Error ? error : new Error(String(error)));
          }
        });
        if (!working) void work();
      }),
  };
}

const sent = <T>(value: T): T => JSON.parse(JSON.stringify(value)) as T;
const told = ({ matrix, findings, executions }: LabReport) => ({ matrix, findings, executions });

describe("a run whose parts are explored elsewhere", () => {
  const scenarios = [
    ...choose("ioctl/succeeds/one/STOP_COPY-STOP+sysfs"),
    ...choose("ioctl/fails/one/read"),
    ...choose("hot-reset/succeeds/two/read"),
    ...choose("ioctl/succeeds/one/alone/without-op-off"),
  ];

  it(
    "comes to the same, whoever is first, with large scenarios in several parts",
    { timeout: 300_000 },
    async () => {
      const here = await runLab({ designs: some, scenarios });
      expect(Object.values(here.findings["callback"]!)).not.toHaveLength(0);
      const there = elsewhere(1);
      expect(told(await runLab({ designs: some, scenarios, elsewhere: there }))).toEqual(told(here));
      const large = there.done.filter((name) => name.endsWith("STOP_COPY-STOP+sysfs"));
      expect(large.length).toBeGreaterThan(2 * some.length);
    },
  );

  it("ends when it is told to, and says of how much it is", { timeout: 300_000 }, async () => {
    const interrupt = new AbortController();
    const there = elsewhere(1);
    const { matrix } = await runLab({
      designs: some,
      scenarios: catalogue,
      elsewhere: there,
      signal: interrupt.signal,
      onProgress: ({ done }) => done === 5 && interrupt.abort(),
    });
    expect(there.done.length).toBeLessThan(40);
    expect(matrix["generation"]!["no-deadlock"]).toMatchObject({ verdict: "pass", exhausted: false });
  });

  it("believes no counterexample that it has not seen", async () => {
    const liar: Elsewhere = {
      parts: 1,
      async run(part) {
        const result = await runPart(part);
        const made = { kind: "assertion", message: "no-crash: made up", schedule: "0*3", trace: [] } as const;
        return { ...result, failures: [made] };
      },
    };
    await expect(
      runLab({ designs: some, scenarios: choose("ioctl/fails/one/read"), elsewhere: liar }),
    ).rejects.toThrow(/does not come to what was said of it: no-crash: made up/);
  });

  it("fails as a part fails, and for what is not known", async () => {
    const run = (): Promise<never> => Promise.reject(new Error("no worker is left"));
    await expect(runLab({ designs: some, scenarios, elsewhere: { parts: 2, run } })).rejects.toThrow(
      "no worker",
    );
    const job = {
      prefix: [],
      sleep: {},
      knowledge: { locks: {}, aborted: [], identified: false, gaps: false, footprints: {} },
      executions: 1,
    };
    const part = { design: "generation", scenario: "ioctl/fails/one/read", bounds: {}, job };
    expect(() => runPart({ ...part, design: "best" })).toThrow('no design is called "best"');
    expect(() => runPart({ ...part, scenario: "best" })).toThrow('no scenario is called "best"');
  });
});
