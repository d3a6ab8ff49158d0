import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { VfioError } from "@vfiokit/core";
import {
  hasSession,
  isSupported,
  MigrationFlags,
  MigrationState,
  migrationStateName,
  nextState,
  type MigrationStateName,
} from "../../src/migration/fsm.js";

const { ERROR, STOP, RUNNING, STOP_COPY, RESUMING, RUNNING_P2P, PRE_COPY, PRE_COPY_P2P } = MigrationState;
const states = Object.values(MigrationState);
const allFlags = MigrationFlags.STOP_COPY | MigrationFlags.P2P | MigrationFlags.PRE_COPY;

/** Every arc from `from` to `to`, by names: ["PRE_COPY", "RUNNING", "STOP"]. */
function path(from: MigrationState, to: MigrationState, flags: number): string[] {
  const visited = [from];
  let current = from;
  while (current !== to) {
    current = nextState(current, to, flags);
    if (visited.includes(current)) throw new Error(`loop at ${migrationStateName(current)}`);
    visited.push(current);
  }
  return visited.map(migrationStateName);
}

/**
 * The rules, stated a second time and in another way: an exhaustive search of all simple paths.
 * VFIO uAPI, enum vfio_device_mig_state: what a device with all optional states implements.
 */
const uapiArcs: [MigrationStateName, MigrationStateName][] = [
  ["PRE_COPY", "PRE_COPY_P2P"],
  ["PRE_COPY", "RUNNING"],
  ["PRE_COPY_P2P", "PRE_COPY"],
  ["PRE_COPY_P2P", "RUNNING_P2P"],
  ["PRE_COPY_P2P", "STOP_COPY"],
  ["RESUMING", "STOP"],
  ["RUNNING", "PRE_COPY"],
  ["RUNNING", "RUNNING_P2P"],
  ["RUNNING_P2P", "PRE_COPY_P2P"],
  ["RUNNING_P2P", "RUNNING"],
  ["RUNNING_P2P", "STOP"],
  ["STOP", "RESUMING"],
  ["STOP", "RUNNING_P2P"],
  ["STOP", "STOP_COPY"],
  ["STOP_COPY", "STOP"],
];
const optional = {
  RUNNING_P2P: MigrationFlags.P2P,
  PRE_COPY: MigrationFlags.PRE_COPY,
  PRE_COPY_P2P: MigrationFlags.P2P | MigrationFlags.PRE_COPY,
} as Partial<Record<MigrationStateName, number>>;
const savingGroup = ["PRE_COPY", "PRE_COPY_P2P", "STOP_COPY"];

function pathByRules(
  from: MigrationStateName,
  to: MigrationStateName,
  flags: number,
): MigrationStateName[] | "EINVAL" {
  const has = (name: MigrationStateName) => (flags & (optional[name] ?? 0)) === (optional[name] ?? 0);
  if ((flags & MigrationFlags.STOP_COPY) === 0) return "EINVAL"; // uAPI: STOP_COPY is mandatory
  if (!has(from) || !has(to) || from === "ERROR" || to === "ERROR") return "EINVAL";
  if (from === "STOP_COPY" && (to === "PRE_COPY" || to === "PRE_COPY_P2P")) return "EINVAL";

  const found: MigrationStateName[][] = [];
  const walk = (sofar: MigrationStateName[]): void => {
    const here = sofar.at(-1)!;
    if (here === to) found.push(sofar);
    else
      for (const [a, b] of uapiArcs) {
        if (a === here && !sofar.includes(b)) walk([...sofar, b]);
      }
  };
  walk([from]);
  const interiorSaving = (p: string[]) => p.slice(1, -1).filter((s) => savingGroup.includes(s)).length;
  found.sort((a, b) => a.length - b.length || interiorSaving(a) - interiorSaving(b));
  return found[0]!.filter(has);
}

