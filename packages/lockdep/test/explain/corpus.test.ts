import { readFileSync } from "node:fs";
import {
  explainSplat,
  parseKernelLog,
  splatGraph,
  splatJson,
  type Splat,
  type SplatStatus,
} from "@vfiokit/lockdep/explain";
import { graphSvg } from "@vfiokit/lockdep/report-svg";
import { describe, expect, it } from "vitest";

interface Expected {
  readonly from: string;
  readonly real: boolean;
  readonly sort: string;
  readonly title: string;
  readonly status: SplatStatus;
  readonly edges?: readonly (readonly [string, string])[];
}

const file = (name: string): string => readFileSync(new URL(`corpus/${name}`, import.meta.url), "utf8");
const expected = JSON.parse(file("expected.json")) as Record<string, Expected>;
const reports = new Map(
  file("reports.log")
    .split(/^@@ /m)
    .slice(1)
    .map((text) => [text.slice(0, text.indexOf("\n")), text.slice(text.indexOf("\n") + 1)]),
);

/** The chain as it stands in the text, read here by nothing of the parser's: what was wanted leads to what was held. */
function printedChain(text: string): [string, string][] {
  const classes = new Map<number, string>();
  for (const [, number, name] of text.matchAll(/-> #(\d+) \((.*)\)\s*\{[^}]*\}/g))
    classes.set(Number(number), name!);
  const chain = [...classes].sort(([a], [b]) => a - b).map(([, name]) => name);
  return chain.map((name, i) => [name, chain[(i + 1) % chain.length]!]);
}

const orders = ({ problem }: Splat): [string, string][] =>
  problem && "orders" in problem ? problem.orders.map(({ from, to }) => [from, to]) : [];

describe("reports that people met", () => {
  it("are at least 80, of at least 20 sorts; those that are not real are marked", () => {
    const all = Object.values(expected);
    expect([...reports.keys()]).toEqual(Object.keys(expected));
    const real = all.filter((one) => one.real);
    expect(real.length).toBeGreaterThanOrEqual(80);
    expect(new Set(real.map((one) => one.sort)).size).toBeGreaterThanOrEqual(20);
  });

  it.each(Object.entries(expected))("%s: title, sort, and the chain as it is printed", (id, one) => {
    const text = reports.get(id)!;
    const splats = parseKernelLog(text);
    const splat = splats.find(({ sort }) => sort === one.sort)!;
    expect(splats.map(({ sort }) => sort)).toContain(one.sort);
    expect(splat).toMatchObject({ title: one.title, status: one.status });
    expect(orders(splat)).toEqual(expect.arrayContaining([...(one.edges ?? [])]));
    if (one.sort === "circular" && one.status === "explained") {
      expect(one.edges).toEqual(printedChain(text));
      expect(orders(splat)).toEqual(printedChain(text));
    }
    if (one.sort === "irq-order" && one.status === "explained") expect(orders(splat)).toEqual(one.edges);
    const words = explainSplat(splat);
    expect(words).toContain(one.title);
    if (one.status === "explained") {
      expect(splatGraph(splat)!.edges.length).toBeGreaterThan(0);
      expect(words).not.toMatch(
        /This report is torn|not explained|undefined|\.part\.|\.constprop|\.isra|\.cold/,
      );
    } else {
      expect(splatGraph(splat)).toBeUndefined();
      expect(words).toMatch(
        one.status === "torn" ? /This report is torn: .* is missing/ : /not explained here/,
      );
    }
    expect(JSON.parse(JSON.stringify(splatJson(splat)))).toMatchObject({
      title: one.title,
      status: one.status,
    });
  });

  it("one of each sort is drawn as SVG, with the name of its lock or task", async () => {
    const drawn = new Set<string>();
    for (const [id, text] of reports) {
      const { sort, status } = expected[id]!;
      if (status !== "explained" || drawn.has(sort)) continue;
      drawn.add(sort);
      const graph = splatGraph(parseKernelLog(text).find((splat) => splat.sort === sort)!)!;
      const svg = await graphSvg(graph);
      expect(svg.match(/class="edge"/g)).toHaveLength(graph.edges.length);
      expect(svg.match(/class="node"/g)).toHaveLength(graph.nodes.length);
    }
    expect(drawn.size).toBe(21);
  });
});
