import { escape } from "./escape.js";
import type { LockGraph, LockOrder } from "./lock-graph.js";

/** The order that the core follows, outermost first (docs/architecture.md); what it does not know comes last. */
const CORE_ORDER = [
  "deviceSet.lock",
  "stateMutex",
  "resetLock",
  "session.lock",
  "mmapLock",
  "memoryLock",
  "deviceLock",
  "igate",
];

const BOX = { width: 124, height: 30 };
const STEP = 56;
/** How far an arc bulges for each box that it passes. */
const BULGE = 26;
const MARGIN = 12;

/**
 * Locks below each other in the core's order, and an arc for each order of two: down on the right, and on the left
 * those that lead back up. A cycle has some of each.
 */
export function graphSvg({ locks, orders, cycle }: LockGraph, title: string, id: string): string {
  const rows = [...locks].sort((a, b) => rank(a) - rank(b));
  const row = (name: string): number => rows.indexOf(name);
  const span = ({ from, to }: LockOrder): number => row(to) - row(from);
  const widest = (up: boolean): number =>
    Math.max(0, ...orders.filter((order) => span(order) < 0 === up).map((order) => Math.abs(span(order))));
  const left = MARGIN + bulge(widest(true));
  const width = left + BOX.width + bulge(widest(false)) + MARGIN;
  const height = 2 * MARGIN + (rows.length - 1) * STEP + BOX.height;
  const middle = (name: string): number => MARGIN + row(name) * STEP + BOX.height / 2;

  // The cycle on top of what else there is.
  const arcs = orders
    .toSorted((a, b) => Number(a.inCycle) - Number(b.inCycle))
    .map((order) => {
      const down = span(order) > 0;
      const x = down ? left + BOX.width : left;
      const out = (down ? 1 : -1) * bulge(Math.abs(span(order))) * (4 / 3);
      // Arcs leave a box below its middle and arrive above it, so that those of one box stay apart.
      const away = down ? 6 : -6;
      const [y1, y2] = [middle(order.from) + away, middle(order.to) - away];
      const kind = order.inCycle ? "cycle" : "order";
      return (
        `<path class="${kind}" marker-end="url(#${id}-${kind})" d="M${x} ${y1}C${x + out} ${y1} ${x + out} ${y2} ${x} ${y2}">` +
        `<title>${escape(describeOrder(order))}</title></path>`
      );
    });
  const boxes = rows.map((name) => {
    const kind = cycle.includes(name) ? "lock cycle" : "lock";
    const y = middle(name) - BOX.height / 2;
    return (
      `<g class="${kind}"><rect x="${left}" y="${y}" width="${BOX.width}" height="${BOX.height}" rx="5"/>` +
      `<text x="${left + BOX.width / 2}" y="${middle(name)}" dy="0.35em">${escape(name)}</text></g>`
    );
  });
  return `<svg class="graph" role="img" aria-label="${escape(title)}" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}">
<defs>${marker(`${id}-order`, "order")}${marker(`${id}-cycle`, "cycle")}</defs>
${arcs.join("\n")}
${boxes.join("\n")}
</svg>`;
}

/** "memoryLock before stateMutex: VFIO_DEVICE_RESET". */
export function describeOrder({ from, to, task }: LockOrder): string {
  return `${from} before ${to}: ${task}`;
}

const rank = (name: string): number => {
  const at = CORE_ORDER.indexOf(name);
  return at < 0 ? CORE_ORDER.length : at;
};

const bulge = (boxes: number): number => (boxes === 0 ? 0 : 8 + boxes * BULGE);

function marker(id: string, kind: string): string {
  return (
    `<marker id="${id}" class="${kind}" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="9" markerHeight="9" ` +
    'markerUnits="userSpaceOnUse" orient="auto"><path d="M0 0 10 5 0 10z"/></marker>'
  );
}
