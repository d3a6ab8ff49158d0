import { lockdep } from "@vfiokit/lockdep";
import { afterEach, beforeEach } from "vitest";

/** This file is about the locks themselves, and misuses them: nobody watches. */
export function locksOnly(): void {
  beforeEach(() => {
    lockdep.configure({ mode: "off" });
  });
}

/** This file is about the validator: every test starts with one that knows nothing, and throws. */
export function freshValidator(): void {
  beforeEach(() => {
    lockdep.configure({ mode: "throw", waitTimeout: 0 });
    lockdep.reset();
  });
  afterEach(() => {
    lockdep.reset();
    lockdep.configure({ mode: "off", waitTimeout: 0 });
  });
}
