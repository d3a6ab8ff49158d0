import { cellName, keysName } from "./cell-name.js";
import { mayHide } from "./watch-kind.js";
import type { Watch } from "./watch.js";

const SEARCHES: ReadonlySet<PropertyKey> = new Set(["includes", "indexOf", "lastIndexOf"]);

/** Objects and arrays: each field, and which there are, is a variable. */
export function fieldsHandler(watch: Watch): ProxyHandler<object> {
  const touch = (target: object, key: PropertyKey, writes: boolean): void => {
    const seen = watch.seen(target);
    if (seen) watch.touch(cellName(target, seen.name, String(key)), writes);
  };
  const touchKeys = (target: object, writes: boolean): void => {
    const seen = watch.seen(target);
    if (seen) watch.touch(keysName(seen.name), writes);
  };
  const touchClass = (target: object, writes: boolean): void => {
    const seen = watch.seen(target);
    if (seen) watch.touch(`class of ${seen.name}`, writes);
    if (!writes) watch.readPrototypes(target);
  };
  const place = (target: object, key: PropertyKey): string =>
    cellName(target, watch.seen(target)?.name ?? "", String(key));

  /** Changes a field by `change`, and notes what has become different. */
  const write = (target: object, key: PropertyKey, change: () => boolean): boolean => {
    const lengthBefore = Array.isArray(target) ? target.length : 0;
    const had = Object.hasOwn(target, key);
    if (!change()) {
      // It is refused for what the object is now: frozen, for instance.
      touch(target, key, false);
      touchKeys(target, false);
      return false;
    }
    const content = watch.seen(target)?.content;
    if (!content) return true;
    const note = (changed: PropertyKey): void => {
      touch(target, changed, true);
      const field = Object.getOwnPropertyDescriptor(target, changed);
      if (field && "value" in field) {
        content.set(changed, field.value);
        watch.store(field.value);
      } else content.delete(changed);
    };
    note(key);
    if (had !== Object.hasOwn(target, key)) touchKeys(target, true);
    if (Array.isArray(target) && target.length !== lengthBefore) {
      note("length");
      touchKeys(target, true);
      for (let i = target.length; i < lengthBefore; i++) note(String(i));
    }
    return true;
  };

  return {
    get(target, key, receiver) {
      touch(target, key, false);
      const field = Object.getOwnPropertyDescriptor(target, key);
      if (!field) {
        touchClass(target, false);
        const value = inherited(watch, target, key, receiver);
        if (key === "constructor" && mayHide(value)) watch.blind(`${place(target, key)}, a class`);
        return value;
      }
      if (!("value" in field)) {
        watch.blind(`${place(target, key)}, an accessor`);
        return Reflect.get(target, key, receiver) as unknown;
      }
      const value = watch.wrap(field.value, () => place(target, key));
      // A frozen field has to be what it is.
      if (field.configurable === false && field.writable === false && value !== field.value) {
        watch.blind(`${place(target, key)}, which is frozen`);
        return field.value as unknown;
      }
      return value;
    },
    set(target, key, value: unknown, receiver) {
      if (watch.unwrap(receiver) !== target) return Reflect.set(target, key, value, receiver);
      if (!Object.hasOwn(target, key)) touchClass(target, false);
      const accessor = accessorOf(target, key);
      if (accessor?.own) watch.blind(`${place(target, key)}, an accessor`);
      if (accessor) return Reflect.set(target, key, value, receiver);
      return write(target, key, () => Reflect.set(target, key, watch.unwrap(value)));
    },
    defineProperty(target, key, field) {
      const plain = "value" in field ? { ...field, value: watch.unwrap<unknown>(field.value) } : field;
      return write(target, key, () => Reflect.defineProperty(target, key, plain));
    },
    deleteProperty(target, key) {
      touch(target, key, false);
      if (!Object.hasOwn(target, key)) return true;
      return write(target, key, () => Reflect.deleteProperty(target, key));
    },
    has(target, key) {
      touch(target, key, false);
      if (!Object.hasOwn(target, key)) touchClass(target, false);
      return Reflect.has(target, key);
    },
    isExtensible(target) {
      touchKeys(target, false);
      return Reflect.isExtensible(target);
    },
    preventExtensions(target) {
      touchKeys(target, true);
      return Reflect.preventExtensions(target);
    },
    getPrototypeOf(target) {
      touchClass(target, false);
      return Reflect.getPrototypeOf(target);
    },
    setPrototypeOf(target, prototype) {
      touchClass(target, true);
      const done = Reflect.setPrototypeOf(target, prototype);
      watch.hasNewClass(target);
      return done;
    },
    ownKeys(target) {
      touchKeys(target, false);
      return Reflect.ownKeys(target);
    },
    getOwnPropertyDescriptor(target, key) {
      touch(target, key, false);
      const field = Reflect.getOwnPropertyDescriptor(target, key);
      if (!field || !("value" in field) || (!field.configurable && !field.writable)) return field;
      return { ...field, value: watch.wrap(field.value, () => place(target, key)) };
    },
  };
}

/** What the object has by its class. */
function inherited(watch: Watch, target: object, key: PropertyKey, receiver: unknown): unknown {
  if (!Array.isArray(target) || !SEARCHES.has(key)) return Reflect.get(target, key, receiver);
  // What is looked for may be given as itself, or as its Proxy.
  return (...[item, ...rest]: unknown[]) => {
    const items = [...(receiver as unknown[])].map((each) => watch.unwrap(each));
    const search = Reflect.get(items, key) as (...args: unknown[]) => unknown;
    return search.call(items, watch.unwrap(item), ...rest);
  };
}

function accessorOf(target: object, key: PropertyKey): { readonly own: boolean } | undefined {
  for (let at: object | null = target; at; at = Object.getPrototypeOf(at) as object | null) {
    const field = Object.getOwnPropertyDescriptor(at, key);
    if (field) return "value" in field ? undefined : { own: at === target };
  }
  return undefined;
}

/**
 * An object that nobody sees into. Its methods get itself, which private fields want; whoever touches it is taken to
 * use everything.
 */
export function seeThrough(watch: Watch): ProxyHandler<object> {
  const note = (target: object): void => {
    const seen = watch.seen(target);
    if (seen) watch.blind(`${seen.name}, which has private fields or a state of its own`);
  };
  return {
    get(target, key, receiver) {
      note(target);
      const value: unknown = Reflect.get(target, key, target);
      if (typeof value !== "function" || key === "constructor")
        return value === target ? (receiver as unknown) : value;
      const method = value as (...args: unknown[]) => unknown;
      return (...args: unknown[]): unknown => {
        const result = method.apply(target, args);
        return result === target ? (receiver as unknown) : result;
      };
    },
    set(target, key, value) {
      note(target);
      return Reflect.set(target, key, value, target);
    },
    has(target, key) {
      note(target);
      return Reflect.has(target, key);
    },
    ownKeys(target) {
      note(target);
      return Reflect.ownKeys(target);
    },
    getOwnPropertyDescriptor(target, key) {
      note(target);
      return Reflect.getOwnPropertyDescriptor(target, key);
    },
    deleteProperty(target, key) {
      note(target);
      return Reflect.deleteProperty(target, key);
    },
    defineProperty(target, key, field) {
      note(target);
      return Reflect.defineProperty(target, key, field);
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
