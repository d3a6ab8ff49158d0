// Over 300 lines: which objects are watched, by which name, and what each use of one touches, are one table.

import type { Thread } from "./thread.js";
import { cellName, keysName } from "./cell-name.js";
import { collectionHandler } from "./watch-collections.js";
import { fieldsHandler, seeThrough } from "./watch-fields.js";
import {
  classNameOf,
  contentOf,
  decapitalised,
  freshKind,
  isObject,
  kindOf,
  mayHide,
  prototypesOf,
  type Kind,
} from "./watch-kind.js";

/** Who is told what the running piece does with watched objects. */
export interface WatchObserver {
  /** Whose piece runs; undefined while an invariant is checked. */
  thread(): Thread | undefined;
  touch(cell: string, writes: boolean): void;
  /** The piece may do what is not seen. */
  touchEverything(): void;
  unknown(what: string): void;
  restsOn(what: string): void;
}

/** An object that is known: it was watched, or it can be reached from one that was. */
export interface Watched {
  readonly object: object;
  /** The same in every execution: the path to it, or its class where a task has made it. */
  readonly name: string;
  /** Reachable when the tasks began: no other object has its name. */
  readonly named: boolean;
  readonly kind: Kind;
  /** What it had when it was last looked at, and what was written through its Proxy since. */
  content: Map<unknown, unknown>;
}

/**
 * Objects whose use is seen, without a change to their classes.
 *
 * What `x.watch` returns is a Proxy: each access is noted in the running piece's footprint, field by field. An object
 * that a task makes and puts into a watched one keeps its identity (`this.current === job` must stay true), so there is
 * no Proxy of it: it is one variable, all objects of its class together; whoever has come by it is taken to read it from
 * then on, and who has changed it shows by comparing it after each piece. Nothing is seen of private fields and of what
 * functions close over: who uses an object with such is taken to use everything from then on.
 */
export class Watch {
  readonly #known = new Map<object, Watched>();
  readonly #proxies = new Map<object, object>();
  readonly #objects = new WeakMap<object, object>();
  readonly #apart = new WeakSet<object>();
  readonly #roots = new Map<string, object>();
  /** By the key of a thread: the objects that it has come by. */
  readonly #held = new Map<string, Set<Watched>>();
  readonly #blind = new Set<string>();
  #running = false;

  constructor(private readonly observer: WatchObserver) {}

  /** The explorer's own: it needs no watching. */
  setApart<T extends object>(object: T): T {
    this.#apart.add(object);
    return object;
  }

