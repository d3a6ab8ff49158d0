// Runs the demonstration on a terminal and draws what it printed: docs/demo.svg, the picture in the README.
//
//   node scripts/capture.js

import { execFileSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";

const COMMAND = "npm start";
const COLUMNS = 112;

/** Erases the line (ECMA-48, EL). */
const ERASE = "\x1b[K";

const FONT_SIZE = 13;
const CHARACTER = 7.83;
const LINE = 18;
const MARGIN = 16;

/** Colours by the number that a terminal switches them on with (ECMA-48, SGR). */
const STYLES = new Map([
  [1, "font-weight:bold;fill:#ffffff"],
  [2, "fill:#8b949e"],
  [31, "fill:#ff7b72"],
  [32, "fill:#7ee787"],
  [33, "fill:#e3b341"],
  [36, "fill:#79c0ff"],
]);

/** Runs a command on a terminal of its own and returns everything that it wrote there. @param {string} command */
function record(command) {
  const inTerminal = `stty cols ${COLUMNS} rows 60; ${command}`;
  return execFileSync("script", ["--quiet", "--return", "--command", inTerminal, "/dev/null"], {
    cwd: fileURLToPath(new URL("..", import.meta.url)),
    env: { ...process.env, npm_config_loglevel: "silent", TERM: "xterm-256color" },
    stdio: ["ignore", "pipe", "inherit"],
    encoding: "utf8",
  });
}

/** @param {string} text */
function escape(text) {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
}

/** One line of the picture: text with the styles that its escape sequences ask for. @param {string} line */
function drawLine(line) {
  let style = "";
  let drawn = "";
  // Odd elements are the numbers of the escape sequences.
  line.split(/\x1b\[(\d*)m/).forEach((part, i) => {
    if (i % 2 === 1) style = STYLES.get(Number(part)) ?? "";
    else if (part !== "")
      drawn += style === "" ? escape(part) : `<tspan style="${style}">${escape(part)}</tspan>`;
  });
  return drawn;
}

/** @param {string[]} lines */
function draw(lines) {
  const width = Math.round(COLUMNS * CHARACTER + 2 * MARGIN);
  const height = lines.length * LINE + 2 * MARGIN;
  const rows = lines.map(
    (line, i) => `<text x="${MARGIN}" y="${MARGIN + FONT_SIZE + i * LINE}">${drawLine(line)}</text>`,
  );
  return `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}">
<title>What ${COMMAND} prints</title>
<style>text { white-space: pre; }</style>
<rect width="${width}" height="${height}" rx="8" fill="#0d1117"/>
<g font-family="ui-monospace,SFMono-Regular,Menlo,Consolas,'DejaVu Sans Mono',monospace" font-size="${FONT_SIZE}" fill="#c9d1d9" xml:space="preserve">
${rows.join("\n")}
</g>
</svg>
`;
}

const printed = record(COMMAND)
  .replaceAll("\r", "")
  .trim()
  .split("\n")
  // What a progress line showed before it was erased (EL) is gone.
  .map((line) => line.split(ERASE).at(-1) ?? "");
writeFileSync(
  new URL("../docs/demo.svg", import.meta.url),
  draw([`\x1b[2m$\x1b[0m ${COMMAND}`, "", ...printed]),
);
