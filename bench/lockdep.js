/** Locks with and without the validator, against async-mutex and a queue of promises. */
import { lockdep, Mutex, Task } from "@vfiokit/lockdep";
import { Mutex as CheckedAsyncMutex } from "@vfiokit/lockdep/async-mutex";
import { Mutex as AsyncMutex } from "async-mutex";
import { takeTurns } from "./lib/measure.js";

export const name = "lockdep";

const TURNS = 9;
const COUNT = 50_000;

/** @returns {Promise<import("./lib/measure.js").Row[]>} */
export async function run() {
  /** @param {string} what @param {() => Promise<number>} ours @param {() => Promise<number>} baseline */
  const compare = (what, ours, baseline) => takeTurns(what, "ns", TURNS, ours, baseline);
  await Promise.all([uncontended("throw"), asyncMutex(), promiseQueue()]); // warm up
  const rows = [
    await compare("lock+unlock, checked / async-mutex", () => uncontended("throw"), asyncMutex),
    await compare("lock+unlock, off / async-mutex", () => uncontended("off"), asyncMutex),
    await compare("lock+unlock, checked / promise queue", () => uncontended("throw"), promiseQueue),
    await compare(
      "lock+unlock, checked / off",
      () => uncontended("throw"),
      () => uncontended("off"),
    ),
    await compare("two nested, checked / async-mutex", nested, asyncMutexNested),
    await compare(
      "async-mutex API, checked / async-mutex",
      () => drive(new CheckedAsyncMutex(), "throw"),
      asyncMutex,
    ),
    await compare("contended hand-off, checked / async-mutex", () => handOff("throw"), asyncMutexHandOff),
    await compare("contended hand-off, off / async-mutex", () => handOff("off"), asyncMutexHandOff),
  ];
  rows.push(graph());
  return rows;
}

/** @param {number} start @param {number} count */
const nanoseconds = (start, count) => ((performance.now() - start) * 1e6) / count;

/** @param {"throw" | "off"} mode */
function watch(mode) {
  lockdep.configure({ mode });
  lockdep.reset();
}

/** @param {"throw" | "off"} mode */
async function uncontended(mode) {
  watch(mode);
  const mutex = new Mutex("bench");
  const task = new Task("bench");
  const start = performance.now();
  for (let i = 0; i < COUNT; i++) {
    const wait = mutex.lock(task);
    if (wait) await wait;
    mutex.unlock(task);
  }
  return nanoseconds(start, COUNT);
}

async function nested() {
  watch("throw");
  const [outer, inner] = [new Mutex("outer"), new Mutex("inner")];
  const task = new Task("bench");
  const start = performance.now();
  for (let i = 0; i < COUNT; i++) {
    const first = outer.lock(task);
    if (first) await first;
    const second = inner.lock(task);
    if (second) await second;
    inner.unlock(task);
    outer.unlock(task);
  }
  return nanoseconds(start, COUNT);
}

async function asyncMutex() {
  return drive(new AsyncMutex(), "off");
}

/** @param {{ acquire(): Promise<() => void> }} mutex @param {"throw" | "off"} mode */
async function drive(mutex, mode) {
  watch(mode);
  const start = performance.now();
  for (let i = 0; i < COUNT; i++) (await mutex.acquire())();
  return nanoseconds(start, COUNT);
}

async function asyncMutexNested() {
  const [outer, inner] = [new AsyncMutex(), new AsyncMutex()];
  const start = performance.now();
  for (let i = 0; i < COUNT; i++) {
    const first = await outer.acquire();
    const second = await inner.acquire();
    second();
    first();
  }
  return nanoseconds(start, COUNT);
}

/** The mutex of many a web page: everybody awaits the one before. */
async function promiseQueue() {
  let tail = Promise.resolve();
  /** @param {() => void} body */
  const exclusively = (body) => (tail = tail.then(body));
  let runs = 0;
  const start = performance.now();
  for (let i = 0; i < COUNT; i++)
    await exclusively(() => {
      runs++;
    });
  return nanoseconds(start, runs);
}

const WAITERS = 100;

/** @param {"throw" | "off"} mode */
async function handOff(mode) {
  watch(mode);
  const mutex = new Mutex("bench");
  const rounds = COUNT / WAITERS / 10;
  const start = performance.now();
  for (let round = 0; round < rounds; round++) {
    await Promise.all(
      Array.from({ length: WAITERS }, async () => {
        const task = new Task("bench");
        const wait = mutex.lock(task);
        if (wait) await wait;
        mutex.unlock(task);
      }),
    );
  }
  return nanoseconds(start, rounds * WAITERS);
}

async function asyncMutexHandOff() {
  watch("off");
  const mutex = new AsyncMutex();
  const rounds = COUNT / WAITERS / 10;
  const start = performance.now();
  for (let round = 0; round < rounds; round++)
    await Promise.all(Array.from({ length: WAITERS }, async () => (await mutex.acquire())()));
  return nanoseconds(start, rounds * WAITERS);
}

/** The same way each time. @param {unknown[]} items */
function shuffle(items) {
  let seed = 1;
  for (let i = items.length - 1; i > 0; i--) {
    seed = (seed * 48271) % 0x7fffffff;
    const j = seed % (i + 1);
    [items[i], items[j]] = [items[j], items[i]];
  }
}

/** 1,000 classes in one order and 100,000 edges: what a new edge costs, against a chain that is known. */
function graph() {
  const CLASSES = 1000;
  const EDGES = 100_000;
  watch("throw");
  const locks = Array.from({ length: CLASSES }, (_, i) => new Mutex(`class ${i}`));
  const task = new Task("bench");
  /** @type {[Mutex, Mutex][]} */
  const pairs = [];
  // Every pair of classes at most 100 apart or so, in an order that nobody would choose.
  for (let distance = 1; pairs.length < EDGES; distance++)
    locks.slice(distance).forEach((inner, i) => {
      const outer = locks[i];
      if (outer && pairs.length < EDGES) pairs.push([outer, inner]);
    });
  shuffle(pairs);
  const turn = () => {
    const start = performance.now();
    for (const [outer, inner] of pairs) {
      void outer.lock(task);
      void inner.lock(task);
      inner.unlock(task);
      outer.unlock(task);
    }
    return nanoseconds(start, pairs.length);
  };
  const fresh = turn();
  if (lockdep.stats.edges !== EDGES) throw new Error(`${lockdep.stats.edges} edges`);
  const known = turn();
  watch("off");
  return {
    what: "1,000 classes, 100,000 edges: new / known",
    ours: fresh,
    baseline: known,
    ratio: fresh / known,
    unit: "ns",
  };
}
