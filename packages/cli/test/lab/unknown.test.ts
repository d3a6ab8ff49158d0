import { writeFileSync } from "node:fs";
import type { LabReport } from "@vfiokit/lab";
import { afterEach, expect, it, vi } from "vitest";
import { checkCommand } from "../../src/lab/check.js";
import { matrixTable } from "../../src/lab/matrix.js";
import type * as protocol from "../../src/lab/protocol.js";
import { runCommand } from "../../src/lab/run.js";
import { Style } from "../../src/style.js";
import { scratch } from "../vfiokit.js";

/*
 * Neither a protocol's file nor a scenario of the lab can await what explore does not see, so the searches are replaced
 * here: by what they return if one does.
 */
const report: LabReport = {
  matrix: { generation: { "no-crash": { verdict: "unknown", executions: 7, exhausted: true } } },
  findings: {},
  scenarios: 1,
  executions: 7,
  time: 1,
};
vi.mock("@vfiokit/lab", async (original) => ({
  ...(await original<object>()),
  runLab: () => Promise.resolve(report),
}));
vi.mock("../../src/lab/protocol.js", async (original) => ({
  ...(await original<object>()),
  searchProtocol: (scenario: protocol.ProtocolResult["scenario"]) =>
    Promise.resolve({
      scenario,
      verdict: "unknown",
      executions: 7,
      participants: 0,
      tasks: ["a"],
      lockdep: { scenario, verdict: "clean", findings: [] },
    }),
}));
afterEach(() => {
  vi.restoreAllMocks();
  vi.unstubAllEnvs();
});

const stdout = () => vi.spyOn(process.stdout, "write").mockReturnValue(true);

it("lab check ends with 4 if a scenario does what cannot be explored", async () => {
  using folder = scratch();
  const file = folder.file("one.json");
  const steps = [
    ["lock", "A"],
    ["unlock", "A"],
  ];
  const scenario = { name: "one", locks: { A: { kind: "mutex" } }, tasks: [{ name: "a", steps }] };
  writeFileSync(file, JSON.stringify({ scenarios: [scenario] }));
  const printed = stdout();
  await expect(checkCommand().parseAsync([file], { from: "user" })).rejects.toMatchObject({
    message: "1 of 1 scenarios do what cannot be explored",
    exitCode: 4,
  });
  expect(printed.mock.calls.join("")).toContain(
    "unknown: none of 7 executions deadlocks, and not everything could be explored",
  );
});

it("lab run ends with 4 if the core's design does what cannot be explored", async () => {
  const printed = stdout();
  await expect(runCommand().parseAsync(["--scenario", "quick"], { from: "user" })).rejects.toMatchObject({
    message: "generation does what cannot be explored",
    exitCode: 4,
  });
  expect(printed.mock.calls.join("")).toMatch(/^no-crash +unknown 7$/m);
});

it("the matrix gives unknown a colour of its own", () => {
  vi.stubEnv("NO_COLOR", "");
  const style = Style.of({ isTTY: true });
  const [row] = matrixTable(report.matrix, style).filter((line) => line.startsWith("no-crash"));
  // Colours are marks until they are printed.
  expect(row).toMatch(/33\S?unknown\S*39\S? 7/);
});
