import type { AdminCommand, AdminResults, RelayStatus, TaskReport } from "@vfiokit/user";
import type { Style } from "../style.js";
import { bytes, table } from "../shared/tables.js";

type Formatters = {
  readonly [C in AdminCommand]: (result: AdminResults[C], style: Style) => string[];
};

const formatters: Formatters = {
  info: (info, style) => [
    style.bold(`${info.name} (${info.id})`) + (info.removed ? style.red(" removed") : ""),
    ...table([
      ["client", info.connected ? "connected" : "none"],
      ["open", info.openCount === 1 ? "1 time" : `${info.openCount} times`],
      ["worker", workerOf(info)],
      ["resets", `${info.generation}`],
      ...(info.faults.count > 0 ? [["exceptions", faultsOf(info)]] : []),
      ["migration", info.migratable ? "possible" : "not possible"],
      ...(info.handOver?.id === undefined ? [] : [["hand-over", handOverOf(info.handOver)]]),
      ["hot reset", info.set.join(" ")],
    ]),
  ],
  reset: ({ generation }) => [`reset; resets so far: ${generation}`],
  "hot-reset": ({ functions }) => [
    "reset; resets so far:",
    ...table(functions.map(({ name, generation }) => [name, `${generation}`])),
  ],
  inject: ({ error }) => [`injected: ${error}`],
  remove: () => ["removed"],
  pause: () => ["paused"],
  resume: () => ["running"],
  tasks: ({ tasks }) => (tasks.length === 0 ? ["nobody is at work on it"] : tasks.flatMap(taskLines)),
  stream: ({ format, sections }) => [
    `format ${format}`,
    ...table([
      ["section", "version", "size", ""],
      ...sections.map(({ name, version, optional, size }) => [
        name,
        `${version}`,
        size === undefined ? "" : bytes(size),
        optional ? "optional" : "",
      ]),
    ]),
  ],
  migration: ({ state, generation, sessionOpen }) =>
    table([
      ["state", state],
      ["session", sessionOpen ? "open" : "none"],
      ["resets", `${generation}`],
    ]),
  "hand-over": ({ phase, id, to, since, wasReset, outcome, state, generation }) =>
    table([
      ["phase", `${phase}${wasReset ? ", and reset since" : ""}`],
      ...(id === undefined ? [] : [["id", id]]),
      ...(to === undefined ? [] : [["to", to]]),
      ...(since === undefined ? [] : [["since", since]]),
      ...(outcome === undefined ? [] : [["outcome", outcome]]),
      ["state", state],
      ["resets", `${generation}`],
    ]),
};

/** The result of a command as lines for a person. */
export function formatResult<C extends AdminCommand>(
  command: C,
  result: AdminResults[C],
  style: Style,
): string[] {
  return formatters[command](result, style);
}

/** What a relay answers to info. */
export function formatRelay(relay: RelayStatus, style: Style): string[] {
  return [
    style.bold(`relay at ${relay.listen}`),
    ...table([
      ["server", relay.server],
      ["client", relay.connected ? "connected" : "none"],
      ["move", relay.migrating ? "under way" : "none"],
      ["requests", `${relay.underWay} without an answer of the server yet`],
      ["snapshots", `${relay.snapshots}`],
    ]),
  ];
}

/** "given 0123… to /run/b.sock since 2026-…" */
function handOverOf({ phase, id, to, since }: NonNullable<AdminResults["info"]["handOver"]>): string {
  return [
    phase,
    id,
    ...(to === undefined ? [] : ["to", to]),
    ...(since === undefined ? [] : ["since", since]),
  ].join(" ");
}

/** What the device's own code has thrown. */
function faultsOf({ faults: { count, failed, last } }: AdminResults["info"]): string {
  return `${count}${failed ? ", failed until it is reset" : ""}; the last: ${last ?? ""}`;
}

/** What the administrator's pause, a migration or a hand-over makes of it. */
function workerOf({ paused, stopped }: AdminResults["info"]): string {
  if (paused) return "paused";
  return stopped.length === 0 ? "running" : `stopped: ${stopped.join(", ")}`;
}

/** As lockdep names tasks: "client/12". */
function taskLines({ name, id, holds, waits }: TaskReport): string[] {
  const rows = [
    ...holds.map(({ lock, device, mode }) => ["  holds", lock, mode, device ?? "", ""]),
    ...waits.map(({ lock, device, mode, heldBy, milliseconds }) => [
      "  waits for",
      lock,
      mode,
      device ?? "",
      `${milliseconds} ms, held by task ${heldBy.join(" and ")}`,
    ]),
  ];
  return [`${name}/${id}${rows.length === 0 ? " holds no lock" : ""}`, ...table(rows)];
}
