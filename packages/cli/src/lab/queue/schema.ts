import { Validator } from "@cfworker/json-schema";
import type { LabPart, LabPartResult } from "@vfiokit/lab";

// What comes out of Redis was put there by others: by an older version, or by anybody.

const thread = { type: "string", pattern: "^[0-9]{1,6}(\\.[0-9]{1,6}){0,16}$" };
const threads = { type: "array", items: thread, maxItems: 10_000 };
const text = { type: "string", maxLength: 100_000 };
const footprint = { type: "array", items: { ...text, pattern: "^(\\*$|[+-])" } };
const count = { type: "integer", minimum: 0 };
const sleep = { type: "object", propertyNames: thread, additionalProperties: footprint };
const knowledge = closed({
  locks: { type: "object", additionalProperties: { enum: [1, 2, 3] } },
  aborted: { type: "array", items: text },
  identified: { type: "boolean" },
  gaps: { type: "boolean" },
  footprints: { type: "object", propertyNames: { pattern: "^[0-9]" }, additionalProperties: footprint },
});

const part = closed({
  design: text,
  scenario: text,
  bounds: {
    type: "object",
    properties: { executions: count, preemptions: count },
    additionalProperties: false,
  },
  job: closed({ prefix: threads, sleep, knowledge, executions: count }),
});

const result = closed({
  executions: count,
  pruned: count,
  events: count,
  maxDepth: count,
  tasks: count,
  ended: { type: "boolean" },
  bounded: { type: "boolean" },
  outdated: { type: "boolean" },
  unknown: { type: "array", items: text },
  virtual: { type: "array", items: text },
  restsOn: { type: "array", items: text },
  failures: {
    type: "array",
    items: closed({
      kind: {
        enum: [
          "deadlock",
          "lost-wakeup",
          "livelock",
          "assertion",
          "unhandled-rejection",
          "uncaught-exception",
          "lockdep",
        ],
      },
      message: text,
      schedule: text,
      trace: { type: "array", maxItems: 10_000, items: closed({ thread, task: text, label: text }) },
    }),
  },
  touched: footprint,
  demands: {
    type: "array",
    items: {
      type: "object",
      properties: { depth: count, oneOf: threads, all: threads },
      required: ["depth"],
      additionalProperties: false,
    },
  },
  places: { type: "array", items: closed({ chosen: thread, backtrack: threads, sleep }) },
  news: knowledge,
  orders: { type: "array", items: { ...text, pattern: "^\\S+ [ES][NR] \\S+$" } },
});

/** An object with exactly these properties. */
function closed(properties: Record<string, unknown>): Record<string, unknown> {
  return { type: "object", properties, required: Object.keys(properties), additionalProperties: false };
}

const validators = {
  part: new Validator(part, "2020-12"),
  result: new Validator(result, "2020-12"),
};

/** @throws Error saying what is wrong with it */
export function checkPart(value: unknown): LabPart {
  check(validators.part, value);
  return value as LabPart;
}

/** @throws Error saying what is wrong with it */
export function checkResult(value: unknown, { job }: LabPart): LabPartResult {
  check(validators.result, value);
  const found = value as LabPartResult;
  const beyond = found.demands.find(({ depth }) => depth >= job.prefix.length);
  if (beyond) throw new Error(`demands: depth ${beyond.depth}: the part begins at ${job.prefix.length}`);
  if (found.executions > job.executions)
    throw new Error(`executions: ${found.executions} of at most ${job.executions}`);
  for (const { schedule, trace } of found.failures)
    if (lengthOf(schedule) !== trace.length)
      throw new Error(`failures: a schedule of ${lengthOf(schedule)} events and a trace of ${trace.length}`);
  return found;
}

/** Events of a schedule such as "0*3 1", which a few letters can make millions. */
function lengthOf(schedule: string): number {
  let length = 0;
  for (const [, count = "1"] of schedule.matchAll(/(?:^|\s)[0-9.]+(?:\*([0-9]+))?(?=\s|$)/g))
    length += Number(count);
  return length;
}

function check(validator: Validator, value: unknown): void {
  const { valid, errors } = validator.validate(value);
  if (valid) return;
  const [first] = errors.toReversed(); // the innermost says most
  throw new Error(`${first?.instanceLocation ?? "#"}: ${first?.error ?? "is not valid"}`);
}
