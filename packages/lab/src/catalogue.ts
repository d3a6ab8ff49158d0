import type { ResetStateRequirement } from "@vfiokit/core/migration";
import { initiators, type ResetInitiator } from "@vfiokit/core/lab";
import { operation, operations, type Operation } from "./operations.js";
import { paths } from "./paths.js";
import type { Scenario } from "./scenario.js";

const everyInitiator = Object.keys(initiators) as ResetInitiator[];
const everyOperation = [...operations.values()];

function scenario(
  initiator: ResetInitiator,
  succeeds: boolean,
  beside: readonly Operation[],
  more: Partial<Scenario> = {},
): Scenario {
  const functions = more.functions ?? (paths[initiator].wholeSet ? 2 : 1);
  const ops = more.ops ?? "present";
  const parts = [
    initiator,
    succeeds ? "succeeds" : "fails",
    ops === "absent" ? "no-ops" : functions === 2 ? "two" : "one",
    [...beside.map(({ name }) => name), more.second, more.goesOn && "then-STOP"].filter(Boolean).join("+") ||
      "alone",
    ...(more.step ? [`${ops === "present" ? "with-op" : "without-op"}-${more.step}`] : []),
  ];
  return { name: parts.join("/"), initiator, succeeds, beside, functions, ops, ...more };
}

/** What can run beside this initiator's reset. */
function possible(initiator: ResetInitiator, { fails }: Operation): boolean {
  // A client that goes away has its device reset only if it left it in ERROR.
  return initiator !== "disconnect" || fails === true;
}

/** Every operation beside every reset, which succeeds or fails. */
function pairs(): Scenario[] {
  return everyInitiator.flatMap((initiator) =>
    [true, false].flatMap((succeeds) => [
      ...everyOperation
        .filter((beside) => possible(initiator, beside))
        .map((beside) => scenario(initiator, succeeds, [beside])),
      scenario(initiator, succeeds, [], { ops: "absent" }),
      ...everyOperation
        .filter(({ migrates }) => !migrates)
        .map((beside) => scenario(initiator, succeeds, [beside], { ops: "absent" })),
    ]),
  );
}

/** One of two functions is reset, and the other one's memory is mapped by it. */
function peers(): Scenario[] {
  const beside = ["STOP_COPY-STOP", "read", "map-bar"].map(operation);
  return everyInitiator
    .filter((initiator) => !paths[initiator].wholeSet && initiator !== "disconnect")
    .flatMap((initiator) =>
      [true, false].flatMap((succeeds) =>
        beside.map((op) => scenario(initiator, succeeds, [op], { functions: 2 })),
      ),
    );
}

/** A client that has reset its device, and goes on with it at once. */
function after(): Scenario[] {
  const beside = ["RUNNING-RUNNING_P2P", "STOP_COPY-STOP", "read"].map(operation);
  return everyInitiator
    .filter((initiator) => !paths[initiator].leaves)
    .flatMap((initiator) => beside.map((op) => scenario(initiator, true, [op], { goesOn: true })));
}

/** Two resets meet, alone in the middle of a migration, and some with a third task between them. */
function twice(): Scenario[] {
  const staying = everyInitiator.filter((initiator) => paths[initiator].before === undefined);
  const seconds = staying.filter(
    (initiator) => paths[initiator].arm === undefined && !paths[initiator].wholeSet,
  );
  return [
    ...staying.flatMap((initiator) => seconds.map((second) => scenario(initiator, true, [], { second }))),
    ...(["sysfs", "flr-pcie"] as const).flatMap((second) => [
      scenario("ioctl", true, [operation("STOP_COPY-STOP")], { second }),
      scenario("ioctl", true, [operation("read")], { second }),
    ]),
  ];
}

/** The series that makes the op mandatory, step by step, with drivers that have it and drivers that do not yet. */
function series(): Scenario[] {
  const steps: readonly ResetStateRequirement[] = ["off", "warn", "enforce"];
  return steps.flatMap((step) =>
    (["present", "partial", "absent"] as const).flatMap((ops) =>
      (["ioctl", "hot-reset"] as const).map((initiator) => scenario(initiator, true, [], { ops, step })),
    ),
  );
}

/** Chosen ones of more tasks: transition and transfer meet the reset together. */
function triples(): Scenario[] {
  return (["ioctl", "sysfs"] as const).flatMap((initiator) => [
    scenario(initiator, true, [operation("STOP_COPY-STOP"), operation("read")]),
    scenario(initiator, true, [operation("PRE_COPY-RUNNING"), operation("read")]),
  ]);
}

/** lockdep's report, acted out: tasks each of which holds what another one waits for. */
function circles(): Scenario[] {
  const transfer = ["read-to-client", "map-bar"].map(operation);
  return [
    scenario("ioctl", true, transfer),
    scenario("hot-reset", true, transfer),
    scenario("ioctl", true, [operation("STOP_COPY-STOP"), ...transfer]),
  ];
}

/** All of them. */
export const catalogue: readonly Scenario[] = [
  ...pairs(),
  ...peers(),
  ...after(),
  ...twice(),
  ...series(),
  ...triples(),
  ...circles(),
];

/** Resets of the demonstration: two that the patch covers, one by the guest and one by the host that it does not. */
const shown: readonly ResetInitiator[] = ["ioctl", "hot-reset", "flr-pcie", "slot-reset"];

/** Parts of the catalogue, by name. */
export const subsets: Readonly<Record<string, (scenario: Scenario) => boolean>> = {
  all: () => true,
  /** One of each kind: for a first look. */
  quick: isQuick,
  /** Of those a few seconds' worth, in which every design fails where it fails in all of them. */
  demo: (scenario) => isQuick(scenario) && shown.includes(scenario.initiator),
};

function isQuick({ beside, second, functions, ops, step, initiator, goesOn }: Scenario): boolean {
  return (
    step !== undefined ||
    (beside[0]?.name === "read-to-client" && beside.length > 1) ||
    (second === undefined &&
      (functions === 1 || paths[initiator].wholeSet === true) &&
      (goesOn
        ? beside[0]?.name === "read"
        : ops === "absent"
          ? beside.length === 0
          : beside.length === 1 && ["STOP_COPY-STOP", "read"].includes(beside[0]!.name)))
  );
}

/** The scenarios whose name is `pattern`, or has its parts: "ioctl", "hot-reset/fails", "read". */
export function choose(pattern: string): readonly Scenario[] {
  const subset = subsets[pattern];
  if (subset) return catalogue.filter(subset);
  const wanted = pattern.split("/");
  return catalogue.filter(
    ({ name }) => name === pattern || wanted.every((part) => name.split(/[/+]/).includes(part)),
  );
}
