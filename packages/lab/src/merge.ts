import type { LabReport } from "./run.js";

/** One report of several, each of which is about other designs. */
export function mergeReports(reports: readonly LabReport[]): LabReport {
  return {
    matrix: Object.assign({}, ...reports.map(({ matrix }) => matrix)) as LabReport["matrix"],
    findings: Object.assign({}, ...reports.map(({ findings }) => findings)) as LabReport["findings"],
    scenarios: Math.max(0, ...reports.map(({ scenarios }) => scenarios)),
    executions: reports.reduce((sum, { executions }) => sum + executions, 0),
    time: Math.max(0, ...reports.map(({ time }) => time)),
  };
}
