import { expect, it } from "vitest";
import { formatReport, soak } from "./soak.js";

const SECONDS = Number(process.env["SOAK_SECONDS"] ?? 30);
const SEED = Number(process.env["SOAK_SEED"] ?? Math.floor(Math.random() * 1e9));

it(
  `20 devices with traffic, resets, moves and clients that come and go: nothing grows (${SECONDS} s, seed ${SEED})`,
  { timeout: 1000 * (SECONDS + 120) },
  async () => {
    const report = await soak({ seconds: SECONDS, seed: SEED });
    expect(report.faults, formatReport(report)).toEqual([]);
    expect(report.devices).toBe(20);
    expect(report.counts.sessions).toBeGreaterThan(20);
    expect(report.counts.moves).toBeGreaterThan(0);
  },
);
