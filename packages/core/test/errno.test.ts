import { describe, expect, it } from "vitest";
import { Errno, invalid, VfioError } from "@vfiokit/core";

describe("VfioError", () => {
  it("of a text: a code in front of the message, and none in the detail", () => {
    const error = new VfioError("EBUSY", "the device is in use");
    expect(error).toMatchObject({ errno: Errno.EBUSY, detail: "the device is in use", field: undefined });
    expect(error.message).toBe("EBUSY: the device is in use");
  });

  it("of a value that breaks a rule: all three as data", () => {
    const error = invalid("count", 2n ** 60n, "at most 4096");
    expect(error).toMatchObject({
      code: "EINVAL",
      field: "count",
      value: `${2n ** 60n}`,
      rule: "at most 4096",
    });
    expect(error.message).toBe(`EINVAL: count ${2n ** 60n}: at most 4096`);
  });

  it("told of what it happened to: the same data, one code, and the error itself as its cause", () => {
    const error = invalid("index", 9, "0 to 8");
    const told = error.at("/run/card");
    expect(told.message).toBe("EINVAL: /run/card: index 9: 0 to 8");
    expect(told).toMatchObject({ code: "EINVAL", field: "index", value: "9", rule: "0 to 8", cause: error });
  });
});
