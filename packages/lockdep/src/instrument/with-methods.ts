type Method = (...args: never[]) => unknown;

/** The object with some of its methods replaced: another library's, which knows nothing of it. */
export function withMethods<T extends object>(object: T, methods: Readonly<Record<string, Method>>): T {
  return new Proxy(object, {
    get(target, key) {
      if (typeof key === "string" && Object.hasOwn(methods, key)) return methods[key];
      const value: unknown = Reflect.get(target, key, target);
      return typeof value === "function" ? (value as () => unknown).bind(target) : value;
    },
  });
}