describe("migration states", () => {
  it("have the uAPI's numbers and names", () => {
    expect(MigrationState).toEqual({
      ERROR: 0,
      STOP: 1,
      RUNNING: 2,
      STOP_COPY: 3,
      RESUMING: 4,
      RUNNING_P2P: 5,
      PRE_COPY: 6,
      PRE_COPY_P2P: 7,
    });
    expect(states.map(migrationStateName)).toEqual(Object.keys(MigrationState));
    expect(migrationStateName(12)).toBe("state 12");
  });

  it("exist on a device only with the flags they need", () => {
    expect(states.filter((s) => isSupported(s, 0))).toEqual([ERROR]);
    expect(states.filter((s) => isSupported(s, 1))).toEqual([ERROR, STOP, RUNNING, STOP_COPY, RESUMING]);
    expect(states.filter((s) => isSupported(s, 3))).toEqual([
      ERROR,
      STOP,
      RUNNING,
      STOP_COPY,
      RESUMING,
      RUNNING_P2P,
    ]);
    expect(states.filter((s) => isSupported(s, 5))).toEqual([
      ERROR,
      STOP,
      RUNNING,
      STOP_COPY,
      RESUMING,
      PRE_COPY,
    ]);
    expect(states.filter((s) => isSupported(s, 7))).toEqual(states);
    expect(isSupported(8, 7)).toBe(false);
    expect(isSupported(-1, 7)).toBe(false);
    expect(isSupported(1.5, 7)).toBe(false);
  });
});

describe("next state", () => {
  it("follows the uAPI's rules for every pair of states under every combination of flags", () => {
    let checked = 0;
    for (let flags = 0; flags <= allFlags; flags++) {
      for (const from of states) {
        for (const to of states) {
          const expected = pathByRules(
            migrationStateName(from) as MigrationStateName,
            migrationStateName(to) as MigrationStateName,
            flags,
          );
          const label = `${migrationStateName(from)} to ${migrationStateName(to)}, flags ${flags}`;
          if (expected === "EINVAL") {
            expect(() => nextState(from, to, flags), label).toThrow(VfioError);
            expect(() => nextState(from, to, flags), label).toThrow(/^EINVAL/);
          } else {
            expect(path(from, to, flags), label).toEqual(expected);
          }
          checked++;
        }
      }
    }
    expect(checked).toBe(8 * 8 * 8);
  });

  // What the comment in drivers/vfio/vfio_main.c lists as the result for a device with all optional states.
  it.each([
    [PRE_COPY, "PRE_COPY PRE_COPY_P2P STOP_COPY"],
    [PRE_COPY, "PRE_COPY RUNNING RUNNING_P2P"],
    [PRE_COPY, "PRE_COPY RUNNING RUNNING_P2P STOP"],
    [PRE_COPY, "PRE_COPY RUNNING RUNNING_P2P STOP RESUMING"],
    [PRE_COPY_P2P, "PRE_COPY_P2P RUNNING_P2P RUNNING"],
    [PRE_COPY_P2P, "PRE_COPY_P2P RUNNING_P2P STOP"],
    [PRE_COPY_P2P, "PRE_COPY_P2P RUNNING_P2P STOP RESUMING"],
    [RESUMING, "RESUMING STOP RUNNING_P2P"],
    [RESUMING, "RESUMING STOP RUNNING_P2P PRE_COPY_P2P"],
    [RESUMING, "RESUMING STOP RUNNING_P2P RUNNING"],
    [RESUMING, "RESUMING STOP RUNNING_P2P RUNNING PRE_COPY"],
    [RESUMING, "RESUMING STOP STOP_COPY"],
    [RUNNING, "RUNNING RUNNING_P2P PRE_COPY_P2P"],
    [RUNNING, "RUNNING RUNNING_P2P STOP"],
    [RUNNING, "RUNNING RUNNING_P2P STOP RESUMING"],
    [RUNNING, "RUNNING RUNNING_P2P STOP STOP_COPY"],
    [RUNNING_P2P, "RUNNING_P2P RUNNING PRE_COPY"],
    [RUNNING_P2P, "RUNNING_P2P STOP RESUMING"],
    [RUNNING_P2P, "RUNNING_P2P STOP STOP_COPY"],
    [STOP, "STOP RUNNING_P2P PRE_COPY_P2P"],
    [STOP, "STOP RUNNING_P2P RUNNING"],
    [STOP, "STOP RUNNING_P2P RUNNING PRE_COPY"],
    [STOP_COPY, "STOP_COPY STOP RESUMING"],
    [STOP_COPY, "STOP_COPY STOP RUNNING_P2P"],
    [STOP_COPY, "STOP_COPY STOP RUNNING_P2P RUNNING"],
  ])("%s: goes %s", (from, expected) => {
    const to = MigrationState[expected.split(" ").at(-1) as MigrationStateName];
    expect(path(from, to, allFlags).join(" ")).toBe(expected);
  });

  it("skips the optional states that a device lacks", () => {
    expect(path(RUNNING, STOP_COPY, MigrationFlags.STOP_COPY)).toEqual(["RUNNING", "STOP", "STOP_COPY"]);
    expect(path(PRE_COPY, STOP_COPY, MigrationFlags.STOP_COPY | MigrationFlags.PRE_COPY)).toEqual([
      "PRE_COPY",
      "STOP_COPY",
    ]);
  });

  it("says why there is no way", () => {
    expect(() => nextState(STOP_COPY, PRE_COPY, 7)).toThrow(
      "no migration arc leads from STOP_COPY to PRE_COPY",
    );
    expect(() => nextState(ERROR, RUNNING, 7)).toThrow("only a reset leads out of it");
    expect(() => nextState(RUNNING, ERROR, 7)).toThrow("ERROR cannot be asked for");
    expect(() => nextState(RUNNING, 12, 7)).toThrow("state 12: this device has no such state");
    expect(() => nextState(RUNNING, PRE_COPY, 1)).toThrow("PRE_COPY: this device has no such state");
  });
});

