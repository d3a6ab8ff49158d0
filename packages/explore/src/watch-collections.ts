import { cellName, keysName } from "./cell-name.js";
import type { Watch } from "./watch.js";

type Collection = Map<unknown, unknown> | Set<unknown>;
type Callback = (value: unknown, key: unknown, collection: unknown) => void;

/** Maps and sets: each entry, and which there are, is a variable. */
export function collectionHandler(watch: Watch): ProxyHandler<object> {
  /** It is used as an object that has fields, which are no variables here. */
  const asObject = (target: object): void =>
    watch.blind(`${watch.seen(target)?.name ?? ""}, used as an object`);
  return {
    ...asObjectHandler(asObject),
    get(target, key, proxy) {
      if (Object.hasOwn(target, key)) asObject(target);
      const methods = methodsOf(watch, target as Collection, proxy as object);
      if (key === "size") return methods.size();
      if (Object.hasOwn(methods.by, key) && Reflect.has(target, key))
        return Reflect.get(methods.by, key) as unknown;
      const value: unknown = Reflect.get(target, key, target);
      if (typeof value !== "function" || key === "constructor" || key in Object.prototype) return value;
      const method = value as (...args: unknown[]) => unknown;
      // One that is newer than this: it gets the collection itself.
      watch.blind(`${watch.seen(target)?.name ?? ""}.${String(key)}()`);
      return method.bind(target);
    },
  };
}

function asObjectHandler(note: (target: object) => void): ProxyHandler<object> {
  return {
    set(target, key, value) {
      note(target);
      return Reflect.set(target, key, value);
    },
    defineProperty(target, key, field) {
      note(target);
      return Reflect.defineProperty(target, key, field);
    },
    deleteProperty(target, key) {
      note(target);
      return Reflect.deleteProperty(target, key);
    },
    ownKeys(target) {
      note(target);
      return Reflect.ownKeys(target);
    },
    getOwnPropertyDescriptor(target, key) {
      note(target);
      return Reflect.getOwnPropertyDescriptor(target, key);
    },
    isExtensible(target) {
      note(target);
      return Reflect.isExtensible(target);
    },
    preventExtensions(target) {
      note(target);
      return Reflect.preventExtensions(target);
    },
    setPrototypeOf(target, prototype) {
      note(target);
      return Reflect.setPrototypeOf(target, prototype);
    },
  };
}

function methodsOf(watch: Watch, collection: Collection, proxy: object) {
  const map = collection instanceof Map ? collection : undefined;
  const set = collection instanceof Set ? collection : undefined;
  const seen = watch.seen(collection);
  const name = seen?.name ?? "";
  const cell = (key: unknown): string => cellName(collection, name, watch.keyName(key));
  const touchKeys = (writes: boolean): void => watch.touch(keysName(name), writes);
  const wrap = (value: unknown, key: unknown): unknown => watch.wrap(value, () => cell(key));

  const put = (key: unknown, value: unknown): unknown => {
    const isNew = !collection.has(key);
    if (map) map.set(key, value);
    else set!.add(key);
    watch.touch(cell(key), true);
    if (isNew) touchKeys(true);
    watch.store(key);
    watch.store(value);
    seen?.content.set(key, value);
    return proxy;
  };
  const remove = (key: unknown): boolean => {
    const had = collection.delete(key);
    watch.touch(cell(key), had);
    if (had) touchKeys(true);
    seen?.content.delete(key);
    return had;
  };
  /** Reads one after the other, each when it is asked for. */
  function* entries(): Generator<[unknown, unknown]> {
    touchKeys(false);
    for (const [key, value] of collection.entries()) {
      watch.touch(cell(key), false);
      yield [wrap(key, key), wrap(value, key)];
      touchKeys(false);
    }
  }
  function* part(which: 0 | 1): Generator {
    for (const entry of entries()) yield entry[which];
  }
  const values = (): Generator => part(1);
  const keys = (): Generator => part(0);
  return {
    size(): number {
      touchKeys(false);
      return collection.size;
    },
    by: {
      has(key: unknown) {
        watch.touch(cell(watch.unwrap(key)), false);
        return collection.has(watch.unwrap(key));
      },
      get(key: unknown) {
        watch.touch(cell(watch.unwrap(key)), false);
        return wrap(map?.get(watch.unwrap(key)), key);
      },
      set: (key: unknown, value: unknown) => put(watch.unwrap(key), watch.unwrap(value)),
      add: (value: unknown) => put(watch.unwrap(value), watch.unwrap(value)),
      delete: (key: unknown) => remove(watch.unwrap(key)),
      clear() {
        touchKeys(true);
        for (const key of [...collection.keys()]) remove(key);
      },
      forEach(callback: Callback, self?: unknown) {
        for (const [key, value] of entries()) callback.call(self, value, key, proxy);
      },
      keys,
      values,
      entries: () => entries(),
      [Symbol.iterator]: (): Generator => (map ? entries() : values()),
    },
  };
}
