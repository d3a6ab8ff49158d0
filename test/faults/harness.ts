import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { VfioError } from "@vfiokit/core";
import { openFds, openMappings, SyscallError } from "@vfiokit/user/linux";
import { CommandError } from "../../packages/cli/src/errors.js";
import { kernelResources } from "../../packages/user/test/linux/support.js";
import type { Scenario } from "./scenarios.js";
import type { Fault, Syscalls } from "./syscalls.js";

/** A scenario that takes longer than this hangs. Milliseconds. */
const DEADLINE_MS = 10_000;
/** For what goes on behind the scenario's end to end. Milliseconds. */
const REST_MS = 1000;

export interface Run {
  /** How it ended: undefined, or what a user is told. */
  readonly error: string | undefined;
  /** What must not be. */
  readonly problems: readonly string[];
  /** Calls by name. */
  readonly counts: ReadonlyMap<string, number>;
  /** The fault has happened: a later fault ends before the scenario gets there. */
  readonly struck: boolean;
}

interface Resources {
  readonly own: string;
  readonly fds: readonly string[];
  readonly shared: number;
}

function resources(): Resources {
  const { fds, maps } = kernelResources();
  return { own: `${openFds()} descriptors and ${openMappings()} mappings of ours`, fds, shared: maps };
}

const same = (a: Resources, b: Resources): boolean =>
  a.own === b.own && a.fds.length === b.fds.length && a.shared === b.shared;

/** Runs a scenario, with or without a fault, and looks at what it leaves behind. */
export async function run(syscalls: Syscalls, scenario: Scenario, fault?: Fault): Promise<Run> {
  const folder = mkdtempSync(join(tmpdir(), "vfiokit-faults-"));
  const before = resources();
  const problems: string[] = [];
  const onUncaught = (error: unknown): void =>
    void problems.push(`nobody catches: ${error instanceof Error ? error.stack : String(error)}`);
  const listeners = ["unhandledRejection", "uncaughtException"] as const;
  // Those of the test runner would take it for a failure of its own.
  const others = listeners.map((event) => process.listeners(event as "uncaughtException"));
  for (const event of listeners) process.removeAllListeners(event).on(event, onUncaught);
  let error: string | undefined;
  syscalls.start(fault);
  try {
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<"late">((resolve) => (timer = setTimeout(() => resolve("late"), DEADLINE_MS)));
    const ended = scenario(folder).then(
      () => undefined,
      (thrown: unknown) => {
        error = thrown instanceof Error ? thrown.message : String(thrown);
        if (!isClear(thrown))
          problems.push(`no clear error: ${thrown instanceof Error ? thrown.stack : String(thrown)}`);
      },
    );
    if ((await Promise.race([ended, late])) === "late") problems.push(`no end within ${DEADLINE_MS} ms`);
    clearTimeout(timer);
  } finally {
    syscalls.stop();
  }
  const since = performance.now();
  while (!same(before, resources()) && performance.now() - since < REST_MS)
    await new Promise((resolve) => setTimeout(resolve, 2));
  const after = resources();
  if (!same(before, after)) {
    const more = after.fds.filter((one) => !before.fds.includes(one));
    problems.push(
      `left behind: ${before.own} became ${after.own}; ${more.join(", ")}; ` +
        `maps: ${before.shared} became ${after.shared}`,
    );
  }
  listeners.forEach((event, i) => {
    process.removeAllListeners(event);
    for (const listener of others[i]!) process.on(event as "uncaughtException", listener);
  });
  rmSync(folder, { recursive: true, force: true });
  return { error, problems, counts: new Map(syscalls.counts), struck: syscalls.struck };
}

/** What a command prints in one line: an error that says what the system, or a peer, has refused. */
function isClear(error: unknown): boolean {
  if (error instanceof VfioError || error instanceof SyscallError || error instanceof CommandError)
    return true;
  return error instanceof Error && typeof (error as NodeJS.ErrnoException).code === "string";
}

/** Which of `count` calls fail: all of them, or `most`, evenly. */
export function chosen(count: number, most: number): number[] {
  if (count <= most) return Array.from({ length: count }, (_, at) => at);
  return Array.from({ length: most }, (_, i) => Math.floor((i * (count - 1)) / (most - 1)));
}
