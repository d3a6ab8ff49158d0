import { generationStrategy } from "@vfiokit/core/lab";
import type { Design } from "../design.js";

/**
 * The core's own: a reset increments the device's generation, and what is older is dead. Nothing like it is in Linux.
 * It runs in JavaScript as it is, so it needs no marks: what lies between two awaits is one step.
 */
export const generation: Design = {
  name: "generation",
  title: "a reset increments a counter; what is older is dead (vfiokit)",
  strategy: generationStrategy,
  getState: (migration) => migration.state,
  registration: (step) => step,
};
