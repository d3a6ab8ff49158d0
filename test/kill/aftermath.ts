import { expect } from "vitest";
import { VfioError } from "@vfiokit/core";
import { AdminClient, localSide, VfioUserClient } from "@vfiokit/user";
import { SyscallError } from "@vfiokit/user/linux";
import { BAR_REGISTERS, CHECKED, VALUE } from "./programs/device.js";

/** What one side of a migration is, when all is over. */
export interface SideNow {
  /** The device's state is there, whole. */
  readonly has: boolean;
  /** A client is let in, and finds a device that runs. */
  readonly usable: boolean;
}

export interface Aftermath {
  readonly source: SideNow;
  readonly target: SideNow;
  /**
   * What the migration client said at its end, or whoever recovered. Undefined: nothing yet, for it was killed, or had done its
   * part before somebody else was.
   */
  readonly said: string | undefined;
}

/**
 * What has to hold after any process was killed at any moment: of the two sides exactly one can run with the right
 * state. Or none does, and the message says which side to resume, and how; or that the state was lost with its process.
 */
export function expectOneRuns({ source, target, said }: Aftermath): void {
  const sides = [source, target];
  const running = sides.filter(({ has, usable }) => has && usable).length;
  expect(running, `both run (${said ?? "nothing said"})`).toBeLessThan(2);
  if (running === 1 || said === undefined) return;
  const canBeResumed = sides.some(({ has }) => has);
  if (canBeResumed) expect(said).toMatch(/vfiokit migrate --recover|vfiokit ctl \S+ hand-over/);
  else expect(said).toMatch(/restore a snapshot|server has ended|does not run/);
}

/** As a client that comes now finds it. */
export async function sideNow(path: string, value: number): Promise<SideNow> {
  // A client that is let in comes after all that the one before it has left behind.
  using client = await connect(path);
  const side = await localSide(path).state();
  if (side.kind === "gone") return { has: false, usable: false };
  if (side.kind === "unreachable") throw new Error(`${path} is alive, and does not answer: ${side.why}`);
  const { phase, wasReset, state } = side.report;
  const stopped = await stoppedFor(path);
  if (!client) {
    expect(phase, `${path} turns clients away`).not.toBe("none");
    expect(stopped, `${path} is stopped`).toContain("hand-over");
    return { has: !wasReset, usable: false };
  }
  expect([phase, state, stopped], path).toEqual(["none", "RUNNING", []]);
  const [written, checked] = [await register(client, VALUE), await register(client, CHECKED)];
  expect(checked, `${path} runs on half a state`).toBe(written);
  return { has: checked === value, usable: true };
}

export async function setValue(path: string, value: number): Promise<void> {
  using client = await VfioUserClient.connect(path);
  const bytes = new Uint8Array(4);
  new DataView(bytes.buffer).setUint32(0, value, true);
  await client.regionWrite(BAR_REGISTERS, VALUE, bytes);
}

/** Why the device's function begins nothing. */
async function stoppedFor(path: string): Promise<readonly string[]> {
  using admin = new AdminClient(`${path}.ctl`);
  return (await admin.request({ command: "info" })).stopped;
}

async function register(client: VfioUserClient, offset: number): Promise<number> {
  const bytes = new Uint8Array(4);
  await client.regionRead(BAR_REGISTERS, offset, bytes);
  return new DataView(bytes.buffer).getUint32(0, true);
}

/** Undefined: nobody is there, or the server takes nobody. */
async function connect(path: string): Promise<VfioUserClient | undefined> {
  try {
    return await VfioUserClient.connect(path);
  } catch (error) {
    if (error instanceof VfioError || error instanceof SyscallError) return undefined;
    throw error;
  }
}
