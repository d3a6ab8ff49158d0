import { explore, minimise, replay, type Verdict } from "@vfiokit/explore";
import { protocolBody } from "@vfiokit/explore/protocol";
import type { Task } from "@vfiokit/lockdep";
import { observe, observer, unseen, type LockObserver } from "@vfiokit/lockdep/hooks";
import { checkScenario, type Scenario, type ScenarioResult } from "@vfiokit/lockdep/protocol";
import type { CounterexampleLine } from "@vfiokit/lab";

/**
 * - `deadlock`: some interleaving ends with tasks that wait for ever.
 * - `refused`: in some interleaving the locks refuse a step, or an assertion of the file does not hold.
 * - `proved`: no interleaving does.
 * - `not-found`: a bound or an interrupt came before every interleaving was run, and none of those run does.
 * - `unknown`: the explorer met what it cannot see, and none of the interleavings that it ran does.
 */
export type ProtocolVerdict = "deadlock" | "refused" | "proved" | "not-found" | "unknown";

/** What running a scenario of a lock protocol in every interleaving has shown. */
export interface ProtocolResult {
  readonly scenario: Scenario;
  readonly verdict: ProtocolVerdict;
  /** Of all searches together. */
  readonly executions: number;
  /** Of the search that gave the verdict; more than the file has, if it needs copies of tasks or writers. */
  readonly tasks: readonly string[];
  /** With these tasks instead of the file's own, which were run first and do not fail. */
  readonly participants: Participants;
  /** Who waits for whom, or what was refused. */
  readonly message?: string;
  /** For `replayProtocol`. */
  readonly schedule?: string;
  readonly lockdep: ScenarioResult;
}

/** Whose interleavings: those of the file's tasks, or of the tasks that lockdep's n-th finding names (from 1). */
export type Participants = number;
const AS_WRITTEN: Participants = 0;

export interface SearchOptions {
  readonly maxExecutions?: number;
  readonly maxPreemptions?: number;
  readonly signal: AbortSignal;
  readonly onProgress: (executions: number) => void;
}

/**
 * The validator watches nothing here: whether an order is wrong in theory is what `lockdep check` says. The tasks share
 * nothing but locks, and await nothing else.
 */
const UNWATCHED = { lockdep: false, plainFields: "none", awaits: "fused" } as const;

/**
 * Runs the tasks of a scenario in every interleaving that matters, each once. If none of these deadlocks although
 * the orders contradict each other, then the tasks that lockdep names for it: a cycle may need the same task twice,
 * or a writer between two readers.
 */
export async function searchProtocol(scenario: Scenario, options: SearchOptions): Promise<ProtocolResult> {
  const lockdep = checkScenario(scenario);
  let executions = 0;
  let last: ProtocolResult | undefined;
  for (const participants of allParticipants(lockdep)) {
    const played = withParticipants(lockdep, participants);
    const body = protocolBody(played);
    const report = await explore(body, {
      ...UNWATCHED,
      ...(options.maxExecutions !== undefined && { maxExecutions: options.maxExecutions }),
      ...(options.maxPreemptions !== undefined && { maxPreemptions: options.maxPreemptions }),
      signal: options.signal,
      onProgress: (progress) => options.onProgress(executions + progress.executions),
    });
    executions += report.executions;
    const result = {
      scenario,
      lockdep,
      executions,
      participants,
      tasks: played.tasks.map(({ name }) => name),
    };
    const [failure] = report.failures;
    if (failure) {
      const { message, schedule } = await minimise(body, failure, { ...UNWATCHED, signal: options.signal });
      const { verdict } = await replayProtocol(scenario, formatCounterexample(participants, schedule));
      return { ...result, verdict, message, schedule: formatCounterexample(participants, schedule) };
    }
    // What no bound has cut for the tasks as they are is a proof, whatever becomes of other tasks.
    last = last ? { ...last, executions } : { ...result, verdict: provedOrNot(report.verdict) };
    if (last.verdict !== "proved") break;
  }
  return last!;
}

/** Of a search that has found nothing: only what is proved is. */
function provedOrNot(verdict: Verdict): ProtocolVerdict {
  return verdict === "proved" || verdict === "unknown" ? verdict : "not-found";
}

/** The file's own tasks, and those that a cycle needs besides. */
function allParticipants({ scenario, findings }: ScenarioResult): Participants[] {
  const more = findings.flatMap(({ tasks }, i) => {
    const own = tasks?.every(({ name }) => scenario.tasks.some((task) => task.name === name)) ?? true;
    return own ? [] : [i + 1];
  });
  return [AS_WRITTEN, ...more];
}

