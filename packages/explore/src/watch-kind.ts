import { Lock, Shared, Task } from "@vfiokit/lockdep";

/**
 * How an object can be watched.
 *
 * - `cells`: through a Proxy, field by field.
 * - `whole`: as one variable; what changes it is found by comparing.
 * - `blind`: not at all: private fields, or a built-in with a state of its own.
 * - `apart`: need not be: it has no state that tasks share, or the explorer sees it anyway.
 */
export type Kind = "cells" | "whole" | "blind" | "apart";

/** A class's source that has private names, as it is written or as compilers lower it. */
const PRIVATE =
  /[.\s;{}*]#[\p{ID_Start}$_]|__classPrivateField|__private(?:Get|Set|Add|Method)|_classPrivate/u;

const byPrototype = new WeakMap<object, Kind>();

export function kindOf(object: object): Kind {
  if (isApart(object)) return "apart";
  if (ArrayBuffer.isView(object) || object instanceof ArrayBuffer || object instanceof Date) return "whole";
  // What they have of their own is compared; their methods want the very object.
  if ([Promise, Error, RegExp].some((each) => object instanceof each))
    return hasPrivate(object) ? "blind" : "whole";
  if (/(?:Generator|Iterator)\]$/.test(Object.prototype.toString.call(object))) return "blind";
  const prototype = Object.getPrototypeOf(object) as object | null;
  if (prototype === null) return "cells";
  let kind = byPrototype.get(prototype);
  if (kind === undefined) byPrototype.set(prototype, (kind = kindOfClass(prototype)));
  return kind;
}

function isApart(object: object): boolean {
  return [Lock, Shared, Task].some((each) => object instanceof each);
}

/** Its class has private names, or one that it extends, as far as that is the program's. */
function hasPrivate(object: object): boolean {
  for (let at = prototypeOf(object); at; at = prototypeOf(at)) {
    const constructor: unknown = Object.getOwnPropertyDescriptor(at, "constructor")?.value;
    if (typeof constructor === "function" && PRIVATE.test(sourceOf(constructor))) return true;
  }
  return false;
}

const prototypeOf = (object: object): object | null => Object.getPrototypeOf(object) as object | null;

/** The platform's own, in whatever language it is written: EventTarget is a class of JavaScript in Node. */
// eslint-disable-next-line @typescript-eslint/no-unsafe-function-type -- any class
function isPlatform(constructor: Function): boolean {
  return (
    isNative(sourceOf(constructor)) ||
    (globalThis as Record<string, unknown>)[constructor.name] === constructor
  );
}

/** Prototypes that the program wrote, or can change: the nearest first. */
export function prototypesOf(object: object): object[] {
  const found: object[] = [];
  for (let at = prototypeOf(object); at; at = prototypeOf(at)) {
    const constructor: unknown = Object.getOwnPropertyDescriptor(at, "constructor")?.value;
    if (typeof constructor === "function" && isPlatform(constructor)) break;
    found.push(at);
  }
  return found;
}

function kindOfClass(prototype: object): Kind {
  if (prototype === Map.prototype || prototype === Set.prototype) return "cells";
  let at: object | null = prototype;
  while (at !== null && at !== Object.prototype && at !== Array.prototype) {
    const constructor: unknown = Object.getOwnPropertyDescriptor(at, "constructor")?.value;
    if (typeof constructor === "function") {
      // A built-in's methods want the very object; what it does, nobody sees.
      if (isPlatform(constructor) || PRIVATE.test(sourceOf(constructor))) return "blind";
    }
    for (const field of Object.values(Object.getOwnPropertyDescriptors(at)))
      for (const method of Object.values(field) as unknown[])
        if (typeof method === "function" && PRIVATE.test(sourceOf(method))) return "blind";
    at = Object.getPrototypeOf(at) as object | null;
  }
  return "cells";
}

/** A function or class that the program wrote: it may use variables, objects and statics that nobody sees it use. */
export function mayHide(value: unknown): value is () => unknown {
  if (typeof value !== "function") return false;
  return !isNative(sourceOf(value)) || value.name.startsWith("bound "); // and not what resolves a promise
}

// eslint-disable-next-line @typescript-eslint/no-unsafe-function-type -- any function has a source
const sourceOf = (value: Function): string => Function.prototype.toString.call(value);
const isNative = (source: string): boolean => source.endsWith("{ [native code] }");

/** What an object has of its own, as its cells' keys and values: fields, elements, entries, members. */
export function contentOf(object: object): Map<unknown, unknown> {
  if (object instanceof Map) return new Map(object as Map<unknown, unknown>);
  if (object instanceof Set) return new Map((object as Set<unknown>).entries());
  if (object instanceof Date) return new Map([["time", object.getTime()]]);
  if (object instanceof ArrayBuffer) return new Map(new Uint8Array(object).entries());
  if (ArrayBuffer.isView(object))
    return new Map(new Uint8Array(object.buffer, object.byteOffset, object.byteLength).entries());
  const content = new Map<unknown, unknown>();
  for (const key of Reflect.ownKeys(object)) {
    const field = Object.getOwnPropertyDescriptor(object, key)!;
    if ("value" in field) content.set(key, field.value);
  }
  return content;
}

/** What is used as the name of an object that has none. */
export function classNameOf(object: object): string {
  const { constructor } = object as { constructor?: { name?: unknown } };
  return typeof constructor?.name === "string" && constructor.name !== "" ? constructor.name : "Object";
}

/** The name of an object that the user gave none. */
export function decapitalised(object: object): string {
  const name = classNameOf(object);
  return name.slice(0, 1).toLowerCase() + name.slice(1);
}

/** What an object is that a task makes: it gets no Proxy. */
export function freshKind(kind: Kind): Kind {
  return kind === "cells" ? "whole" : kind;
}

export function isObject(value: unknown): value is object {
  return typeof value === "object" && value !== null;
}
