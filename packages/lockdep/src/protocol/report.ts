import { formatProblem } from "../report/text.js";
import type { Finding } from "./check.js";

/** The problem as text, with the interleaving that was found. */
export function formatFinding({ problem, schedule, harmless }: Finding): string {
  return formatProblem(problem, harmless ? "none" : schedule);
}
