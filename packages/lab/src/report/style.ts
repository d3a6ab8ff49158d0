/** A bar's width and what lies between two, in rem. */
const BAR = 1.1;
const GAP = 0.2;

const LIGHT = `
  --page: #ffffff; --text: #1b1f24; --muted: #57606a; --line: #d0d7de; --panel: #f6f8fa;
  --link: #0550ae; --focus: #0969da; --now: #fff4ce;
  --pass: #116329; --pass-back: #e6f6ea; --fail: #a40e26; --fail-back: #ffebe9; --cycle: #cf222e;
  --unknown: #704d00; --unknown-back: #fff4ce;
  --c0: #b6d4fe; --c0-edge: #0550ae; --c1: #c4ecc9; --c1-edge: #116329; --c2: #fbd6b1; --c2-edge: #953800;
  --c3: #e3d0fb; --c3-edge: #6639ba; --c4: #fdd0e6; --c4-edge: #99286e; --c5: #b8ebe6; --c5-edge: #0c5f5a;
  --c6: #f3e4a1; --c6-edge: #704d00; --c7: #d8dee4; --c7-edge: #424a53;`;

const DARK = `
  --page: #0d1117; --text: #e6edf3; --muted: #9da7b3; --line: #30363d; --panel: #161b22;
  --link: #79c0ff; --focus: #58a6ff; --now: #3a2f0b;
  --pass: #7ee787; --pass-back: #0f2417; --fail: #ffa198; --fail-back: #35151a; --cycle: #ff7b72;
  --unknown: #e3b341; --unknown-back: #3a2f0b;
  --c0: #123a6b; --c0-edge: #79c0ff; --c1: #12442a; --c1-edge: #7ee787; --c2: #5a2f0c; --c2-edge: #ffa657;
  --c3: #3d2a69; --c3-edge: #d2a8ff; --c4: #5c1f45; --c4-edge: #ff9bce; --c5: #0d4744; --c5-edge: #76e3ea;
  --c6: #4d3c06; --c6-edge: #e3b341; --c7: #373e47; --c7-edge: #b1bac4;`;

