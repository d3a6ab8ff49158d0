import { beforeAll, describe, expect, it } from "vitest";
import { bytes, sections, TrackedMemory, trackedMemory, u32, VfioError } from "@vfiokit/core";
import { MigrationState, type DeviceIdentity, type SessionData } from "@vfiokit/core/migration";
import { SectionMigration } from "../../src/migration/section-migration.js";
import { StreamError, StreamReader } from "../../src/migration/stream.js";
import { CRC, concat, forge, HEADER, records } from "./forge.js";

const { STOP, STOP_COPY, RESUMING, RUNNING, PRE_COPY, ERROR } = MigrationState;

const identity: DeviceIdentity = {
  vendor: 0x1b36,
  device: 1,
  subsystemVendor: 0x1b36,
  subsystemDevice: 1,
  classCode: 0x058000,
  revision: 0,
};

const DISK = 1000;

/** A device with a register, a little queue and a disk, and nothing of PCI around it: its images have about 4 KiB. */
class Device {
  value = 0;
  queue: Uint8Array = new Uint8Array(0);
  readonly disk = new TrackedMemory(DISK);
  running = true;
  readonly migration: SectionMigration;

  constructor(of: DeviceIdentity = identity, generation = 0) {
    const host = {
      name: "device",
      generation,
      stopFunction: () => void (this.running = false),
      runFunction: () => void (this.running = true),
    };
    const state = sections({
      value: u32(
        () => this.value,
        (value) => (this.value = value),
        { valid: (value) => value < 1000 },
      ),
      queue: bytes(
        { max: 2000 },
        () => this.queue,
        (queue) => (this.queue = queue),
      ),
      disk: trackedMemory(this.disk),
    });
    this.migration = new SectionMigration(host, of, state);
  }

  fill(): this {
    this.value = 42;
    this.queue = new Uint8Array(1800).map((_, i) => i * 5);
    this.disk.fill(0x42);
    return this;
  }

  get untouched(): boolean {
    return this.value === 0 && this.queue.length === 0 && this.disk.bytes.indexOf(0x42) < 0;
  }

  /** All that it holds, as text. */
  get content(): string {
    return `${this.value} ${this.queue.join()} ${this.disk.bytes.join()}`;
  }

  /** As a reset does. */
  reset(): void {
    this.migration.migrationResetState();
    this.value = 0;
    this.queue = new Uint8Array(0);
    this.disk.clear();
  }
}

function drain(session: SessionData): Uint8Array {
  const buffer = new Uint8Array(100_000);
  return buffer.slice(0, session.read!(buffer, undefined as never) as number);
}

/** An image of format 1. */
function stopCopy(device = new Device().fill()): Uint8Array {
  return drain(device.migration.migrationSetState(STOP, STOP_COPY)!);
}

/** One of format 2, with the disk's page in it twice. */
function preCopy(device = new Device().fill()): Uint8Array {
  const session = device.migration.migrationSetState(RUNNING, PRE_COPY)!;
  const first = drain(session);
  device.disk.fill(0x43, 100, 200);
  device.migration.migrationSetState(PRE_COPY, STOP_COPY);
  return concat(first, drain(session));
}

interface Outcome {
  readonly rule: string;
  readonly state: MigrationState;
}

/** Loads a stream, in pieces, as a client does, and says what became of it. The device is as new before and after. */
function load(device: Device, pieces: readonly Uint8Array[], check: (outcome: Outcome) => void): void {
  const { migration } = device;
  const session = migration.migrationSetState(STOP, RESUMING)!;
  device.running = false;
  let rule = "accepted";
  let state: MigrationState = STOP;
  try {
    for (const piece of pieces) void session.write!(piece, undefined as never);
    migration.migrationSetState(RESUMING, STOP);
  } catch (error) {
    if (!(error instanceof VfioError) || error.code !== "EINVAL") throw error;
    if (!isRefusedAgain(migration)) expect.fail("a client that goes on all the same is not refused again");
    rule = error instanceof StreamError ? error.rule : "content";
    state = migration.migrationGetState();
  }
  check({ rule, state });
  device.reset();
}

function isRefusedAgain(migration: SectionMigration): boolean {
  try {
    migration.migrationSetState(RESUMING, STOP);
    return false;
  } catch (error) {
    return error instanceof VfioError && error.code === "EINVAL";
  }
}

/** "Untouched in RESUMING, or in ERROR with nothing but memory changed; never running." */
function expectRefused(device: Device, { rule, state }: Outcome, what: string): void {
  if (rule === "accepted") expect.fail(`${what}: accepted`);
  if (device.running) expect.fail(`${what}: it runs`);
  if (
    state === RESUMING ? device.untouched : state === ERROR && device.value === 0 && device.queue.length === 0
  )
    return;
  expect.fail(`${what}: ${rule} in state ${state}, with value ${device.value}`);
}

const formats = { 1: stopCopy, 2: preCopy };

