import { describe, expect, it } from "vitest";
import { VfioError } from "@vfiokit/core";
import { isFrom, MigrationState, newHandOverId } from "@vfiokit/core/migration";
import { Task } from "@vfiokit/lockdep";
import { copy, pair, plugIn, transfer, VALUE, type Pair, type Side } from "./hand-over-pair.js";

const { RUNNING, STOP, STOP_COPY, RESUMING } = MigrationState;
const guest = () => new Task("guest");

/** The hand-over up to a step. */
async function upTo(step: "copied" | "prepared" | "given" | "activated"): Promise<Pair> {
  const both = await pair();
  const { from, to, id } = both;
  await copy(both);
  if (step === "copied") return both;
  await to.handOver.prepare(to.task, id);
  if (step === "prepared") return both;
  await from.handOver.give(from.task, id);
  if (step === "given") return both;
  await to.handOver.activate(to.task, id);
  return both;
}

function seen({ box, device, migration, handOver }: Side) {
  const { phase, wasReset } = handOver.status();
  return {
    phase,
    wasReset,
    state: migration.state,
    running: box.running,
    value: box.value,
    resets: device.generation,
  };
}

describe("a hand-over", () => {
  it("goes through prepare, give and activate: then the target runs, and the source is stopped", async () => {
    const { from, to, id } = await upTo("copied");
    expect(seen(from)).toMatchObject({ phase: "none", state: STOP_COPY, running: false });
    expect(seen(to)).toMatchObject({ phase: "none", state: STOP, running: false });
    await to.handOver.prepare(to.task, id);
    const since = expect.stringMatching(/^\d{4}-\d\d-\d\dT[\d:.]+Z$/) as unknown;
    expect(to.handOver.status()).toEqual({ phase: "prepared", id, since, wasReset: false });
    expect(seen(to)).toMatchObject({ state: STOP, running: false, value: VALUE });
    await from.handOver.give(from.task, id, "to");
    expect(from.handOver.status()).toEqual({ phase: "given", id, to: "to", since, wasReset: false });
    expect(seen(from)).toMatchObject({ state: STOP, running: false });
    await to.handOver.activate(to.task, id);
    expect(to.handOver.status()).toEqual({ phase: "none", wasReset: false });
    expect(seen(to)).toMatchObject({ state: RUNNING, running: true, value: VALUE });
    expect(seen(from)).toMatchObject({ phase: "given", state: STOP, running: false });
    expect(to.handOver.outcomeOf(id)).toBe("activated");
  });

  it("back again: discard drops the image, takeBack runs the source", async () => {
    const { from, to, id } = await upTo("given");
    await to.handOver.discard(to.task, id);
    expect(seen(to)).toEqual({
      phase: "none",
      wasReset: false,
      state: RUNNING,
      running: true,
      value: 0,
      resets: 1,
    });
    await from.handOver.takeBack(from.task, id);
    expect(seen(from)).toMatchObject({ phase: "none", state: RUNNING, running: true, value: VALUE });
  });

  it("and on to a third device: a target becomes a source", async () => {
    const first = await upTo("activated");
    const [from, to] = [first.to, plugIn("third")];
    await to.migration.setState(to.task, RESUMING);
    const id = newHandOverId(from.handOver.instance);
    await copy({ from, to, id });
    await to.handOver.prepare(to.task, id);
    await from.handOver.give(from.task, id);
    await to.handOver.activate(to.task, id);
    expect([seen(first.from).running, seen(from).running, seen(to).running]).toEqual([false, false, true]);
    expect(seen(to).value).toBe(VALUE);
  });
});

describe("each step can be repeated", () => {
  it("prepare, give, activate", async () => {
    const { from, to, id } = await upTo("given");
    await to.handOver.prepare(guest(), id);
    await from.handOver.give(guest(), id);
    await to.handOver.activate(guest(), id);
    await to.handOver.activate(guest(), id);
    await from.handOver.give(guest(), id);
    expect([seen(from).running, seen(to).running]).toEqual([false, true]);
  });

  it("discard, takeBack; of a device that runs already, discard drops nothing", async () => {
    const { from, to, id } = await upTo("given");
    for (let i = 0; i < 2; i++) {
      await to.handOver.discard(guest(), id);
      await from.handOver.takeBack(guest(), id);
    }
    expect([seen(from).running, seen(to).resets]).toEqual([true, 1]);
  });
});

