import { invalid } from "../errno.js";

const ID_DIGITS = 32;
const INSTANCE_DIGITS = 16;

/** @throws VfioError EINVAL: `id` is not 32 hexadecimal digits */
export function checkHandOverId(id: string): void {
  if (!isHandOverId(id)) throw invalid("hand-over id", JSON.stringify(id), handOverIdRule);
}

/** What the id of a hand-over looks like, in words, for messages. */
export const handOverIdRule = `${ID_DIGITS} hexadecimal digits, lower case`;

/** Whether the text is the id of a hand-over: see `handOverIdRule`. */
export function isHandOverId(text: string): boolean {
  return /^[0-9a-f]{32}$/.test(text);
}

/** An id for a hand-over from the device whose `HandOver.instance` is given: nobody else makes the same. */
export function newHandOverId(instance: string): string {
  return instance + randomDigits(ID_DIGITS - INSTANCE_DIGITS);
}

/** Whether `id` was made for a hand-over from that very instance, and not from a server started anew since. */
export function isFrom(id: string, instance: string): boolean {
  return id.startsWith(instance);
}

/** What `HandOver.instance` is: 16 hexadecimal digits that no other device of any process has. */
export function newInstance(): string {
  return randomDigits(INSTANCE_DIGITS);
}

function randomDigits(count: number): string {
  const bytes = crypto.getRandomValues(new Uint8Array(count / 2));
  return [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}
