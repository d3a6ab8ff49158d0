import { execFileSync } from "node:child_process";
import { expect, it } from "vitest";
import * as uapi from "../../packages/user/src/kernel/uapi.js";
import type { Fields, Struct } from "../../packages/user/src/layout/struct.js";
import { describeWithQemu, type Lab } from "./lab.js";

const { Ioctl } = uapi;

const structs = [
  uapi.GroupStatus,
  uapi.HotResetInfoRequest,
  uapi.HotReset,
  uapi.DependentDevice,
  uapi.Type1DmaMap,
  uapi.Type1DmaUnmap,
  uapi.BindIommufd,
  uapi.AttachIommufdPt,
  uapi.IoasAlloc,
  uapi.IoasMap,
  uapi.IoasUnmap,
] as readonly Struct<Fields>[];
/** Flexible arrays have no place of their own in C's sizeof, and may have other names. */
const TAILS = new Set(["devices", "groups"]);

const fieldsOf = (one: Struct<Fields>): string[] =>
  Object.keys(one.offset).filter((name) => !TAILS.has(name));

/** What the headers of the guest's kernel say, by name. */
function fromHeaders(lab: Lab): Map<string, number> {
  const expressions = [
    ...Object.keys(Ioctl),
    ...structs.map(({ name }) => `sizeof(struct ${name})`),
    ...structs.flatMap((one) => fieldsOf(one).map((field) => `offsetof(struct ${one.name}, ${field})`)),
  ];
  const source = `
#include <linux/iommufd.h>
#include <linux/vfio.h>
#include <stddef.h>
#include <stdio.h>
int main(void) {
${expressions.map((one) => `printf("%s=%lu\\n", "${one}", (unsigned long)(${one}));`).join("\n")}
return 0; }
`;
  const shell = "program=$(mktemp) && gcc-14 -x c - -o $program && $program; rm -f $program";
  const output = execFileSync("chroot", [lab.root, "sh", "-c", shell], {
    input: source,
    encoding: "utf8",
    stdio: ["pipe", "pipe", "inherit"],
  });
  return new Map(output.split("\n").map((line) => [line.split("=")[0]!, Number(line.split("=")[1])]));
}

describeWithQemu("the kernel's interface, as Linux's headers have it,", (lab) => {
  it("has the ioctls' numbers and the structs' layouts of packages/user/src/kernel/uapi.ts", () => {
    const headers = fromHeaders(lab);
    const ours = new Map<string, number>([
      ...Object.entries(Ioctl),
      ...structs.map(({ name, size }) => [`sizeof(struct ${name})`, size] as const),
      ...structs.flatMap((one) =>
        fieldsOf(one).map((field) => [`offsetof(struct ${one.name}, ${field})`, one.offset[field]!] as const),
      ),
    ]);
    headers.delete("");
    expect(Object.fromEntries(ours)).toEqual(Object.fromEntries(headers));
  });
});
