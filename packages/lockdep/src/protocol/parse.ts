import { Validator, type OutputUnit } from "@cfworker/json-schema";
import { isMap, isSeq, LineCounter, parseDocument, type Document, type Node } from "yaml";
import type { Frame } from "../stack.js";
import type { LockSpec, Op, Protocol, Scenario, Step, TaskSpec, Verdict } from "./program.js";
import { PROTOCOL_SCHEMA } from "./schema.js";

/** The file is not a lock protocol. The message begins with "file:line:column". */
export class ProtocolError extends Error {
  override readonly name = "ProtocolError";
  constructor(
    readonly file: string,
    readonly line: number,
    readonly column: number,
    problem: string,
  ) {
    super(`${file}:${line}:${column}: ${problem}`);
  }
}

type ActionJson = [op: Op, lock: string, third?: string | number];
type StepJson = ActionJson | { do: ActionJson; at?: string; comment?: string };
interface FileJson {
  scenarios: {
    name: string;
    comment?: string;
    locks: Record<string, { kind: LockSpec["kind"]; class?: string }>;
    tasks: (StepJson[] | { name?: string; comment?: string; steps: StepJson[] })[];
    expect?: Verdict;
  }[];
}

const WANTS: Partial<Record<Op, LockSpec["kind"]>> = {
  lock: "mutex",
  read: "rwsem",
  read_recursive: "rwsem",
  write: "rwsem",
  downgrade: "rwsem",
};

/**
 * Reads a lock protocol in YAML or JSON.
 * @param file its name, for messages and for the places of steps that name none.
 * @throws ProtocolError
 */
export function parseProtocol(text: string, file: string): Protocol {
  try {
    return new Reader(text, file).protocol();
  } catch (error) {
    // The stack's end, in the YAML parser or in the schema's validator, which go down with the text.
    if (error instanceof RangeError) throw new ProtocolError(file, 1, 1, "nested too deeply");
    throw error;
  }
}

/** Keywords that only say that something inside them is wrong. */
const FRAMEWORK = new Set([
  ...["$ref", "if", "then", "else", "properties", "items", "prefixItems", "additionalProperties"],
]);

class Reader {
  readonly #lines = new LineCounter();
  readonly #document: Document.Parsed;

  constructor(
    text: string,
    private readonly file: string,
  ) {
    this.#document = parseDocument(text, { lineCounter: this.#lines, prettyErrors: false });
    const [error] = this.#document.errors;
    if (error) {
      const { line, col } = this.#lines.linePos(error.pos[0]);
      throw new ProtocolError(file, line, col, error.message);
    }
  }

  protocol(): Protocol {
    const json = this.#toJson();
    const { valid, errors } = new Validator(PROTOCOL_SCHEMA as object, "2020-12", false).validate(json);
    if (!valid) this.#refuse(errors, json);
    const scenarios = (json as FileJson).scenarios.map((scenario, i): Scenario => {
      const locks = new Map(
        Object.entries(scenario.locks).map(([name, spec]) => [
          name,
          { kind: spec.kind, class: spec.class ?? name },
        ]),
      );
      const tasks = scenario.tasks.map((task, j) => this.#task(task, j, locks, ["scenarios", i, "tasks", j]));
      tasks.forEach(({ name }, j) => {
        if (tasks.findIndex((task) => task.name === name) < j)
          throw this.#error(
            ["scenarios", i, "tasks", j],
            `two tasks of "${scenario.name}" are called "${name}"`,
          );
      });
      return {
        name: scenario.name,
        ...(scenario.comment === undefined ? {} : { comment: scenario.comment }),
        locks,
        tasks,
        ...(scenario.expect === undefined ? {} : { expect: scenario.expect }),
      };
    });
    return { file: this.file, scenarios };
  }

