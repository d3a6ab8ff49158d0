import { readdirSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { checkScenario, formatFinding, parseProtocol, PROTOCOL_SCHEMA } from "@vfiokit/lockdep/protocol";
import { describe, expect, it } from "vitest";

const folder = fileURLToPath(new URL("../../protocols/selftest/", import.meta.url));
const load = (name: string): ReturnType<typeof parseProtocol> =>
  parseProtocol(readFileSync(folder + name, "utf8"), name);

describe("Linux's locking self-test, and what it leaves out", () => {
  const files = readdirSync(folder).sort();
  it("has its rows for mutexes and rw-semaphores", () => {
    for (const row of ["aa", "abba", "abbcca", "abcabc", "abbccdda", "abcdbdda", "abcdbcda", "double-unlock"])
      expect(files).toContain(`${row}.yaml`);
  });
  for (const file of files)
    for (const scenario of load(file).scenarios)
      it(`${file}: ${scenario.name}: ${scenario.expect}`, () => {
        expect(scenario.expect).toBeDefined(); // without, the file would prove nothing
        expect(checkScenario(scenario).verdict).toBe(scenario.expect);
      });
});

describe("schedules", () => {
  const scenario = (file: string, name: string) => load(file).scenarios.find((each) => each.name === name)!;
  const found = (file: string, name: string) => checkScenario(scenario(file, name)).findings[0]!;

  it("a chain taken hand over hand in a ring of two hangs with two copies of its task", () => {
    const { schedule } = found("beyond-linux.yaml", "hand over hand in a ring of two");
    expect(schedule!.tasks).toEqual(["task1", "task1 (copy 2)"]);
    const last = schedule!.moves.filter((move) => move.waitsFor !== undefined);
    expect(last.map((move) => move.waitsFor).sort()).toEqual([0, 1]);
  });

  it("in a ring of three, with three", () => {
    const { schedule } = found("beyond-linux.yaml", "hand over hand in a ring of three");
    expect(schedule!.tasks).toHaveLength(3);
    expect(schedule!.moves.filter((move) => move.waitsFor !== undefined)).toHaveLength(3);
  });

  it("readers only hang with a writer in between, which is named", () => {
    const { schedule } = found("mixed-abba.yaml", "rwsem_ABBA2");
    expect(schedule!.tasks).toContain("a writer of X1");
  });

  it("a wrong order that cannot hang is said to be harmless so far", () => {
    const finding = found("beyond-linux.yaml", "a wrong order behind a gate");
    expect(finding).toMatchObject({ harmless: true });
    expect(formatFinding(finding)).toContain("none hangs");
    expect(formatFinding(finding)).toContain("Two of them hold G besides");
  });

  it("every cycle of the self-test has an interleaving that hangs", () => {
    for (const file of readdirSync(folder))
      for (const each of load(file).scenarios)
        if (each.expect === "cycle" && file !== "nested.yaml")
          for (const finding of checkScenario(each).findings)
            expect(finding.schedule !== undefined || finding.harmless, each.name).toBe(true);
  });
});

it("the published JSON Schema is the one in use", () => {
  const published: unknown = JSON.parse(
    readFileSync(new URL("../../protocols/lock-protocol.schema.json", import.meta.url), "utf8"),
  );
  expect(published).toEqual(JSON.parse(JSON.stringify(PROTOCOL_SCHEMA)));
});
