import { checkScenario, formatFinding, parseProtocol, ProtocolError } from "@vfiokit/lockdep/protocol";
import { describe, expect, it } from "vitest";

/** A scenario with locks A (mutex) and B (rwsem), and one task. */
const withSteps = (steps: string): string =>
  `scenarios:\n  - name: x\n    locks: { A: { kind: mutex }, B: { kind: rwsem } }\n    tasks: [[${steps}]]\n`;

const refusal = (text: string): string => {
  try {
    parseProtocol(text, "f.yaml");
  } catch (error) {
    if (error instanceof ProtocolError) return error.message;
    throw error;
  }
  throw new Error("it was accepted");
};

describe("a wrong file is refused with line and column", () => {
  const wrong: Record<string, [text: string, message: string]> = {
    "no YAML": ["{", "f.yaml:1:2: Flow map must end with a }"],
    "no scenarios": ["scenarios: []", "f.yaml:1:12: scenarios: Array has too few items (0 < 1)"],
    empty: ["", "f.yaml:1:1: the file: "],
    "a kind of lock that is none": [
      "scenarios:\n  - name: x\n    locks:\n      A: { kind: mutx }\n    tasks: [[[lock, A]]]",
      'f.yaml:4:18: scenarios.0.locks.A.kind: "mutx" is none of "mutex", "rwsem"',
    ],
    "a key that is none": [
      "scenarios:\n  - name: x\n    lokcs: {}\n    locks: {}\n    tasks: [[[lock, A]]]",
      "f.yaml:3:12: scenarios.0.lokcs: is not known here",
    ],
    "an operation that is none": [
      withSteps("[lok, A]"),
      'f.yaml:4:15: scenarios.0.tasks.0.0.0: "lok" is none of "lock", ',
    ],
    "a step without a lock": [
      withSteps("[lock]"),
      "f.yaml:4:14: scenarios.0.tasks.0.0: Array has too few items",
    ],
    "a lock that is not there": [
      withSteps("[lock, C]"),
      'f.yaml:4:21: lock "C": this scenario has no such lock (it has A, B)',
    ],
    "lock of an rwsem": [
      withSteps("[lock, B]"),
      'f.yaml:4:15: "lock" is for a lock of kind mutex, and B is of kind rwsem: use',
    ],
    "read of a mutex": [
      withSteps("[read, A]"),
      'f.yaml:4:15: "read" is for a lock of kind rwsem, and A is of kind mutex',
    ],
    "trylock of an rwsem without a mode": [
      withSteps("[trylock, B]"),
      'f.yaml:4:14: "trylock" of the rwsem B needs a third item',
    ],
    "trylock of a mutex with a mode": [withSteps("[trylock, A, read]"), "f.yaml:4:27: "],
    "a subclass out of range": [
      withSteps("[lock_nested, A, 8]"),
      "f.yaml:4:31: scenarios.0.tasks.0.0.2: 8 is greater than 7",
    ],
    "a third item too many": [
      withSteps("[lock, A, 1]"),
      "f.yaml:4:14: scenarios.0.tasks.0.0: Array has too many items",
    ],
    "two tasks of one name": [
      "scenarios:\n  - name: x\n    locks: { A: { kind: mutex } }\n    tasks:\n      - { name: t, steps: [[lock, A]] }\n      - { name: t, steps: [[lock, A]] }\n",
      'f.yaml:6:9: two tasks of "x" are called "t"',
    ],
  };
  for (const [what, [text, message]] of Object.entries(wrong))
    it(what, () => expect(refusal(text).slice(0, message.length)).toBe(message));
});

describe("a file", () => {
  it("may be JSON", () => {
    const json = JSON.stringify({
      scenarios: [
        {
          name: "ABBA",
          locks: { A: { kind: "mutex", class: "A" }, B: { kind: "rwsem" } },
          tasks: [
            [
              ["lock", "A"],
              ["write", "B"],
              ["unlock", "B"],
              ["unlock", "A"],
            ],
            [
              ["write", "B"],
              ["lock", "A"],
              ["unlock", "A"],
              ["unlock", "B"],
            ],
          ],
          expect: "cycle",
        },
      ],
    });
    const [scenario] = parseProtocol(json, "abba.json").scenarios;
    expect(checkScenario(scenario!)).toMatchObject({ verdict: "cycle", ok: true });
  });

  it("with another verdict than expected fails, and so does a problem where nothing is expected", () => {
    const expecting = (expected: string): boolean =>
      checkScenario(parseProtocol(`${withSteps("[lock, A]")}${expected}`, "f").scenarios[0]!).ok;
    expect(expecting("    expect: held-at-exit\n")).toBe(true);
    expect(expecting("    expect: clean\n")).toBe(false);
    expect(expecting("")).toBe(false);
  });

  it("gives its steps' places, comments and task names to the report; without one, the place in the file", () => {
    const text = `
scenarios:
  - name: x
    locks: { A: { kind: mutex }, B: { kind: mutex } }
    tasks:
      - name: reset
        steps:
          - { do: [lock, A], at: "reset_done drivers/x.c:12" }
          - { do: [lock, B], at: "reset_done (drivers/x.c:13)", comment: closes the session }
          - [unlock, B]
          - [unlock, A]
      - name: migrate
        steps: [[lock, B], [lock, A], [unlock, A], [unlock, B]]
`;
    const report = formatFinding(checkScenario(parseProtocol(text, "p.yaml").scenarios[0]!).findings[0]!);
    expect(report).toContain("       reset_done (drivers/x.c:13)  # closes the session\n");
    expect(report).toMatch(
      /migrate\/\d+ is trying to acquire lock:\nA \(A\)\{\+\.\+\.\}-\{4:4\}, at: migrate \(p\.yaml:13:28\)/,
    );
  });

  it("one scenario knows nothing of another, nor of the program's own locks", () => {
    const one = withSteps("[lock, A], [write, B], [unlock, B], [unlock, A]");
    const other = one
      .replace("scenarios:\n", "")
      .replace(/\[lock, A\], \[write, B\]/, "[write, B], [lock, A]");
    const results = parseProtocol(one + other, "f").scenarios.map((each) => checkScenario(each).verdict);
    expect(results).toEqual(["clean", "clean"]);
  });
});
