import { formatProblem, lockdep } from "@vfiokit/lockdep";
import { afterEach, beforeEach } from "vitest";

/**
 * The whole test suite runs with the validator throwing. What was thrown may be swallowed on its way (a server
 * answers EIO and goes on), so a test that leaves a problem behind fails as well; one that provokes a problem on
 * purpose takes it with `lockdep.takeProblems()`.
 */
beforeEach(() => {
  lockdep.configure({ mode: "throw" });
});

afterEach(() => {
  const [problem] = lockdep.takeProblems();
  if (problem) throw new Error(`the lock validator found a problem:\n${formatProblem(problem)}`);
});
