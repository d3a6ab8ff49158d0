import { execFileSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { expect, it } from "vitest";

const path = (relative: string) => JSON.stringify(fileURLToPath(new URL(relative, import.meta.url)));

it("a throw in a device's timer and a rejection that nobody waits for do not kill the server", () => {
  const program = `
    import { counterCard } from ${path("../../devices/dist/index.js")};
    import { PciDevice } from ${path("../../core/dist/index.js")};
    import { surviveFaults } from ${path("../dist/serve/survive-faults.js")};
    const told = [];
    const device = new PciDevice(counterCard({ functions: 1 })[0], { onFault: (message) => told.push(message) });
    surviveFaults([device]);
    void Promise.reject(new Error("DMA failed"));
    setTimeout(() => { throw new TypeError("a bug in a timer"); });
    setTimeout(() => console.log(JSON.stringify({ ...device.faults, told: told.length })), 50);
  `;
  const output = execFileSync(process.execPath, ["--input-type=module", "-e", program], { encoding: "utf8" });
  expect(JSON.parse(output)).toEqual({
    count: 2,
    failed: false,
    last: "a callback: a bug in a timer",
    told: 2,
  });
});
