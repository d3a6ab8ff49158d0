import type { CounterexampleLine } from "../counterexample.js";
import { escape } from "./escape.js";
import { locksAfter, swimLanes, type Bar, type SwimLanes } from "./lanes.js";
import { storyId } from "./matrix-html.js";
import type { Story } from "./model.js";
import type { Steps } from "./page/page.js";

/** A counterexample: what it shows, and the steps, a column a task, with the locks as bars beside them. */
export function storyHtml(story: Story): string {
  const { design, invariant, finding, counterexample, deduced, lines } = story;
  const id = storyId(design, invariant);
  const lanes = swimLanes(lines);
  const name = `${design}: ${invariant}`;
  return `<details class="counterexample">
<summary><span class="which">${escape(invariant)}</span> <span class="finding">${escape(finding)}</span></summary>
<div class="story" id="${id}" role="group" aria-label="${escape(name)}">
<p>${deduced ? DEDUCED : "What happens, step by step:"} <code>vfiokit lab replay '${escape(counterexample)}'</code></p>
${stepperHtml(id, lines.length)}
${legendHtml(lanes)}
<div class="scroll" role="region" aria-label="${escape(`Steps of ${name}`)}" tabindex="0">
<table class="lanes">
<caption>${escape(name)}, step by step</caption>
<thead><tr><th scope="col">step</th>${lanes.tasks.map((task) => `<th scope="col">${escape(task)}</th>`).join("")}</tr></thead>
<tbody>
${lines.map((line, step) => rowHtml(line, step, lanes)).join("\n")}
</tbody>
</table>
</div>
<p><a class="up" href="#verdicts">Back to the verdicts</a></p>
</div>
</details>`;
}

/** What the page's script says in each step. */
export function storySteps({ lines }: Story): Steps {
  const lanes = swimLanes(lines);
  return lines.map((line, step) => ({
    says: line.task === "" ? plain(line.text) : `${line.task}: ${plain(line.text)}`,
    locks: locksAfter(lanes, step),
  }));
}

/** How many bars stand beside each other in any lane of a counterexample. */
export function mostTracks(stories: readonly Story[]): number {
  return Math.max(0, ...stories.flatMap(({ lines }) => swimLanes(lines).tracks));
}

const DEDUCED =
  "These orders of locks show when each operation runs alone. When they are under way at once, they can come to this:";

/** Violations are marked for terminals. */
const plain = (text: string): string => text.replace(/^!! /, "violates ");

function stepperHtml(id: string, steps: number): string {
  const button = (go: string, sign: string, label: string): string =>
    `<button type="button" data-go="${go}"><span aria-hidden="true">${sign}</span> ${label}</button>`;
  return `<div class="stepper" role="group" aria-label="Stepping" hidden>
<div class="buttons">${button("first", "⇤", "First")}${button("back", "←", "Back")}${button("on", "→", "Forward")}${button("last", "⇥", "Last")}
<label for="${id}-step">Step</label><input id="${id}-step" type="range" min="1" max="${steps}" value="${steps}"></div>
<p class="status" role="status"></p>
<ul class="locks" aria-label="Locks after this step"></ul>
</div>`;
}

function legendHtml({ locks }: SwimLanes): string {
  if (locks.length === 0) return "";
  const entries = locks.map(
    (name, lock) => `<li><span class="key ${colour(lock)}">${letter(lock)}</span> ${escape(name)}</li>`,
  );
  return `<ul class="legend" aria-label="Locks">${entries.join("")}<li><span class="key wait"></span> hatched: waits</li></ul>`;
}

function rowHtml({ task: name, text }: CounterexampleLine, step: number, lanes: SwimLanes): string {
  const number = `<th scope="row">${step + 1}</th>`;
  const acts = lanes.tasks.indexOf(name);
  const violates = acts < 0 || text.startsWith("!!");
  const words = `<span class="${violates ? "text violates" : "text"}" data-acts>${escape(plain(text))}</span>`;
  if (acts < 0)
    return `<tr>${number}<td class="end" colspan="${Math.max(1, lanes.tasks.length)}">${words}</td></tr>`;
  const cells = lanes.tasks.map((_, task) => {
    const bars = lanes.bars.filter((bar) => bar.task === task && bar.from <= step && step <= bar.to);
    return `<td class="lane k${lanes.tracks[task]!}">${bars.map((bar) => barHtml(bar, step, lanes)).join("")}${task === acts ? words : ""}</td>`;
  });
  return `<tr>${number}${cells.join("")}</tr>`;
}

/** The part of a bar that is in one step. */
function barHtml(bar: Bar, step: number, { locks }: SwimLanes): string {
  const { kind, lock, track, from, to, open } = bar;
  const begins = step === from;
  const classes = [
    "bar",
    kind,
    colour(lock),
    `t${track}`,
    ...(begins ? ["begins"] : []),
    ...(step === to && !open ? ["ends"] : []),
  ];
  const title = escape(`${kind === "wait" ? "waits for " : ""}${locks[lock]!}`);
  return `<span class="${classes.join(" ")}" title="${title}" aria-hidden="true">${begins ? `<b>${letter(lock)}</b>` : ""}</span>`;
}

const COLOURS = 8;
const colour = (lock: number): string => `c${lock % COLOURS}`;
/** So that nobody needs to tell colours apart. */
const letter = (lock: number): string => String.fromCharCode("A".charCodeAt(0) + (lock % 26));
