/** A field's name, as in `account.owner`, `list[3]`, `prices[apple]`. */
export function cellName(object: object, name: string, key: string): string {
  const isField = !(object instanceof Map || object instanceof Set) && !/^\d|^Symbol\(/.test(key);
  return isField ? `${name}.${key}` : `${name}[${key}]`;
}

/** Which fields there are. */
export const keysName = (name: string): string => `keys(${name})`;
