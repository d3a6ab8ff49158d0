import { lockdep } from "@vfiokit/lockdep";
import { runPart, type LabPart, type LabPartResult } from "@vfiokit/lab";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { checkPart, checkResult } from "../../src/lab/queue/schema.js";

const NOTHING = { locks: {}, aborted: [], identified: false, gaps: false, footprints: {} };
const first: LabPart = {
  design: "callback",
  scenario: "ioctl/succeeds/one/STOP_COPY-STOP+sysfs",
  bounds: {},
  job: { prefix: [], sleep: {}, knowledge: NOTHING, executions: 20 },
};

const sent = <T>(value: T): T => JSON.parse(JSON.stringify(value)) as T;

describe("what workers and runs send each other", () => {
  beforeEach(() => lockdep.configure({ mode: "off" }));
  afterEach(() => lockdep.reset());

  /** A part below the first one, which has much to say. */
  const below = async (): Promise<{ part: LabPart; result: LabPartResult }> => {
    const { places, news } = await runPart(first);
    const at = places.length - 1;
    const part: LabPart = {
      ...first,
      job: {
        prefix: places.map(({ chosen }) => chosen),
        sleep: places[at]!.sleep,
        knowledge: news,
        executions: 20,
      },
    };
    return { part, result: await runPart(part) };
  };

  it("is accepted as it is", async () => {
    const { part, result } = await below();
    expect(checkPart(sent(part))).toEqual(part);
    expect(checkResult(sent(result), part)).toEqual(result);
    expect(result.failures.length).toBeGreaterThan(0);
    expect(result.demands.length).toBeGreaterThan(0);
  });

  it("is refused when anything is missing, of another kind, or too much", async () => {
    const { part, result } = await below();
    for (const [value, check] of [
      [part, checkPart],
      [result, (each: unknown) => checkResult(each, part)],
    ] as const) {
      const paths = pathsOf(sent(value));
      expect(paths.length).toBeGreaterThan(7);
      for (const path of paths) {
        for (const wrong of [undefined, { toString: 1 }, -1.5]) {
          const changed = sent(value) as never;
          set(changed, path, wrong);
          expect(() => check(sent(changed)), `${path.join(".")} = ${JSON.stringify(wrong)}`).toThrow(/^#/);
        }
      }
      expect(() => check({ ...value, constructor: "x" })).toThrow();
    }
  });

  it("is refused when it says what cannot be", async () => {
    const { part, result } = await below();
    const demand = { depth: part.job.prefix.length, all: ["0"] };
    expect(() => checkResult({ ...result, demands: [demand] }, part)).toThrow(/^demands: depth/);
    expect(() => checkResult({ ...result, executions: 21 }, part)).toThrow(/^executions: 21 of at most 20/);
    const failure = { ...result.failures[0]!, schedule: "0*999999 0*999999" };
    expect(() => checkResult({ ...result, failures: [failure] }, part)).toThrow(
      /a schedule of 1999998 events and a trace of \d+/,
    );
  });
});

/** Required properties, two levels deep. */
function pathsOf(value: object): string[][] {
  return Object.entries(value).flatMap(([name, inner]: [string, unknown]) =>
    name === "job" ? [[name], ...Object.keys(inner as object).map((each) => [name, each])] : [[name]],
  );
}

function set(value: Record<string, unknown>, [name, ...rest]: string[], to: unknown): void {
  if (rest.length > 0) set(value[name!] as Record<string, unknown>, rest, to);
  else value[name!] = to;
}
