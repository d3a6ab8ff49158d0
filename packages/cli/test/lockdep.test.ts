import { fileURLToPath } from "node:url";
import { expect, it } from "vitest";
import { Vfiokit } from "./vfiokit.js";

// What it does is tested where it is: packages/lockdep/test/bin.

it("vfiokit lockdep is the command lockdep of @vfiokit/lockdep", async () => {
  const example = fileURLToPath(new URL("../../../examples/vfio-reset.yaml", import.meta.url));
  const { code, stdout } = await Vfiokit.run("lockdep", "check", example);
  expect(code).toBe(0);
  expect(stdout).toContain(`ok ${example}: ioctl-reset: cycle\n`);
  expect(await Vfiokit.run("lockdep", "explain", example)).toMatchObject({
    code: 1,
    stderr: `error: ${example}: no report of lockdep in it\n`,
  });
  expect(await Vfiokit.run("lockdep", "check", example, "--scenario", "none")).toMatchObject({ code: 2 });
});
