/**
 * What tasks may share besides what the explorer sees: `conflict`, anything, unless they say less; `none`, nothing,
 * which is a promise.
 */
export type PlainFields = "conflict" | "none";

/**
 * What an `await` of a promise is that is none of the explorer's: `points`, a place where others run; `fused`, nothing,
 * as long as the promise settles before the task's next point, which is a promise too.
 */
export type AwaitsAre = "points" | "fused";
