/** What the long runs of the tests have in common, as commands: their numbers, the tests' modules, the line of progress. */
import { parseArgs } from "node:util";
import { createServer } from "vite";

/**
 * Reads the command line, which has options with whole numbers, and flags. Ends the process for --help, and for wrong usage.
 * @template {string} N
 * @template {string} F
 * @param {string} name of the npm script
 * @param {string} usage
 * @param {{ numbers: readonly N[], flags?: readonly F[], lists?: readonly string[] }} options
 */
export function readCommand(name, usage, { numbers, flags = [], lists = [] }) {
  /** @param {string} message @returns {never} */
  const refuse = (message) => {
    console.error(`${name}: ${message}\n\n${usage}`);
    process.exit(2);
  };
  /** @returns {Readonly<Record<string, unknown>>} */
  const read = () => {
    try {
      /** @type {Record<string, { type: "string" | "boolean", multiple?: boolean }>} */
      const options = { help: { type: "boolean" } };
      for (const option of flags) options[option] = { type: "boolean" };
      for (const option of numbers) options[option] = { type: "string" };
      for (const option of lists) options[option] = { type: "string", multiple: true };
      return parseArgs({ options }).values;
    } catch (error) {
      return refuse(error instanceof Error ? error.message : String(error));
    }
  };
  const values = read();
  if (values["help"] === true) {
    console.log(usage);
    process.exit(0);
  }
  return {
    refuse,
    /** @param {N} option @param {number} otherwise @param {number} [least] */
    number(option, otherwise, least = 1) {
      const value = /** @type {string | undefined} */ (values[option]);
      if (value === undefined) return otherwise;
      if (!/^\d{1,9}$/.test(value) || Number(value) < least)
        return refuse(`--${option} ${value}: a whole number from ${least} up is needed`);
      return Number(value);
    },
    /** @param {F} option */
    flag: (option) => values[option] === true,
    /** @param {string} option */
    list: (option) => /** @type {string[] | undefined} */ (values[option]),
    /** By lot, unless it is given. */
    seed() {
      return this.number(/** @type {N} */ ("seed"), Math.floor(Math.random() * 1e9), 0);
    },
  };
}

/** Loads modules of the tests, which are TypeScript and import the packages' sources, as the tests do. */
export async function testModules() {
  const vite = await createServer({
    configFile: "vitest.config.ts",
    server: { middlewareMode: true, watch: null, ws: false },
    optimizeDeps: { noDiscovery: true },
    logLevel: "error",
    appType: "custom",
  });
  return {
    /** @param {string} path from the workspace's folder @returns {Promise<unknown>} */
    load: (path) => vite.ssrLoadModule(`/${path}`),
    close: () => vite.close(),
  };
}

/** How far it is, on standard error: five times a second on a terminal, elsewhere a line each `seconds`. */
export class Progress {
  #shown = 0;
  #clear = process.stderr.isTTY ? "\r\x1b[K" : "";

  /** @param {number} [seconds] */
  constructor(seconds = 10) {
    this.interval_ms = process.stderr.isTTY ? 200 : 1000 * seconds;
  }

  /** @param {() => string} line */
  show(line) {
    const now = performance.now();
    if (now - this.#shown < this.interval_ms) return;
    this.#shown = now;
    process.stderr.write(`${this.#clear}${line()}${this.#clear ? "" : "\n"}`);
  }

  /** What follows is printed at the beginning of a line. */
  clear() {
    process.stderr.write(this.#clear);
  }
}