describe("a real kernel (mtty of Linux 7.3, flags 7)", () => {
  interface Answer {
    readonly from: MigrationStateName;
    readonly to: MigrationStateName | "OUT_OF_RANGE";
    readonly errno: number;
    readonly state: MigrationStateName;
    readonly newfd: number;
  }
  const text = readFileSync(new URL("data/mtty-linux-7.3.txt", import.meta.url), "utf8");
  const answers = [...text.matchAll(/^arc (\w+) (\w+) errno=(\d+) state=(\w+) newfd=(\d)$/gm)].map(
    ([, from, to, errno, state, newfd]) =>
      ({ from, to, errno: Number(errno), state, newfd: Number(newfd) }) as Answer,
  );

  it("was asked for every pair of states it can be in, and for numbers that are none", () => {
    expect(answers).toHaveLength(7 * (8 + 2));
  });

  it.each(answers)("answers $from to $to with errno $errno in $state: so does the table", (answer) => {
    // mtty checks a received image on leaving RESUMING and refuses an incomplete one, as the uAPI asks; nothing
    // had been written into it.
    const refusedByTheDevice = (from: MigrationState, to: MigrationState) => from === RESUMING && to === STOP;

    let state: MigrationState = MigrationState[answer.from];
    const target = answer.to === "OUT_OF_RANGE" ? states.length : MigrationState[answer.to];
    let errno = 0;
    let newfd = hasSession(state); // the test program counted the fd of the starting state too
    try {
      while (state !== target) {
        const next = nextState(state, target, allFlags);
        if (refusedByTheDevice(state, next)) {
          errno = 22;
          break;
        }
        state = next;
        newfd ||= hasSession(state);
      }
    } catch (error) {
      errno = (error as VfioError).errno;
    }
    expect({ errno, state: migrationStateName(state), newfd: Number(newfd) }).toEqual({
      errno: answer.errno,
      state: answer.state,
      newfd: answer.newfd,
    });
  });
});