describe("a step that comes late is refused", () => {
  it("give, after takeBack", async () => {
    const { from, id } = await upTo("prepared");
    await from.handOver.takeBack(guest(), id);
    await expect(from.handOver.give(guest(), id)).rejects.toThrow(
      `ECANCELED: from: give: hand-over ${id} is over: taken back`,
    );
    expect(seen(from).phase).toBe("none");
  });

  it("prepare and activate, after discard", async () => {
    const { to, id } = await upTo("prepared");
    await to.handOver.discard(guest(), id);
    await expect(to.handOver.activate(guest(), id)).rejects.toThrow("is over: discarded");
    await expect(to.handOver.prepare(guest(), id)).rejects.toThrow("is over: discarded");
  });

  it("discard, after activate: the device runs", async () => {
    const { to, id } = await upTo("activated");
    await expect(to.handOver.discard(guest(), id)).rejects.toThrow(
      `EBUSY: to: discard: hand-over ${id} was activated: it runs`,
    );
    await expect(to.handOver.takeBack(guest(), id)).rejects.toThrow("ECANCELED");
    expect(seen(to)).toMatchObject({ running: true, value: VALUE });
  });
});

describe("a step out of order is refused", () => {
  it("prepare without an image: running, half loaded, stopped without one", async () => {
    const side = plugIn("to");
    const id = newHandOverId("0".repeat(16));
    const prepare = () => side.handOver.prepare(side.task, id);
    await expect(prepare()).rejects.toThrow("ECANCELED: to: prepare in RUNNING: no image is loaded");
    await side.migration.setState(side.task, STOP);
    await expect(prepare()).rejects.toThrow("prepare in STOP");
    await side.migration.setState(side.task, RESUMING);
    await expect(prepare()).rejects.toThrow("EINVAL: migration stream: 0 bytes are not even its beginning");
    expect(seen(side).phase).toBe("none");
  });

  it("give without an image: running, stopped without one", async () => {
    const { handOver, migration, task } = plugIn("from");
    const id = newHandOverId(handOver.instance);
    await expect(handOver.give(task, id)).rejects.toThrow(
      "ECANCELED: from: give in RUNNING: it has no image",
    );
    await migration.setState(task, STOP);
    await expect(handOver.give(task, id)).rejects.toThrow("give in STOP");
    expect(migration.state).toBe(STOP);
  });

  it("give in STOP, after the image was made", async () => {
    const { from, id } = await upTo("prepared");
    await from.migration.setState(from.task, STOP);
    await from.handOver.give(from.task, id);
    expect(seen(from).phase).toBe("given");
  });

  it("activate of what was not prepared", async () => {
    const { to, id } = await upTo("copied");
    await expect(to.handOver.activate(to.task, id)).rejects.toThrow(
      `ECANCELED: to: activate: no image of hand-over ${id}`,
    );
  });

  it("give of an id that was made for another device", async () => {
    const { from } = await upTo("copied");
    const id = newHandOverId("0".repeat(16));
    await expect(from.handOver.give(from.task, id)).rejects.toThrow(
      `EINVAL: from: give: id ${id} does not begin with the device's ${from.handOver.instance}`,
    );
  });

  it("steps of another hand-over, or of the other side", async () => {
    const { from, to, id } = await upTo("given");
    const other = newHandOverId(from.handOver.instance);
    const busy = (phase: string) =>
      `hand-over ${other}: another one, ${id}, is under way: the device is ${phase}`;
    await expect(from.handOver.give(guest(), other)).rejects.toThrow(busy("given"));
    await expect(from.handOver.takeBack(guest(), other)).rejects.toThrow(busy("given"));
    await expect(to.handOver.prepare(guest(), other)).rejects.toThrow(busy("prepared"));
    await expect(to.handOver.activate(guest(), other)).rejects.toThrow(busy("prepared"));
    await expect(to.handOver.discard(guest(), other)).rejects.toThrow(busy("prepared"));
    await expect(from.handOver.activate(guest(), id)).rejects.toThrow("EBUSY: from: hand-over");
    await expect(to.handOver.takeBack(guest(), id)).rejects.toThrow("EBUSY: to: hand-over");
  });

  it.each(["", "12", "g".repeat(32), "A".repeat(32), "0".repeat(33)])("an id of %j", async (id) => {
    const { handOver, task } = plugIn("from");
    await expect(handOver.give(task, id)).rejects.toThrow(/EINVAL: hand-over id ".*": 32 hexadecimal digits/);
  });
});

describe("an image that was loaded, and not prepared", () => {
  it("is dropped with its client: the source runs, and two must not run on one state", async () => {
    const { to } = await upTo("copied");
    await to.device.disconnect(guest());
    expect(seen(to)).toMatchObject({ state: RUNNING, running: true, value: 0, resets: 1 });
  });

  it("never runs, not even where the reset fails", async () => {
    const { to } = await upTo("copied");
    to.box.reset = () => {
      throw new VfioError("EIO", "stuck");
    };
    await expect(to.device.disconnect(guest())).rejects.toThrow("stuck");
    expect(seen(to)).toMatchObject({ state: STOP, running: false, value: VALUE });
  });
});

