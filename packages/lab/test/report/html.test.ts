import { createHash } from "node:crypto";
import { Script } from "node:vm";
import { reportHtml, type ReportModel } from "@vfiokit/lab";
import { describe, expect, it } from "vitest";
import { embeddedJson } from "../../src/report/escape.js";
import { graphSvg } from "../../src/report/graph-svg.js";

/** What would break out of an element, an attribute, a script or a comment. */
const HOSTILE = `"'</script><!--<script>alert(1)</script> & <b>`;

const model: ReportModel = {
  report: {
    matrix: {
      locked: {
        "no-deadlock": {
          verdict: "fail",
          executions: 11936,
          exhausted: true,
          counterexample: "locked/ioctl@0",
        },
        "no-crash": { verdict: "pass", executions: 2, exhausted: false },
        "all-paths": { verdict: "unknown", executions: 3, exhausted: true },
      },
    },
    findings: { locked: { "no-deadlock": HOSTILE } },
    scenarios: 1,
    executions: 11938,
    time: 1234,
  },
  bounds: { executions: 2 },
  designs: [
    {
      name: "locked",
      title: HOSTILE,
      graph: {
        locks: ["stateMutex", HOSTILE],
        orders: [
          { from: "stateMutex", to: HOSTILE, task: HOSTILE, inCycle: true },
          { from: HOSTILE, to: "stateMutex", task: "b", inCycle: true },
        ],
        cycle: ["stateMutex", HOSTILE, "stateMutex"],
      },
    },
  ],
  stories: [
    {
      design: "locked",
      invariant: "no-deadlock",
      finding: HOSTILE,
      counterexample: HOSTILE,
      deduced: false,
      lines: [
        { task: HOSTILE, text: HOSTILE, lock: { what: "takes", lock: HOSTILE, mode: "exclusive" } },
        { task: "b", text: "waits", lock: { what: "waits", lock: HOSTILE, mode: "exclusive" } },
        { task: "b", text: "!! no-crash: it is broken" },
        { task: "", text: "deadlock" },
      ],
    },
  ],
};

const all = (html: string, pattern: RegExp): string[] =>
  Array.from(html.matchAll(pattern), ([, found]) => found!);
const sha256 = (text: string): string => `sha256-${createHash("sha256").update(text).digest("base64")}`;

describe("the HTML report", () => {
  it("has the verdict, the executions and how far they went in each cell", async () => {
    const html = await reportHtml(model);
    expect(html).toMatch(/<th scope="col"><a href="#design-locked">locked<\/a><\/th>/);
    const row = (name: string): string => new RegExp(`<tr><th scope="row">${name}<.*</tr>`).exec(html)![0];
    expect(row("no-deadlock")).toMatch(/<td class="fail">.*FAIL.*11,936 <br>exhausted/);
    expect(row("no-crash")).toMatch(/<td class="pass">.*pass.*2 <br>bounded/);
    expect(row("all-paths")).toMatch(/<td class="unknown"><span class="verdict">unknown<.*3 <br>exhausted/);
    expect(html).toMatch(/^\.unknown \.verdict \{/m);
    expect(row("no-cycle")).toMatch(/<td class="none">not looked at<\/td>/);
    expect(html).toContain("at most 2 executions of a scenario");
  });

  it("leads from a failing cell to its counterexample", async () => {
    const html = await reportHtml(model);
    expect(html).toContain('href="#counterexample-locked-no-deadlock"');
    expect(all(html, / id="(counterexample-[^"]*)"/g)).toContain("counterexample-locked-no-deadlock");
  });

  it("writes a step a row, and says what is violated", async () => {
    const html = await reportHtml(model);
    const lanes = html.slice(html.indexOf('<table class="lanes">'));
    expect(all(lanes, /<tr><th scope="row">(\d+)<\/th>/g)).toEqual(["1", "2", "3", "4"]);
    expect(lanes).toContain('<span class="text violates" data-acts>violates no-crash: it is broken</span>');
    expect(lanes).toContain('<td class="end" colspan="2">');
  });

  it("takes nothing for markup that comes from data", async () => {
    const html = await reportHtml(model);
    expect(html).not.toContain("<b>&");
    expect(all(html, /(<script\b[^>]*>)/g)).toEqual([
      '<script type="application/json" id="data">',
      "<script>",
    ]);
    expect(all(html, /(<\/script>)/g)).toHaveLength(2);
    expect(html).not.toContain("<!--");
    expect(html).toContain("&quot;&#39;&lt;/script&gt;&lt;!--");
  });

  it("runs its own script and style and nothing else, by the policy that it declares", async () => {
    const html = await reportHtml(model);
    const [policy] = all(html, /<meta http-equiv="Content-Security-Policy" content="([^"]*)">/g);
    const [script] = all(html, /<script>([^]*?)<\/script>/g);
    const [style] = all(html, /<style>([^]*?)<\/style>/g);
    expect(policy!.replaceAll("&#39;", "'")).toBe(
      `default-src 'none'; style-src '${sha256(style!)}'; script-src '${sha256(script!)}'; base-uri 'none'; form-action 'none'`,
    );
    // What the policy would refuse.
    const markup = html
      .replace(style!, "")
      .replace(script!, "")
      .replaceAll(/<script type[^]*?<\/script>/g, "");
    expect(markup).not.toMatch(/<[^>]* (style|on[a-z]+|src)=/);
    expect(all(html, /(?:href|url)[=(]"?([^")]*)/g).filter((to) => !to.startsWith("#"))).toEqual([]);
  });

  it("has a script that is a program of its own", async () => {
    const [script] = all(await reportHtml(model), /<script>([^]*?)<\/script>/g);
    expect(() => new Script(script!)).not.toThrow();
    expect(script).not.toMatch(/\b(import|require|__\w+)\b/);
  });

  it("gives every element an id of its own, and refers to none that is missing", async () => {
    const html = await reportHtml(model);
    const ids = all(html, / id="([^"]*)"/g);
    expect(new Set(ids).size).toBe(ids.length);
    const referred = [
      ...all(html, /href="#([^"]*)"/g),
      ...all(html, /(?:for|aria-labelledby)="([^"]*)"/g),
      ...all(html, /url\(#([^)]*)\)/g),
    ];
    expect(ids).toEqual(expect.arrayContaining(referred));
  });

  it("has data for every step of every counterexample", async () => {
    const [json] = all(await reportHtml(model), /id="data">([^]*?)<\/script>/g);
    expect(JSON.parse(json!)).toEqual({
      "counterexample-locked-no-deadlock": [
        { says: `${HOSTILE}: ${HOSTILE}`, locks: [`${HOSTILE}: holds ${HOSTILE}`, "b: holds nothing"] },
        { says: "b: waits", locks: [`${HOSTILE}: holds ${HOSTILE}`, `b: waits for ${HOSTILE}`] },
        {
          says: "b: violates no-crash: it is broken",
          locks: [`${HOSTILE}: holds ${HOSTILE}`, "b: holds nothing"],
        },
        { says: "deadlock", locks: [`${HOSTILE}: holds ${HOSTILE}`, "b: holds nothing"] },
      ],
    });
  });

  it("says what fails without an execution that shows it alone", async () => {
    const cell = { verdict: "fail", executions: 1, exhausted: true } as const;
    const html = await reportHtml({
      ...model,
      stories: [],
      report: {
        ...model.report,
        matrix: { locked: { "no-cycle": cell } },
        findings: { locked: { "no-cycle": "A -> B -> A" } },
      },
    });
    expect(html).toContain(
      '<span class="which">no-cycle</span> A -&gt; B -&gt; A, by several executions together',
    );
    expect(html).toMatch(/<td class="fail"><span class="verdict">FAIL<\/span>/);
    expect(html).not.toContain("Nothing fails");
  });

  it("is the same for the same model", async () => {
    expect(await reportHtml(model)).toBe(await reportHtml(model));
  });
});

