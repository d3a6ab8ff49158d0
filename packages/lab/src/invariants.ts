/** What a design promises, in the order of the matrix. */
export const invariants = {
  "no-deadlock": "every interleaving finishes",
  "no-cycle": "the lock-order graph stays acyclic",
  "reset-complete":
    "when a reset that happened returns, the state is RUNNING and old sessions are dead (VFIO_DEVICE_RESET, hot reset)",
  "no-spurious-reset":
    "a reset that did not happen leaves a migration untouched (VFIO_DEVICE_RESET, hot reset)",
  "all-paths": "reset-complete and no-spurious-reset for every initiator",
  "no-crash": "devices without migration ops, or with only some, on every path; nothing is left locked",
  bisectable: "with the op optional, warned about, enforced: each step of converting drivers works",
  "no-lost-update": "a transition begun after a reset returned is not undone by that reset's leftovers",
  "no-resurrection": "no transition that a reset overtook has an effect on the device afterwards",
} as const;

/** The name of an invariant. */
export type Invariant = keyof typeof invariants;

/** All invariants, in the order of the table. */
export const invariantNames = Object.keys(invariants) as Invariant[];

/** An invariant that did not hold. */
export interface Violation {
  readonly invariant: Invariant;
  readonly text: string;
}
