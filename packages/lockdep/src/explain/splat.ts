import type { ProblemGraph } from "../report/graph.js";
import type { Schedule } from "../problem.js";
import type { SplatProblem } from "./sorts/index.js";

/**
 * - `explained`: `problem` is what the report says;
 * - `torn`: of a sort that is explained, but parts are missing: `missing` names the first;
 * - `mixed`: lines of two reports stand among each other, and nothing tells which belongs to which;
 * - `unsupported`: of a sort that is not explained here: `missing` says what it is about.
 */
export type SplatStatus = "explained" | "torn" | "mixed" | "unsupported";

/** One report in a kernel log. */
export interface Splat {
  /** The line of the log that it begins in, from 1. */
  readonly line: number;
  /** Where the very same report begins again: a console and a dmesg of it, or a problem that came back. */
  readonly again: readonly number[];
  /** As the kernel titles it: "possible circular locking dependency detected". */
  readonly title: string;
  /** The family that it is of: "circular", "inconsistent", "hung-task". */
  readonly sort: string;
  /** "7.3.4 #1 Not tainted", or "" where that line is missing. */
  readonly kernel: string;
  readonly status: SplatStatus;
  readonly missing: string;
  readonly problem: SplatProblem | undefined;
  /** What else a reader should know: what the report does not say, and where it contradicts itself. */
  readonly notes: readonly string[];
}

/** A splat for programs: it survives JSON.stringify. */
export interface SplatJson extends Splat {
  /** The explanation, as the text has it. */
  readonly why: string;
  readonly schedule?: Schedule;
  readonly cheapestToBreak?: { readonly from: string; readonly to: string; readonly advice: string };
  readonly graph: ProblemGraph | undefined;
}