describe("prepare", () => {
  it("loads what was received: no reset comes between the load and it unnoticed", async () => {
    const both = await pair();
    const { from, to, id } = both;
    await transfer(both);
    await to.handOver.prepare(to.task, id);
    expect(seen(to)).toMatchObject({ phase: "prepared", state: STOP, running: false, value: VALUE });
    await from.handOver.give(from.task, id);
  });
});

describe("what is prepared or given runs by no other way", () => {
  for (const step of ["prepared", "given"] as const) {
    const sideOf = ({ from, to }: Pair) => (step === "prepared" ? to : from);

    it(`${step}: its client goes away`, async () => {
      const side = sideOf(await upTo(step));
      const before = seen(side);
      await side.device.disconnect(guest());
      expect(seen(side)).toEqual(before);
    });

    it(`${step}: a client asks for a transition`, async () => {
      const side = sideOf(await upTo(step));
      for (const target of [RUNNING, RESUMING, STOP_COPY])
        await expect(side.migration.setState(side.task, target)).rejects.toThrow(
          /EBUSY: .*a hand-over keeps/,
        );
      await side.migration.setState(side.task, STOP); // where it is
      expect(seen(side)).toMatchObject({ phase: step, state: STOP, running: false });
    });

    it(`${step}: a reset gives the registers their power-on values, and the function stays stopped`, async () => {
      const side = sideOf(await upTo(step));
      await side.device.reset(guest());
      expect(seen(side)).toEqual({
        phase: step,
        wasReset: true,
        state: STOP,
        running: false,
        value: 0,
        resets: 1,
      });
      await side.device.disconnect(guest());
      expect(seen(side)).toMatchObject({ state: STOP, running: false });
    });
  }
});

describe("a reset", () => {
  it("before prepare: prepare is refused", async () => {
    const { to, id } = await upTo("copied");
    await to.device.reset(guest());
    await expect(to.handOver.prepare(to.task, id)).rejects.toThrow("ECANCELED: to: prepare in RUNNING");
  });

  it("of what is prepared: the image is lost, activate says so, and then the device runs", async () => {
    const { to, id } = await upTo("prepared");
    await to.device.reset(guest());
    const lost = `ECANCELED: to: hand-over ${id}: a reset has dropped the image that was loaded`;
    await expect(to.handOver.prepare(guest(), id)).rejects.toThrow(lost);
    await expect(to.handOver.activate(guest(), id)).rejects.toThrow(lost);
    expect(seen(to)).toMatchObject({ phase: "none", state: RUNNING, running: true, value: 0 });
    expect(to.handOver.outcomeOf(id)).toBe("lost");
    await to.handOver.discard(guest(), id);
    expect(to.device.generation).toBe(1);
  });

  it("of what is prepared, then discard: no second reset", async () => {
    const { to, id } = await upTo("prepared");
    await to.device.reset(guest());
    await to.handOver.discard(guest(), id);
    expect(seen(to)).toMatchObject({ phase: "none", state: RUNNING, running: true, resets: 1 });
  });

  it("before give: give is refused, and the source runs", async () => {
    const { from, id } = await upTo("prepared");
    await from.device.reset(guest());
    await expect(from.handOver.give(from.task, id)).rejects.toThrow("ECANCELED: from: give in RUNNING");
    expect(seen(from)).toMatchObject({ phase: "none", state: RUNNING, running: true });
  });

  it("of what is given: taken back, it runs from its power-on values", async () => {
    const { from, id } = await upTo("given");
    await from.device.reset(guest());
    await from.handOver.takeBack(guest(), id);
    expect(seen(from)).toMatchObject({ phase: "none", state: RUNNING, running: true, value: 0 });
  });
});

