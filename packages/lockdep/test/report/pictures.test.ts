import { Mutex, Task, lockdep, problemGraph, toDot, toJson, toMermaid, type Problem } from "@vfiokit/lockdep";
import { problemSvg } from "@vfiokit/lockdep/report-svg";
import { describe, expect, it } from "vitest";
import { freshValidator } from "../support/validator.js";

freshValidator();

function abba(): Problem {
  lockdep.configure({ mode: () => undefined });
  const [a, b] = [new Mutex('say "a"'), new Mutex("b\\<#>")];
  for (const [name, first, second] of [
    ["t1", a, b],
    ["t2", b, a],
  ] as const) {
    const task = new Task(name);
    void first.lock(task);
    void second.lock(task);
    second.unlock(task);
    first.unlock(task);
  }
  return lockdep.takeProblems()[0]!;
}

describe("pictures", () => {
  it("DOT escapes what it must, and marks the new order", () => {
    const dot = toDot(problemGraph(abba()));
    expect(dot).toContain('"say \\"a\\"" -> "b\\\\<#>"');
    expect(dot.split("\n").filter((line) => line.includes("penwidth=2"))).toHaveLength(1);
  });

  it("Mermaid escapes what it must", () => {
    const mermaid = toMermaid(problemGraph(abba()));
    expect(mermaid).toContain('["say #quot;a#quot;"]');
    expect(mermaid).toContain('["b\\#lt;#35;#gt;"]');
    expect(mermaid).toMatch(/ {2}linkStyle 1 /);
  });

  it("SVG is what Graphviz makes of it", async () => {
    const svg = await problemSvg(abba());
    expect(svg).toContain("<svg");
    expect(svg).toContain("say &quot;a&quot;");
    expect(svg.match(/<g id="edge/g)).toHaveLength(2);
  });

  it("JSON has the problem and what is derived from it, and nothing that is lost on the way", () => {
    const json = toJson(abba());
    expect(JSON.parse(JSON.stringify(json))).toEqual(json);
    expect(json.why).toMatch(/each waits for the next/);
    expect(json.schedule).toMatchObject({
      moves: [{ task: 0 }, { task: 1 }, { waitsFor: 1 }, { waitsFor: 0 }],
    });
  });

  it("every kind of problem has one", () => {
    lockdep.configure({ mode: () => undefined });
    const [mutex, task] = [new Mutex("m"), new Task("t")];
    try {
      mutex.unlock(task);
    } catch {
      // reported
    }
    void mutex.lock(task);
    void mutex.lock(new Task("child", { parent: task }));
    task.end();
    const problems = lockdep.takeProblems();
    expect(problems.map((problem) => problem.kind)).toEqual([
      "bad-unlock",
      "recursion",
      "hang",
      "held-at-exit",
    ]);
    for (const problem of problems) expect(problemGraph(problem).edges.length).toBeGreaterThan(0);
  });
});
