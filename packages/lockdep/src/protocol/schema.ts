/** The lock protocol format as a JSON Schema. Published as `@vfiokit/lockdep/lock-protocol.schema.json`. */

const lockName = { type: "string", minLength: 1 } as const;

const OPERATIONS = [
  "lock",
  "lock_nested",
  "trylock",
  "read",
  "read_recursive",
  "write",
  "unlock",
  "downgrade",
  "assert_held",
  "assert_not_held",
] as const;

const isOperation = (operation: string) => ({ prefixItems: [{ const: operation }] });

const action = {
  description: "What the task does: an operation, the lock, and what else the operation needs.",
  type: "array",
  prefixItems: [{ enum: OPERATIONS }, lockName],
  minItems: 2,
  if: isOperation("lock_nested"),
  then: {
    description: "The second lock of a class that is nested on purpose, with a subclass from 1 to 7.",
    prefixItems: [true, true, { type: "integer", minimum: 1, maximum: 7 }],
    minItems: 3,
    maxItems: 3,
  },
  else: {
    if: isOperation("trylock"),
    then: {
      description:
        'Takes the lock if it is free; of an rwsem, for "read" or "write". If it is not free, the task lets go of everything it holds and is over.',
      prefixItems: [true, true, { enum: ["read", "write"] }],
      maxItems: 3,
    },
    else: { maxItems: 2 },
  },
} as const;

const step = {
  if: { type: "object" },
  then: {
    properties: {
      do: { $ref: "#/$defs/action" },
      at: { type: "string", description: 'Where the code is: "function (file.c:12)", or any part of it.' },
      comment: { type: "string" },
    },
    required: ["do"],
    additionalProperties: false,
  },
  else: { $ref: "#/$defs/action" },
} as const;

const steps = { type: "array", items: { $ref: "#/$defs/step" }, minItems: 1 } as const;

/** The JSON Schema of lock protocol files. */
export const PROTOCOL_SCHEMA = {
  $schema: "https://json-schema.org/draft/2020-12/schema",
  $id: "https://vfiokit.dev/lock-protocol.schema.json",
  title: "Lock protocol",
  description: "Which locks tasks take, and in which order: what `vfiokit lockdep check` reads.",
  type: "object",
  properties: {
    $schema: { type: "string" },
    scenarios: { type: "array", items: { $ref: "#/$defs/scenario" }, minItems: 1 },
  },
  required: ["scenarios"],
  additionalProperties: false,
  $defs: {
    action,
    step,
    steps,
    lock: {
      type: "object",
      properties: {
        kind: { enum: ["mutex", "rwsem"] },
        class: { type: "string", minLength: 1, description: "Default: the lock's name." },
      },
      required: ["kind"],
      additionalProperties: false,
    },
    task: {
      if: { type: "object" },
      then: {
        properties: {
          name: { type: "string", minLength: 1 },
          comment: { type: "string" },
          steps: { $ref: "#/$defs/steps" },
        },
        required: ["steps"],
        additionalProperties: false,
      },
      else: { $ref: "#/$defs/steps" },
    },
    scenario: {
      type: "object",
      properties: {
        name: { type: "string", minLength: 1 },
        comment: { type: "string" },
        locks: { type: "object", additionalProperties: { $ref: "#/$defs/lock" } },
        tasks: { type: "array", items: { $ref: "#/$defs/task" }, minItems: 1 },
        expect: {
          enum: ["cycle", "recursion", "bad-unlock", "held-at-exit", "assert", "clean"],
          description: "With it, the file is a test: another verdict is a failure.",
        },
      },
      required: ["name", "locks", "tasks"],
      additionalProperties: false,
    },
  },
} as const;
