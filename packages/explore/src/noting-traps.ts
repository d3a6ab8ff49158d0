/** What can be done to an object besides reading and writing a field: each is noted, and done. */
export function notingTraps<T extends object>(note: (target: T) => void): ProxyHandler<T> {
  return {
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