  /** @throws TypeError for what has no fields that could be watched */
  watch<T extends object>(value: T, name?: string): T {
    const object = this.unwrap(value);
    const kind = typeof object === "object" && (object as unknown) !== null ? this.#kindOf(object) : "apart";
    const isSignal = [AbortController, AbortSignal].some((each) => object instanceof each);
    if (kind === "apart" || kind === "whole" || isSignal)
      throw new TypeError(
        `x.watch: ${typeof object === "object" ? `a ${classNameOf(object)}` : String(object)} has no fields that tasks could share: watch an object that holds it`,
      );
    this.observer.restsOn(
      "watched objects are used through what x.watch returned, and their classes' methods share no variables",
    );
    if (this.#running) {
      this.#learn(object, `${name ?? decapitalised(object)}*`, kind, false);
    } else if (![...this.#roots.values()].includes(object)) {
      const wanted = name ?? decapitalised(object);
      let unique = wanted;
      for (let i = 2; this.#roots.has(unique); i++) unique = `${wanted}#${i}`;
      this.#roots.set(unique, object);
    }
    return this.#proxyOf(object, kind) as T;
  }

  /** The tasks begin: what can be reached from watched objects gets its names. */
  endSetUp(): void {
    for (const [name, object] of this.#roots) this.#learn(object, name, this.#kindOf(object), true);
    this.#running = true;
  }

  end(): void {
    this.#running = false;
  }

  /** What the thread does with objects shows only when its piece is over, or not at all. */
  mayUseUnseen({ key }: Thread): boolean {
    return (
      this.#known.size > 0 && ancestors(key).some((each) => this.#held.has(each) || this.#blind.has(each))
    );
  }

  /** A piece of the thread is over. */
  settle(thread: Thread): void {
    if (this.#known.size === 0) return;
    const lineage = ancestors(thread.key);
    const isBlind = lineage.some((key) => this.#blind.has(key));
    for (const watched of [...this.#known.values()]) this.#findChanges(watched, thread, isBlind);
    for (const key of lineage) for (const held of this.#held.get(key) ?? []) this.#readAll(held);
    if (lineage.some((key) => this.#blind.has(key))) this.observer.touchEverything();
  }

  // What the Proxies' handlers use.

  /** The object behind a Proxy; anything else is itself. */
  unwrap<T>(value: T): T {
    if (typeof value !== "object" || value === null) return value;
    return (this.#objects.get(value) as T | undefined) ?? value;
  }

  /** What a task gets that reads this value. */
  wrap(value: unknown, where: () => string): unknown {
    if (mayHide(value) && !this.#apart.has(value)) this.blind(`${where()}, a function`);
    if (!isObject(value) || this.#objects.has(value)) return value;
    if (!this.#running) {
      const kind = this.#known.get(value)?.kind ?? this.#kindOf(value);
      return kind === "cells" ? this.#proxyOf(value, kind) : value;
    }
    const watched = this.#known.get(value) ?? this.#learnFresh(value);
    switch (watched?.kind) {
      case "cells":
        return this.#proxyOf(value, "cells");
      case "whole":
        this.#hold(watched);
        return value;
      case "blind":
        this.blind(watched.name);
        return this.#proxies.get(value) ?? value;
      default:
        return value;
    }
  }

  /** A task puts the value into a watched object. */
  store(value: unknown): void {
    if (!this.#running || !isObject(value)) return;
    const watched = this.#known.get(value) ?? this.#learnFresh(value);
    if (watched?.kind === "whole") this.#hold(watched);
    else if (watched?.kind === "blind") this.blind(watched.name);
  }

  /** What of `object` is known, if it is being looked at by tasks. */
  seen(object: object): Watched | undefined {
    if (!this.#running) return undefined;
    const known = this.#known.get(object);
    if (known) return known;
    this.#learn(object, `${decapitalised(object)}*`, "cells", false);
    return this.#known.get(object);
  }

  touch(cell: string, writes: boolean): void {
    if (this.#running) this.observer.touch(cell, writes);
  }

  /** The running task uses what nobody sees, from now on. */
  blind(what: string): void {
    if (!this.#running) return;
    const thread = this.observer.thread();
    if (thread) this.#blind.add(thread.key);
    this.observer.touchEverything();
    this.observer.restsOn(`${what} is not seen into: who uses it conflicts with everybody`);
  }

  /** A map's key as a part of a cell's name. */
  keyName(key: unknown): string {
    if (typeof key === "function") return "function";
    if (!isObject(key)) return String(key);
    const watched = this.#known.get(key);
    return watched?.named ? watched.name : "object";
  }

  #kindOf(object: object): Kind {
    return this.#apart.has(object) ? "apart" : kindOf(object);
  }

  #proxyOf(object: object, kind: Kind): object {
    let proxy = this.#proxies.get(object);
    if (proxy) return proxy;
    const handler =
      kind === "blind"
        ? seeThrough(this)
        : object instanceof Map || object instanceof Set
          ? collectionHandler(this)
          : fieldsHandler(this);
    proxy = new Proxy(object, handler);
    this.#proxies.set(object, proxy);
    this.#objects.set(proxy, object);
    return proxy;
  }

  /** Notes an object, and all that can be reached from it. */
  #learn(root: object, rootName: string, rootKind: Kind, named: boolean): void {
    const isFresh = rootKind === "whole" && !named;
    const todo: [object, string, Kind][] = [[root, rootName, rootKind]];
    for (let next = todo.pop(); next; next = todo.pop()) {
      const [object, name, kind] = next;
      if (this.#known.has(object) || kind === "apart") continue;
      const content = kind === "blind" ? new Map<unknown, unknown>() : contentOf(object);
      this.#known.set(object, { object, name, named, kind, content });
      if (kind !== "blind") this.#learnPrototypes(object);
      if (kind === "whole" && (object instanceof Date || ArrayBuffer.isView(object))) continue;
      const children: [object, string, Kind][] = [];
      for (const [key, value] of content)
        for (const each of [key, value]) {
          const inner = this.unwrap(each);
          if (!isObject(inner)) continue;
          if (isFresh) children.push([inner, `${classNameOf(inner)}*`, freshKind(this.#kindOf(inner))]);
          else {
            const place = isObject(key)
              ? `${each === key ? "key " : ""}${children.length}`
              : this.keyName(key);
            children.push([inner, cellName(object, name, place), this.#kindOf(inner)]);
          }
        }
      todo.push(...children.reverse());
    }
  }

  /** What an object has by its class is a variable, too: one for each prototype. */
  #learnPrototypes(object: object): void {
    for (const each of prototypesOf(object)) {
      if (this.#known.has(each)) continue;
      const name = `${classNameOf(each)}.prototype`;
      this.#known.set(each, { object: each, name, named: false, kind: "whole", content: contentOf(each) });
    }
  }

  /** The running piece reads what the object has by its class, or may have. */
  readPrototypes(object: object): void {
    if (!this.#running) return;
    for (const each of prototypesOf(object)) {
      const known = this.#known.get(each);
      if (known) this.observer.touch(known.name, false);
    }
  }

  /** The object has another class from now on. */
  hasNewClass(object: object): void {
    if (!this.#running) return;
    this.#learnPrototypes(object);
    const watched = this.#known.get(object);
    if (watched && this.#kindOf(object) !== watched.kind)
      this.blind(`${watched.name}, which changes its class`);
  }

  /** What a task made, and put into a watched object. */
  #learnFresh(value: object): Watched | undefined {
    if (this.#objects.has(value)) return undefined;
    const kind = freshKind(this.#kindOf(value));
    if (kind === "apart") return undefined;
    this.#learn(value, `${classNameOf(value)}*`, kind, false);
    return this.#known.get(value);
  }

  #hold(watched: Watched): void {
    const thread = this.observer.thread();
    const held = thread && this.#held.get(thread.key);
    if (!thread) this.#readAll(watched);
    else if (held) held.add(watched);
    else this.#held.set(thread.key, new Set([watched]));
  }

  /** Who has an object has all that can be reached from it. */
  #readAll(from: Watched): void {
    const seen = new Set<object>();
    const todo: object[] = [from.object];
    for (let object = todo.pop(); object; object = todo.pop()) {
      if (seen.has(object)) continue;
      seen.add(object);
      const watched = this.#known.get(object) ?? this.#learnFresh(object);
      if (!watched) continue;
      // One that has a Proxy, and is used without it: what is done with it does not show.
      if (watched.kind !== "whole") {
        this.blind(watched.name);
        continue;
      }
      this.observer.touch(watched.name, false);
      this.readPrototypes(object);
      for (const [key, value] of watched.content) {
        if (mayHide(value) && !this.#apart.has(value)) this.blind(`${watched.name}, which has functions`);
        if (isObject(value) && !this.#objects.has(value)) todo.push(value);
        if (isObject(key) && !this.#objects.has(key)) todo.push(key);
      }
    }
  }

  /** What was changed without a Proxy. */
  #findChanges(watched: Watched, thread: Thread, isBlind: boolean): void {
    const { object, name, kind, content } = watched;
    if (kind === "blind" || kind === "apart") return;
    const now = contentOf(object);
    const changed = new Set<unknown>();
    for (const [key, value] of now)
      if (!content.has(key) || !Object.is(content.get(key), value)) changed.add(key);
    for (const key of content.keys()) if (!now.has(key)) changed.add(key);
    if (changed.size === 0) return;
    watched.content = now;
    for (const key of changed) this.store(this.unwrap(now.get(key)));
    if (kind === "whole") {
      this.observer.touch(name, true);
      return;
    }
    for (const key of changed) this.observer.touch(cellName(object, name, this.keyName(key)), true);
    this.observer.touch(keysName(name), true);
    if (isBlind) return; // it conflicts with everybody already
    const [first] = changed;
    this.observer.unknown(
      `${thread.name} changes ${cellName(object, name, this.keyName(first))} past x.watch: use what x.watch returned`,
    );
  }
}

/** A thread's key, and those of who made it: what these have come by it may have, too. */
function ancestors(key: string): string[] {
  const parts = key.split(".");
  return parts.map((_, i) => parts.slice(0, i + 1).join("."));
}
