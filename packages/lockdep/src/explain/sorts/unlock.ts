import type { BadUnlockProblem } from "../../problem.js";
import { problemGraph } from "../../report/graph.js";
import { at, list, nameOf } from "../../report/words.js";
import { parseFrame } from "../frames.js";
import { callers, type Report } from "../report.js";
import { head, type Sort } from "./sort.js";

export const unlock: Sort<BadUnlockProblem> = {
  name: "bad-unlock",
  title: head("bad unlock balance detected!"),
  kinds: ["bad-unlock"],
  sections: ["release"],
  read,
  words: ({ task, class: lockClass, at: place, held }) => [
    `${nameOf(task)} releases ${lockClass}, which it does not hold${
      held.length > 0 ? `; it holds ${list(held.map((use) => use.class))}` : ""
    }. Either the lock was released twice or never taken on this path, or another task took it.`,
    ...(place.length > 0 ? ["", `Where: ${at(place)}`] : []),
  ],
  graph: problemGraph,
  notes: (_, report) => report.heldNotes(),
};

function read(report: Report): BadUnlockProblem {
  const release = /^(\S.*)\/(\d+) is trying to release lock \((.*)\) at:\s*(.*)$/;
  const found = report.need(report.find(release), "the line that names the lock");
  const start = report.index(release);
  const place = [found[4]!, ...report.lines.slice(start + 1, start + 7)]
    .map(parseFrame)
    .find((frame) => frame);
  return {
    kind: "bad-unlock",
    task: { name: found[1]!, id: Number(found[2]) },
    lock: "",
    class: found[3]!,
    at: callers(report.backtrace(), place ? [place] : []).slice(0, 1),
    held: report.held().locks,
  };
}