describe.each([1, 2] as const)("a stream of format %i", (format) => {
  let stream: Uint8Array;
  beforeAll(() => {
    stream = formats[format]();
  });

  it("loads as it is", () => {
    expect(stream.length).toBeGreaterThan(2500);
    expect(stream.length).toBeLessThan(4500);
    const device = new Device();
    load(device, [stream], ({ rule }) => {
      expect(rule).toBe("accepted");
      expect([device.value, device.queue.length, device.disk.bytes[0]]).toEqual([42, 1800, 0x42]);
      expect(device.disk.bytes[150]).toBe(format === 1 ? 0x42 : 0x43);
    });
  });

  it("is refused with any single bit flipped", { timeout: 120_000 }, () => {
    const device = new Device();
    const rules = new Set<string>();
    const flipped = stream.slice();
    for (let bit = 0; bit < stream.length * 8; bit++) {
      flipped[bit >> 3]! ^= 1 << (bit & 7);
      load(device, [flipped], (outcome) => {
        expectRefused(device, outcome, `bit ${bit & 7} of byte ${bit >> 3}`);
        rules.add(outcome.rule);
      });
      flipped[bit >> 3]! ^= 1 << (bit & 7);
    }
    expect([...rules].sort()).toEqual(["damaged", "incomplete", "not-a-stream"]);
  });

  it("is refused when it is cut anywhere", () => {
    const device = new Device();
    for (let length = 0; length < stream.length; length++) {
      load(device, [stream.subarray(0, length)], (outcome) => {
        expectRefused(device, outcome, `after ${length} bytes`);
        expect(outcome.rule).toBe("incomplete");
      });
    }
  });

  it("is refused with two records swapped, one repeated or left out", () => {
    const device = new Device();
    const parts = records(stream);
    for (let i = 0; i < parts.length; i++) {
      load(device, parts.toSpliced(i, 1), (outcome) => expectRefused(device, outcome, `without ${i}`));
      for (let j = i + 1; j < parts.length; j++) {
        const swapped = parts.with(i, parts[j]!).with(j, parts[i]!);
        load(device, swapped, (outcome) => {
          expectRefused(device, outcome, `${i} and ${j} swapped`);
          expect(outcome.rule).toBe(i === 0 ? "not-a-stream" : "out-of-order");
        });
      }
      if (i === 0) continue; // a second BEGN starts over
      load(device, parts.toSpliced(i, 0, parts[i]!), (outcome) => {
        expectRefused(device, outcome, `${i} twice`);
        expect(outcome.rule).toBe("out-of-order");
      });
    }
  });

  it("is refused with any record of another image of the same device in it", () => {
    const device = new Device();
    const others = records(formats[format](new Device(identity, 1).fill()));
    const parts = records(stream);
    for (let i = 1; i < parts.length; i++) {
      load(device, parts.with(i, others[i]!), (outcome) => {
        expectRefused(device, outcome, `record ${i} of another image`);
        expect(outcome.rule).toBe("damaged");
      });
    }
  });

  it("is refused by another device, untouched", () => {
    const device = new Device({ ...identity, subsystemDevice: 2 });
    load(device, [stream], (outcome) => {
      expect(outcome).toEqual({ rule: "other-device", state: RESUMING });
      expect(device.untouched).toBe(true);
    });
  });

  it.each<[string, (parts: [string, Uint8Array][]) => void, string]>([
    ["its format", (parts) => new DataView(parts[0]![1].buffer).setUint16(8, 3, true), "newer-format"],
    [
      "a version of fields",
      (parts) => new DataView(bodyOf(parts, "value").buffer).setUint32(0, 2, true),
      "content",
    ],
    [
      "a version of memory",
      (parts) => new DataView(bodyOf(parts, "disk").buffer).setUint32(0, 2, true),
      "other-memory",
    ],
    ["a section", (parts) => bodyOf(parts, "value").set(new TextEncoder().encode("zalue"), 16), "content"],
    ["memory", (parts) => bodyOf(parts, "disk").set(new TextEncoder().encode("dusk"), 16), "disk"],
    ["a value", (parts) => parts[indexOf(parts, "value") + 1]![1].set([0xff, 0xff]), "content"],
  ])("from the future is refused: %s is not known here", (_, change, rule) => {
    const parts = parsed(stream);
    change(parts);
    const device = new Device();
    load(device, [forge(...parts)], (outcome) => {
      expectRefused(device, outcome, "from the future");
      const unknownMemory = format === 1 ? "content" : "other-memory";
      expect(outcome.rule).toBe(rule === "disk" ? unknownMemory : rule);
    });
  });
});

/** A stream as [type, body] of each record. */
function parsed(stream: Uint8Array): [string, Uint8Array][] {
  return records(stream).map((record) => [
    String.fromCharCode(...record.subarray(0, 4)),
    record.slice(HEADER, record.length - CRC),
  ]);
}

function indexOf(parts: readonly [string, Uint8Array][], name: string): number {
  return parts.findIndex(
    ([type, body]) => type === "SECT" && String.fromCharCode(...body.subarray(16)) === name,
  );
}

function bodyOf(parts: readonly [string, Uint8Array][], name: string): Uint8Array {
  return parts[indexOf(parts, name)]![1];
}