describe("JSON in a script element", () => {
  it("ends neither the element nor begins a comment, and reads as it was", () => {
    const text = embeddedJson({ text: HOSTILE });
    expect(text).not.toMatch(/</);
    expect(JSON.parse(text)).toEqual({ text: HOSTILE });
  });
});

describe("a lock graph as a picture", () => {
  const graph = {
    locks: ["memoryLock", "stateMutex", "other"],
    orders: [
      { from: "stateMutex", to: "memoryLock", task: "a", inCycle: true },
      { from: "memoryLock", to: "stateMutex", task: "b", inCycle: true },
      { from: "stateMutex", to: "other", task: "c", inCycle: false },
    ],
    cycle: ["stateMutex", "memoryLock", "stateMutex"],
  };
  const svg = graphSvg(graph, "Orders of locks", "g");

  it("has the locks in the core's order, and those that it does not know below", () => {
    const y = (name: string): number => Number(new RegExp(`y="([\\d.]+)"[^>]*>${name}`).exec(svg)![1]);
    expect([y("stateMutex"), y("memoryLock"), y("other")]).toEqual(
      [y("stateMutex"), y("memoryLock"), y("other")].toSorted((a, b) => a - b),
    );
  });

  it("has arcs down on the right and up on the left, those of the cycle on top", () => {
    const arcs = Array.from(
      svg.matchAll(/<path class="(\w+)"[^>]* d="M([\d.]+) ([\d.]+)C.* ([\d.]+)">/g),
      (match) => ({
        kind: match[1],
        x: Number(match[2]),
        down: Number(match[4]) > Number(match[3]),
      }),
    );
    expect(arcs.map(({ kind }) => kind)).toEqual(["order", "cycle", "cycle"]);
    const [down, up] = [arcs.find((arc) => arc.down)!, arcs.find((arc) => !arc.down)!];
    expect(down.x).toBeGreaterThan(up.x);
  });

  it("stays inside its box", () => {
    const [, width, height] = /viewBox="0 0 ([\d.]+) ([\d.]+)"/.exec(svg)!.map(Number);
    const arcs = [...svg.matchAll(/ d="M([\d.]+) ([\d.]+)C(-?[\d.]+) .* [\d.]+ ([\d.]+)">/g)];
    expect(arcs).toHaveLength(3);
    for (const [x, y1, control, y2] of arcs.map(
      (arc) => arc.slice(1).map(Number) as [number, number, number, number],
    )) {
      // A cubic curve with both control points there comes three quarters of the way.
      const farthest = x + (control - x) * 0.75;
      expect(farthest).toBeGreaterThanOrEqual(0);
      expect(farthest).toBeLessThanOrEqual(width!);
      for (const y of [y1, y2]) expect(y > 0 && y < height!).toBe(true);
    }
  });
});
