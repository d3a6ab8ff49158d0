import { VfioError } from "@vfiokit/core";
import * as v from "valibot";
import { show } from "./json.js";

/**
 * What a peer has answered, once it has the form that it should have. What a newer peer says besides is kept.
 * @throws VfioError EPROTO naming the field, the value and what was expected
 */
export function checked<T>(schema: v.GenericSchema<unknown, T>, answer: unknown): T {
  const result = v.safeParse(schema, answer);
  if (result.success) return answer as T;
  const [issue] = result.issues;
  const field = v.getDotPath(issue) ?? "result";
  const wrong =
    issue.input === undefined
      ? `has no ${field}`
      : `says ${field} ${show(issue.input)}, which should be ${issue.expected ?? "something else"}`;
  throw new VfioError("EPROTO", `the answer ${wrong}: is it a control socket of vfiokit?`);
}

/** A number that counts something. */
export const count = v.pipe(v.number(), v.integer(), v.minValue(0));
