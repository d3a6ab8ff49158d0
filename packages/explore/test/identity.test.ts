import { expect, it } from "vitest";
import { asyncIdentity } from "../src/identity.js";

// Node 20 goes through all that there are whenever a promise is made: the 1,000th exploration took ten times the first's time.
it("many explorations in a process have one AsyncLocalStorage", () => {
  expect(asyncIdentity()).toBeDefined();
  expect(asyncIdentity()).toBe(asyncIdentity());
});
