import { replayCounterexample, type CounterexampleLine } from "@vfiokit/lab";
import { lockdep } from "@vfiokit/lockdep";
import { afterEach, describe, expect, it } from "vitest";

afterEach(() => lockdep.reset());

const DEADLOCK = "locked/ioctl/succeeds/one/read-to-client+map-bar@0x5,2x3,1x4";

const told = (lines: readonly CounterexampleLine[]): string[] =>
  lines.map(({ task, text }) => `${task}: ${text}`);

describe("a counterexample", () => {
  it("tells every wait of a deadlock, for a mutex and for an rwsem", async () => {
    const { lines, violations } = await replayCounterexample(DEADLOCK);
    expect(told(lines)).toEqual([
      "ioctl: takes card.0's memoryLock for writing",
      "ioctl: tries and takes card.0's deviceLock",
      "ioctl: card.0: the device is reset",
      "ioctl: takes card.0's stateMutex",
      "map-bar: takes card.0's mmapLock for writing",
      "map-bar: waits for card.0's memoryLock, held by ioctl",
      "read-to-client: takes session.lock",
      "ioctl: waits for session.lock, held by read-to-client",
      "read-to-client: waits for card.0's mmapLock, held by map-bar",
      expect.stringMatching(/^: deadlock: ioctl waits for session.lock/) as string,
    ]);
    expect(violations).toEqual([
      { invariant: "no-deadlock", text: expect.stringMatching(/^ioctl waits for/) as string },
    ]);
  });

  it("says what each line does to which lock", async () => {
    const { lines } = await replayCounterexample(DEADLOCK);
    expect(lines[0]!.lock).toEqual({ what: "takes", lock: "card.0's memoryLock", mode: "write" });
    expect(lines[5]!.lock).toEqual({ what: "waits", lock: "card.0's memoryLock", mode: "read" });
    expect(lines[2]!.lock).toBeUndefined();
  });

  it("tells of a trylock that fails, of a mutex that is taken already, and of locks that are let go", async () => {
    const { lines } = await replayCounterexample(
      "deferred/ioctl/succeeds/one/STOP-STOP_COPY@1x4,0x6,1x10,0x5",
    );
    expect(told(lines)).toContain("ioctl: waits for card.0's stateMutex, held by STOP-STOP_COPY");
    expect(told(lines)).toContain("ioctl: tries card.0's stateMutex, held by STOP-STOP_COPY");
    expect(told(lines)).toContain("ioctl: releases card.0's memoryLock");
  });

  it("tells two tasks of one name apart", async () => {
    const { lines } = await replayCounterexample("locked/ioctl/succeeds/one/ioctl@0x3,1x3,0x9,1x9");
    const tasks = new Set(lines.map(({ task }) => task));
    expect(tasks).toContain("ioctl");
    expect(tasks).toContain("ioctl (2)");
  });

  it("ends with what was violated where no task did it", async () => {
    const { lines } = await replayCounterexample("callback/ioctl/succeeds/one/alone/without-op-off@");
    expect(lines).toEqual([{ task: "", text: "!! bisectable: registration refuses the driver" }]);
  });
});
