import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { migrate, MigrateError, type MigrateOptions, type MigrateResult } from "@vfiokit/user";
import { fakeEnds, type Fault, type Faults } from "./fakes.js";
import { recorder, usual } from "./support.js";

const kinds: readonly Fault[] = [
  "refused",
  "reset-before",
  "reset-after",
  "killed-before",
  "killed-after",
  "lost-before",
  "lost-after",
];

/** Runs a migration, and checks what has to hold whatever happens. */
async function outcome(faults: Faults, options: Partial<MigrateOptions> = {}) {
  const { source, target } = fakeEnds(faults);
  const seen = recorder();
  let bothRan = false;
  /** What the device was when the source ran last. */
  let last = source.content;
  source.observe = target.observe = () => {
    if (source.runs && target.runs) bothRan = true;
    if (source.runs) last = source.content;
  };
  let result: MigrateResult | undefined;
  let error: unknown;
  try {
    result = await migrate(source, target, { ...usual, ...options }, seen.onEvent);
  } catch (thrown) {
    error = thrown;
  }
  expect(bothRan, "both ran").toBe(false);
  return { source, target, result, error, last, ...seen };
}

type Outcome = Awaited<ReturnType<typeof outcome>>;

/** Exactly one side runs, with the right state, or the message says which, or what to do. */
function checkOutcome({ source, target, result, error, last }: Outcome): void {
  if (result) {
    expect(target.activated).toBe(result.id);
    // A source that is reset and then killed, with its image complete: the image is all that there is.
    const right = source.alive ? [last] : [last, source.stoppedContent];
    expect(right).toContain(target.activatedContent);
    expect(source.runs).toBe(false);
    return;
  }
  if (!(error instanceof MigrateError)) {
    // Before anything was done.
    expect(target.calls.filter((call) => call !== "describe")).toEqual([]);
    expect(source.calls.filter((call) => call !== "describe")).toEqual([]);
    return;
  }
  if (error.runs === "source") {
    expect(source.runs || !source.alive).toBe(true);
    expect(target.runs).toBe(false);
    if (target.alive && target.prepared !== undefined)
      expect(error.message).toMatch(/has not confirmed that it dropped.*--recover source target/);
  }
  if (error.runs === "none") expect(error.message).toMatch(/source (does not run|is gone)/);
  if (error.runs === "unknown") expect(error.message).toContain("vfiokit migrate --recover source target");
}

describe("never both running, never neither without a message", () => {
  it("with no fault: it is migrated", async () => {
    const migrated = await outcome(() => undefined);
    checkOutcome(migrated);
    expect(migrated.result?.status).toBe("migrated");
  });

  it.each(kinds)("one fault at every operation: %s", async (kind) => {
    const { source, target } = await outcome(() => undefined);
    const operations = source.calls.length + target.calls.length;
    for (let at = 0; at < operations; at++) {
      const one = await outcome((operation) => (operation === at ? kind : undefined));
      checkOutcome(one);
      // A device that is reset, once, is migrated all the same, as it is after the reset.
      if (kind.startsWith("reset") && !(one.error instanceof MigrateError)) expect(one.result).toBeDefined();
    }
  });

  it("any number of faults anywhere", async () => {
    const faults = fc.array(fc.record({ at: fc.nat(80), kind: fc.constantFrom(...kinds) }), { maxLength: 6 });
    await fc.assert(
      fc.asyncProperty(faults, fc.nat(5), async (planned, maxRestarts) => {
        const byOperation = new Map(planned.map(({ at, kind }) => [at, kind]));
        checkOutcome(await outcome((operation) => byOperation.get(operation), { maxRestarts }));
      }),
      { numRuns: 3000 },
    );
  });

  it("an activation that nobody has confirmed: nothing more is done, and the message says what is to do", async () => {
    const { source, target, error } = await outcome((_, end, name) =>
      end === "target" && name === "activate" ? "lost-before" : undefined,
    );
    expect(error).toMatchObject({ phase: "activate", runs: "unknown" });
    expect([source.calls.at(-1), target.calls.at(-1)]).toEqual(["give", "activate"]);
    expect([source.given, target.prepared]).toEqual([target.prepared, expect.any(String)]);
  });

  it("cancelled when the target has the whole image, and the source is gone: the target takes over", async () => {
    const abort = new AbortController();
    const { source, target } = fakeEnds();
    const fault = (point: string) => {
      if (!point.startsWith("prepare:prepared")) return;
      source.kill();
      abort.abort();
    };
    const seen = recorder();
    const options = { ...usual, signal: abort.signal, hooks: { fault } };
    expect(await migrate(source, target, options, seen.onEvent)).toMatchObject({ status: "migrated" });
    expect(target.content).toBe("the guest's");
    expect(seen.of("warning").map(({ message }) => message)).toEqual([
      "source: the server has ended: target has the whole image, and takes over",
    ]);
  });

  it("an image that was prepared and is begun again is none: a source that is gone then is lost", async () => {
    let prepared = 0;
    const { error, target } = await outcome((_, end, name) => {
      if (end === "source" && name === "give") return "reset-before";
      if (name === "begin" && ++prepared === 2) return "reset-after";
      return end === "source" && prepared === 2 ? "killed-before" : undefined;
    });
    expect(error).toMatchObject({ runs: "none" });
    expect(target.calls).not.toContain("activate");
  });

  it("cancelled at any point: the source runs, or it is too late and the target does", async () => {
    const points: string[] = [];
    await outcome(() => undefined, { hooks: { fault: (point) => void points.push(point) } });
    expect(points.length).toBeGreaterThan(20);
    for (const cancelAt of points) {
      const abort = new AbortController();
      const fault = (point: string) => {
        if (point === cancelAt) abort.abort();
      };
      const one = await outcome(() => undefined, { signal: abort.signal, hooks: { fault } });
      checkOutcome(one);
      const tooLate = /^(activate|done):/.test(cancelAt);
      expect([cancelAt, one.result !== undefined]).toEqual([cancelAt, tooLate]);
      if (!tooLate) {
        expect(one.source.runs).toBe(true);
        expect(one.error).toMatchObject({ code: "ECANCELED" });
      }
    }
  });
});