describe("any stream", () => {
  /** mulberry32: a number below `limit`. */
  function randomNumbers(seed: number): (limit: number) => number {
    let state = seed;
    return (limit) => {
      state = (state + 0x6d2b79f5) | 0;
      let mixed = Math.imul(state ^ (state >>> 15), state | 1);
      mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
      return ((mixed ^ (mixed >>> 14)) >>> 0) % limit;
    };
  }

  /** Bytes that differ from `bytes` in a few bits. */
  function flipBits(bytes: Uint8Array, below: (limit: number) => number): Uint8Array {
    const changed = bytes.slice();
    for (let flips = 1 + below(4); flips > 0 && changed.length > 0; flips--) {
      const at = below(3) === 0 ? below(Math.min(changed.length, 24)) : below(changed.length);
      changed[at]! ^= 1 << below(8);
    }
    return changed;
  }

  /** Replaces, repeats, moves or removes parts of a list. */
  function shuffle<T>(parts: readonly T[], others: readonly T[], below: (limit: number) => number): T[] {
    const mixed = [...parts];
    for (let changes = below(3); changes > 0; changes--) {
      const [at, other] = [below(mixed.length + 1), others[below(others.length)]!];
      if (below(3) === 0) mixed.splice(at, 1);
      else if (below(2) === 0) mixed.splice(at, 0, mixed[below(mixed.length)] ?? other);
      else mixed.splice(at, below(2), other);
    }
    return mixed;
  }

  it("is loaded or refused, 100,000 of them, and nothing else happens", { timeout: 300_000 }, () => {
    const below = randomNumbers(20261122);
    const images = [stopCopy(), preCopy(), stopCopy(new Device(identity, 7))];
    const contents = images.map((image) => {
      const target = new Device();
      let content = "";
      load(target, [image], () => (content = target.content));
      return content;
    });
    const taken = images.map(records);
    const bodies = images.map(parsed);
    const pick = <T>(list: readonly T[]) => list[below(list.length)]!;

    const FORGED = 3;
    function stream(kind: number): Uint8Array {
      switch (kind) {
        case 0: // damaged on the way
          return flipBits(pick(images), below);
        case 1: // cut, and another follows: also the same source's, which starts over
          return concat(pick(images).subarray(0, below(3000)), pick(images));
        case 2: // records in disorder
          return concat(...shuffle(pick(taken), pick(taken), below));
        case FORGED: // the same, by somebody who can count, and calculate checksums
          return forge(...shuffle(pick(bodies), pick(bodies), below));
        default: {
          // and who changes what is in them
          const parts = shuffle(pick(bodies), pick(bodies), below);
          const at = below(parts.length);
          return forge(
            ...parts.map(([type, body], i) => [type, i === at ? flipBits(body, below) : body] as const),
          );
        }
      }
    }

    const device = new Device();
    const seen = new Map<string, number>();
    for (let count = 0; count < 100_000; count++) {
      const kind = below(5);
      const bytes = stream(kind);
      const cut = below(bytes.length + 1);
      load(device, [bytes.subarray(0, cut), bytes.subarray(cut)], (outcome) => {
        seen.set(outcome.rule, (seen.get(outcome.rule) ?? 0) + 1);
        if (outcome.rule !== "accepted") expectRefused(device, outcome, `stream ${count}`);
        // Who cannot make checksums cannot make a mixture of images that is taken for one.
        else if (kind < FORGED && !contents.includes(device.content))
          expect.fail(`stream ${count} was taken for an image that nobody made`);
      });
    }
    // It was worth it: every rule was broken, and not everything was refused.
    expect([...seen.keys()].sort()).toEqual(
      [
        "accepted",
        "content",
        "damaged",
        "incomplete",
        "malformed",
        "newer-format",
        "not-a-stream",
        "other-device",
        "other-memory",
        "out-of-order",
        "too-large",
      ].sort(),
    );
  });

  it("costs its reader what docs/migration-stream.md says, whatever it announces", () => {
    const below = randomNumbers(6);
    const bodies = [stopCopy(), preCopy()].map(parsed);
    const limit = 3000;
    const record = HEADER + 16 + 64 * 1024 + CRC + 64;
    let most = 0;
    for (let count = 0; count < 5_000; count++) {
      const parts = shuffle(bodies[below(2)]!, bodies[below(2)]!, below).map(
        ([type, body]) => [type, below(4) === 0 ? flipBits(body, below) : body] as const,
      );
      const disk = new TrackedMemory(DISK);
      const memory = { version: 1, size: DISK, bytes: disk.bytes, tracked: disk, write: () => undefined };
      const reader = new StreamReader(identity, { bytes: limit, memories: new Map([["disk", memory]]) });
      const bytes = forge(...parts);
      try {
        for (let at = 0; at < bytes.length; at += 500) {
          reader.push(bytes.subarray(at, at + 500));
          most = Math.max(most, reader.held);
        }
      } catch (error) {
        if (!(error instanceof StreamError)) throw error;
      }
      most = Math.max(most, reader.held);
    }
    expect(most).toBeGreaterThan(limit / 2);
    expect(most).toBeLessThan(record + limit + 4096);
  });
});