  /** A few lines of aliases of aliases can stand for more than any memory holds: the parser counts them. */
  #toJson(): unknown {
    try {
      return this.#document.toJS();
    } catch (error) {
      if (error instanceof ReferenceError)
        throw new ProtocolError(this.file, 1, 1, `aliases: ${error.message}`);
      throw error;
    }
  }

  #task(
    json: FileJson["scenarios"][number]["tasks"][number],
    index: number,
    locks: Scenario["locks"],
    path: (string | number)[],
  ): TaskSpec {
    const named = Array.isArray(json) ? { steps: json } : json;
    const stepsPath = Array.isArray(json) ? path : [...path, "steps"];
    const name = named.name ?? `task${index + 1}`;
    return {
      name,
      ...(named.comment === undefined ? {} : { comment: named.comment }),
      steps: named.steps.map((step, i) => this.#step(step, name, locks, [...stepsPath, i])),
    };
  }

  #step(json: StepJson, task: string, locks: Scenario["locks"], path: (string | number)[]): Step {
    const action = Array.isArray(json) ? json : json.do;
    const [op, lock, third] = action;
    const actionPath = Array.isArray(json) ? path : [...path, "do"];
    const spec = locks.get(lock);
    if (!spec) {
      const known = [...locks.keys()].join(", ");
      throw this.#error(
        [...actionPath, 1],
        `lock "${lock}": this scenario has no such lock (it has ${known})`,
      );
    }
    const wanted = WANTS[op];
    if (wanted && spec.kind !== wanted)
      throw this.#error(
        [...actionPath, 0],
        `"${op}" is for a lock of kind ${wanted}, and ${lock} is of kind ${spec.kind}` +
          (op === "lock" ? ': use "read" or "write"' : ""),
      );
    if (op === "trylock" && spec.kind === "rwsem" && third === undefined)
      throw this.#error(actionPath, `"trylock" of the rwsem ${lock} needs a third item, "read" or "write"`);
    if (op === "trylock" && spec.kind === "mutex" && third !== undefined)
      throw this.#error([...actionPath, 2], `"trylock" of the mutex ${lock} has no third item`);
    return {
      op,
      lock,
      subclass: op === "lock_nested" ? Number(third) : 0,
      ...(op === "trylock" && third !== undefined ? { mode: third as "read" | "write" } : {}),
      at: this.#frame(Array.isArray(json) ? {} : json, task, path),
    };
  }

  /** Where a step is: as it says itself, or its line in the file. */
  #frame(json: { at?: string; comment?: string }, task: string, path: (string | number)[]): Frame {
    const note = json.comment === undefined ? {} : { note: json.comment };
    if (json.at !== undefined) {
      const match = /^(?:(\S.*?)\s*)??\(?([^\s()]+?):(\d+)(?::(\d+))?\)?$/.exec(json.at);
      return match
        ? {
            fn: match[1] ?? "",
            file: match[2]!,
            line: Number(match[3]),
            column: Number(match[4] ?? 0),
            ...note,
          }
        : { fn: json.at, file: "", line: 0, column: 0, ...note };
    }
    const { line, column } = this.#position(path);
    return { fn: task, file: this.file, line, column, ...note };
  }

  /** The schema's complaint that is deepest in the file says most. */
  #refuse(errors: readonly OutputUnit[], json: unknown): never {
    const depth = (error: OutputUnit): number => error.instanceLocation.split("/").length;
    const worst = errors
      .filter((error) => !FRAMEWORK.has(error.keyword))
      .sort((a, b) => depth(b) - depth(a))[0]!;
    const path = worst.instanceLocation.split("/").slice(1).map(unescapePointer);
    const value: unknown = path.reduce<unknown>((at, key) => (at as Record<string, unknown>)[key], json);
    const said =
      worst.keyword === "enum"
        ? `${JSON.stringify(value)} is none of ${/\[(.*)\]/.exec(worst.error)![1]!.replaceAll(",", ", ")}`
        : worst.keyword === "false"
          ? "is not known here"
          : worst.error.replace(/^Instance /, "").replace(/\.$/, "");
    throw this.#error(path, `${path.join(".") || "the file"}: ${said}`);
  }

  #error(path: readonly (string | number)[], problem: string): ProtocolError {
    const { line, column } = this.#position(path);
    return new ProtocolError(this.file, line, column, problem);
  }

  #position(path: readonly (string | number)[]): { line: number; column: number } {
    let node: unknown = this.#document.contents;
    for (const key of path) {
      const next: unknown = isMap(node)
        ? (node.get(key, true) ?? node.get(String(key), true))
        : isSeq(node)
          ? node.get(Number(key), true)
          : undefined;
      if (next === undefined || next === null) break;
      node = next;
    }
    const { line, col } = this.#lines.linePos((node as Node | null)?.range?.[0] ?? 0);
    return { line: Math.max(line, 1), column: Math.max(col, 1) };
  }
}

function unescapePointer(segment: string): string {
  return decodeURIComponent(segment).replaceAll("~1", "/").replaceAll("~0", "~");
}