function withParticipants({ scenario, findings }: ScenarioResult, participants: Participants): Scenario {
  if (participants === AS_WRITTEN) return scenario;
  const tasks = findings[participants - 1]?.tasks;
  if (!tasks)
    throw new Error(`lockdep has no finding ${participants} with an interleaving for "${scenario.name}"`);
  return { ...scenario, tasks };
}

/** "0*2 1", or "+1 0*2 1" for the tasks of lockdep's first finding. */
function formatCounterexample(participants: Participants, schedule: string): string {
  return participants === AS_WRITTEN ? schedule : `+${participants} ${schedule}`;
}

function parseCounterexample(text: string): { participants: Participants; schedule: string } {
  const [, participants, schedule] = /^\s*(?:\+(\d+)\s)?(.*)$/s.exec(text)!;
  return { participants: Number(participants ?? AS_WRITTEN), schedule: schedule! };
}

export interface ReplayedProtocol {
  readonly verdict: ProtocolVerdict;
  readonly lines: readonly CounterexampleLine[];
}

/** Runs one interleaving again, and tells what happens. @throws Error for what is no schedule of the scenario */
export async function replayProtocol(scenario: Scenario, counterexample: string): Promise<ReplayedProtocol> {
  const { participants, schedule } = parseCounterexample(counterexample);
  const played = withParticipants(checkScenario(scenario), participants);
  const body = protocolBody(played);
  let story = new Storyteller();
  const before = observer;
  try {
    const report = await replay(
      (x) => {
        story = new Storyteller();
        observe(story);
        return body(x);
      },
      schedule,
      UNWATCHED,
    );
    const [failure] = report.failures;
    const deadlock = story.recursed || failure?.kind === "deadlock";
    const lines =
      failure === undefined || story.recursed
        ? story.lines
        : deadlock
          ? withEndings(story.lines, failure.message, played)
          : [...story.lines, { task: "", text: `!! ${failure.message}` }];
    return { verdict: deadlock ? "deadlock" : failure ? "refused" : "not-found", lines };
  } finally {
    observe(before);
  }
}

/** Marks the waits that last for ever. @param message "a waits for x, held by b; b waits for …" */
function withEndings(
  lines: readonly CounterexampleLine[],
  message: string,
  { locks }: Scenario,
): CounterexampleLine[] {
  const told = [...lines];
  for (const part of message.split("; ")) {
    const [, task, lockClass, why] = /^(.*?) waits for (.*?), (held by .*)$/.exec(part) ?? [];
    if (task === undefined) continue;
    const same = [...locks].filter(([, spec]) => spec.class === lockClass);
    const name = same.length === 1 ? same[0]![0] : lockClass!;
    const at = told.findLastIndex((line) => line.task === task);
    // Whoever finds a mutex taken does nothing that could be told before.
    if (told[at]?.text.startsWith("waits for ") === true)
      told[at] = { task, text: `!! ${told[at].text}, for ever` };
    else told.push({ task, text: `!! waits for ${name}, ${why!}, for ever` });
  }
  return told;
}

/** Tells who takes which lock, and who waits for whom. */
class Storyteller implements LockObserver {
  readonly lines: CounterexampleLine[] = [];
  /** A task has waited for itself. */
  recursed = false;

  contended({ task, lock }: Parameters<LockObserver["contended"]>[0]): void {
    const holders = unseen(() => lock.holders()).map(({ name }) => name);
    const ahead = unseen(() => lock.waiters()).filter((wait) => wait.task !== task);
    const behind = ahead.length > 0 ? `, behind ${ahead.map((wait) => wait.task.name).join(", ")}` : "";
    this.#tell(task, `waits for ${lock.label}, held by ${holders.join(", ")}${behind}`);
  }
  acquired({ task, lock, mode, trylock }: Parameters<LockObserver["acquired"]>[0]): void {
    const how = mode === "exclusive" ? "" : mode === "write" ? " for writing" : " for reading";
    this.#tell(task, `${trylock ? "tries and takes" : "takes"} ${lock.label}${how}`);
  }
  downgraded({ task, lock }: Parameters<LockObserver["downgraded"]>[0]): void {
    this.#tell(task, `keeps ${lock.label} for reading only`);
  }
  released({ task, lock }: Parameters<LockObserver["released"]>[0]): void {
    this.#tell(task, `releases ${lock.label}`);
  }
  recursion(...[task, lock]: Parameters<LockObserver["recursion"]>): void {
    this.#tell(task, `!! waits for ${lock.label}, which it holds itself, for ever`);
    this.recursed = true;
  }
  readonly acquire = ignored;
  readonly abandoned = ignored;
  readonly badUnlock = ignored;
  readonly releasesPinned = ignored;
  readonly contextOpened = ignored;
  readonly ended = ignored;

  #tell({ name }: Task, text: string): void {
    this.lines.push({ task: name, text });
  }
}

const ignored = (): void => undefined;
