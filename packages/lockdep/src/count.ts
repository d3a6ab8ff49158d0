/** @throws RangeError unless `count` is a whole number, `least` or more */
export function checkCount(count: number, least: number, what: string): void {
  if (!Number.isSafeInteger(count) || count < least)
    throw new RangeError(`${what}: ${count} is no whole number, ${least} or more`);
}