describe("a reset that falls between two microtasks of a step", () => {
  /** A reset that begins so many microtasks after the step. */
  async function late(microtasks: number, { device }: Side): Promise<void> {
    for (let i = 0; i < microtasks; i++) await Promise.resolve();
    await device.reset(guest());
  }
  const sweep = Array.from({ length: 60 }, (_, microtasks) => microtasks);

  it("give: it is refused, or the reset came after it", async () => {
    const given = new Set<boolean>();
    for (const microtasks of sweep) {
      const { from, id } = await upTo("prepared");
      const reset = late(microtasks, from);
      const refused = await from.handOver.give(from.task, id).then(
        () => false,
        () => true,
      );
      await reset;
      const { phase, wasReset } = from.handOver.status();
      expect([microtasks, phase, wasReset]).toEqual([microtasks, refused ? "none" : "given", !refused]);
      expect(from.box.running).toBe(refused);
      given.add(!refused);
    }
    expect(given.size).toBe(2);
  });

  it("prepare: it is refused, or the image is known to be lost", async () => {
    for (const microtasks of sweep) {
      const { to, id } = await upTo("copied");
      const reset = late(microtasks, to);
      const refused = await to.handOver.prepare(to.task, id).then(
        () => false,
        () => true,
      );
      await reset;
      expect([microtasks, to.handOver.status().wasReset]).toEqual([microtasks, !refused]);
      expect(to.box.running).toBe(refused);
    }
  });

  it("activate: it is refused, or what ran was the image", async () => {
    const activated = new Set<boolean>();
    for (const microtasks of sweep) {
      const { to, id } = await upTo("prepared");
      const ran: number[] = [];
      const run = to.box.run.bind(to.box);
      to.box.run = () => {
        ran.push(to.box.value);
        run();
      };
      const reset = late(microtasks, to);
      const refused = await to.handOver.activate(to.task, id).then(
        () => false,
        () => true,
      );
      await reset;
      if (!refused) expect([microtasks, ran[0]]).toEqual([microtasks, VALUE]);
      expect(to.handOver.outcomeOf(id)).toBe(refused ? "lost" : "activated");
      expect(seen(to)).toMatchObject({ phase: "none", state: RUNNING, running: true, value: 0 });
      activated.add(!refused);
    }
    expect(activated.size).toBe(2);
  });
});

describe("a device that cannot run", () => {
  it.each(["prepared", "given"] as const)(
    "is %s as before, and the step can be tried again",
    async (phase) => {
      const { from, to, id } = await upTo(phase);
      const side = phase === "prepared" ? to : from;
      const step = () =>
        phase === "prepared" ? to.handOver.activate(guest(), id) : from.handOver.takeBack(guest(), id);
      side.box.failure = new VfioError("EIO", "no power");
      await expect(step()).rejects.toThrow("no power");
      expect(seen(side)).toMatchObject({ phase, running: false, value: VALUE });
      await step();
      expect(seen(side)).toMatchObject({ phase: "none", state: RUNNING, running: true, value: VALUE });
    },
  );

  it("whose reset fails keeps the image, and discard can be tried again", async () => {
    const { to, id } = await upTo("prepared");
    to.box.reset = () => {
      throw new VfioError("EIO", "stuck");
    };
    await expect(to.handOver.discard(guest(), id)).rejects.toThrow("stuck");
    expect(seen(to)).toMatchObject({ phase: "prepared", wasReset: false, running: false });
  });
});

describe("discard of what was given away", () => {
  it("drops its state, and the device can be used for something else", async () => {
    const { from, id } = await upTo("activated");
    await from.handOver.discard(from.task, id);
    expect(seen(from)).toMatchObject({ phase: "none", state: RUNNING, running: true, value: 0, resets: 1 });
    expect(from.handOver.outcomeOf(id)).toBe("discarded");
    await expect(from.handOver.takeBack(from.task, id)).rejects.toThrow("is over: discarded");
    await expect(from.handOver.give(from.task, id)).rejects.toThrow("is over: discarded");
  });
});

describe("discard of what was never prepared", () => {
  it("drops an image that is loaded, or being loaded, and nothing else", async () => {
    const { to, id } = await upTo("copied");
    await to.handOver.discard(guest(), id);
    expect(seen(to)).toMatchObject({ state: RUNNING, running: true, value: 0, resets: 1 });
    await to.migration.setState(to.task, RESUMING);
    await to.handOver.discard(guest(), newHandOverId(to.handOver.instance));
    expect(seen(to)).toMatchObject({ state: RUNNING, running: true, resets: 2 });
    await to.handOver.discard(guest(), newHandOverId(to.handOver.instance));
    expect(seen(to)).toMatchObject({ resets: 2 });
  });
});

describe("ids", () => {
  it("tell the instance that they are from", () => {
    const [one, two] = [plugIn("one").handOver.instance, plugIn("two").handOver.instance];
    expect(newHandOverId(one)).toMatch(/^[0-9a-f]{32}$/);
    expect(newHandOverId(one)).not.toBe(newHandOverId(one));
    expect(isFrom(newHandOverId(one), one)).toBe(true);
    expect(isFrom(newHandOverId(one), two)).toBe(false);
  });
});