/** The report's looks. @param tracks bars that stand beside each other in a lane at most */
export function stylesheet(tracks: number): string {
  const at = Array.from({ length: tracks }, (_, track) => 0.4 + track * (BAR + GAP));
  return `
:root {${LIGHT}
  color-scheme: light dark; }
@media (prefers-color-scheme: dark) { :root {${DARK} } }
* { box-sizing: border-box; }
html { scroll-padding-top: 1rem; }
body { margin: 0 auto; padding: 1rem clamp(0.75rem, 3vw, 2.5rem) 4rem; max-width: 90rem; background: var(--page); color: var(--text);
  font: 1rem/1.5 system-ui, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; }
h1 { font-size: 1.7rem; line-height: 1.2; margin: 0.5rem 0; }
h2 { font-size: 1.35rem; margin: 2.5rem 0 0.75rem; }
h3 { font-size: 1.1rem; margin: 0 0 0.75rem; }
h4 { font-size: 1rem; margin: 0 0 0.5rem; }
p { margin: 0.5rem 0; max-width: 75ch; }
a { color: var(--link); text-underline-offset: 0.15em; }
code { font: 0.875rem/1.4 ui-monospace, Menlo, Consolas, "DejaVu Sans Mono", monospace; overflow-wrap: anywhere; }
small { display: block; color: var(--muted); font-size: 0.8125rem; font-weight: normal; line-height: 1.35; }
:focus-visible { outline: 3px solid var(--focus); outline-offset: 2px; }
.note { color: var(--muted); }
.scroll { overflow-x: auto; }
table { border-collapse: separate; border-spacing: 0; }
caption { text-align: left; color: var(--muted); padding-bottom: 0.4rem; }
th, td { text-align: left; vertical-align: top; padding: 0.4rem 0.7rem; }

.matrix { border: 1px solid var(--line); border-radius: 6px; width: 100%; min-width: 38rem; }
.matrix thead tr > th { background: var(--panel); border-bottom: 1px solid var(--line); }
.matrix tr + tr > * { border-top: 1px solid var(--line); }
.matrix tr > :first-child { position: sticky; left: 0; z-index: 1; background: var(--page); border-right: 1px solid var(--line); }
.matrix tbody th { font-weight: 600; width: 36%; }
.matrix td { font-variant-numeric: tabular-nums; white-space: nowrap; }
.matrix td + td { border-left: 1px solid var(--line); }
.matrix caption { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }
.verdict { font-weight: 700; }
.pass { background: var(--pass-back); }
.pass .verdict { color: var(--pass); }
.fail { background: var(--fail-back); }
.fail .verdict, .fail a { color: var(--fail); }
.unknown { background: var(--unknown-back); }
.unknown .verdict { color: var(--unknown); }
.none { color: var(--muted); }

.design { padding: 1.25rem 0; border-top: 1px solid var(--line); }
figure { display: grid; grid-template-columns: minmax(0, 25rem) minmax(0, 1fr); gap: 0.5rem 2rem; align-items: center; margin: 0 0 1.25rem; }
@media (max-width: 48rem) { figure { grid-template-columns: minmax(0, 1fr); } }
figcaption ul { padding-left: 1.2rem; margin: 0.5rem 0; font-size: 0.875rem; }
figcaption li.cycle { color: var(--fail); font-weight: 600; }
.graph { display: block; max-width: 100%; height: auto; }
.graph rect { fill: var(--panel); stroke: var(--muted); }
.graph text { fill: var(--text); font-size: 13px; text-anchor: middle; }
.graph path.order { fill: none; stroke: var(--muted); stroke-width: 1.2; }
.graph path.cycle { fill: none; stroke: var(--cycle); stroke-width: 2.4; }
.graph marker.order path { fill: var(--muted); }
.graph marker.cycle path { fill: var(--cycle); }
.graph .lock.cycle rect { stroke: var(--cycle); stroke-width: 2; }

summary { cursor: pointer; }
.counterexample { border: 1px solid var(--line); border-radius: 6px; margin-bottom: 0.6rem; }
.counterexample > summary { padding: 0.5rem 0.75rem; overflow-wrap: anywhere; }
.which { font-weight: 600; color: var(--fail); margin-right: 0.5rem; }
.story { padding: 0 0.75rem 0.75rem; scroll-margin-top: 6rem; }
.stepper { background: var(--panel); border: 1px solid var(--line); border-radius: 6px; padding: 0.6rem 0.75rem; margin: 0.75rem 0; }
@media (min-width: 48rem) and (min-height: 40rem) { .stepper { position: sticky; top: 0; z-index: 2; } }
.buttons { display: flex; flex-wrap: wrap; gap: 0.5rem; align-items: center; }
.buttons label { margin-left: 0.5rem; }
.buttons input { flex: 1 1 8rem; min-width: 6rem; max-width: 24rem; accent-color: var(--focus); }
button { font: inherit; padding: 0.25rem 0.7rem; min-height: 2.25rem; color: var(--text); background: var(--page); border: 1px solid var(--muted); border-radius: 6px; cursor: pointer; }
button[aria-disabled="true"] { color: var(--muted); border-style: dashed; cursor: default; }
.status { font-weight: 600; min-height: 3em; max-width: none; overflow-wrap: break-word; }
.stepper .locks { margin: 0; padding-left: 1.2rem; font-size: 0.875rem; }
.legend { display: flex; flex-wrap: wrap; gap: 0.25rem 1.1rem; list-style: none; padding: 0; margin: 0.75rem 0; font-size: 0.875rem; }
.key { display: inline-block; width: ${BAR}rem; height: ${BAR}rem; border: 1.5px solid; border-radius: 3px; text-align: center; font-size: 0.75rem; font-weight: 700; line-height: 1rem; vertical-align: -0.15rem; }

.lanes { min-width: min(100%, 30rem); }
.lanes caption { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }
.lanes th, .lanes td { padding-top: 0.2rem; padding-bottom: 0.2rem; }
.lanes thead th { border-bottom: 2px solid var(--line); }
.lanes tbody th { color: var(--muted); font-weight: normal; text-align: right; font-variant-numeric: tabular-nums; }
.lanes td { border-left: 1px solid var(--line); }
.lane { position: relative; height: 2rem; }
.text { overflow-wrap: break-word; scroll-margin: 16rem 1rem 4rem; font-size: 0.9375rem; }
.violates { color: var(--fail); font-weight: 600; }
.stepper:not([hidden]) ~ .scroll tbody tr { cursor: pointer; }

.bar { position: absolute; top: 0; bottom: 0; width: ${BAR}rem; border: 0 solid; border-width: 0 1.5px; text-align: center; font-size: 0.75rem; }
.bar b { display: block; line-height: 1rem; border-radius: 2px; }
.bar.begins { top: 0.3rem; border-top-width: 1.5px; border-radius: 4px 4px 0 0; }
.bar.ends { bottom: 0.35rem; border-bottom-width: 1.5px; border-bottom-left-radius: 4px; border-bottom-right-radius: 4px; }
.bar.wait b { background: var(--page); }
${at.map((left, track) => `.t${track} { left: ${left.toFixed(2)}rem; }`).join("\n")}
${["0.7", ...at.map((left) => (left + BAR + 0.5).toFixed(2))].map((left, track) => `.lanes .k${track} { padding-left: ${left}rem; min-width: calc(${left}rem + 10rem); }`).join("\n")}
${Array.from({ length: 8 }, (_, i) => `.c${i} { background: var(--c${i}); border-color: var(--c${i}-edge); }\n.wait.c${i} { background: repeating-linear-gradient(-45deg, var(--c${i}-edge) 0 1.5px, var(--c${i}) 1.5px 6px); }`).join("\n")}
.key.wait { border-color: var(--muted); background: repeating-linear-gradient(-45deg, var(--muted) 0 1.5px, transparent 1.5px 6px); }

@media (forced-colors: active) { .bar, .key { forced-color-adjust: none; } }
@media screen {
  [aria-current="step"] > * { background: var(--now); }
  .lanes [aria-current="step"] > th { color: var(--text); font-weight: 700; box-shadow: inset 4px 0 0 var(--focus); }
  .future .text { color: var(--muted); font-weight: normal; }
  .future .bar { visibility: hidden; }
}
@media print {
  :root {${LIGHT} }
  body { max-width: none; padding: 0; font-size: 10pt; }
  .stepper, .up { display: none; }
  .scroll { overflow: visible; }
  .matrix { min-width: 0; }
  .matrix td { white-space: normal; }
  .lanes .lane { min-width: 0; }
  tr, figure { break-inside: avoid; }
  h2, h3, h4, summary { break-after: avoid; }
  .bar, .key, .pass, .fail, .unknown { print-color-adjust: exact; }
}
`;
}
