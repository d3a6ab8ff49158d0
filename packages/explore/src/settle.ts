import type { Thread } from "./thread.js";
import { nextTurn } from "./turn.js";

/** As it is before anything is virtual. */
const realNow = performance.now.bind(performance);

/** Milliseconds of real time in which nothing has happened. */
const PATIENCE = 5_000;

/**
 * Waits for a body, or a final check, which wait for what they like.
 * @param goOn lets something of the program's own happen that they may wait for. False: there is nothing
 * @returns false if it does not end
 */
export async function settles(result: Promise<void>, goOn: () => boolean): Promise<boolean> {
  const state = { isSettled: false };
  const settled = (): void => void (state.isSettled = true);
  result.then(settled, settled);
  for (let since = realNow(); ;) {
    await nextTurn();
    if (state.isSettled) break;
    if (goOn()) since = realNow();
    else if (realNow() - since > PATIENCE) return false;
  }
  await result;
  return true;
}

/** Whoever can go on, when the tasks have ended and orders are of no interest any more: the one whose time comes first. */
export function nextAlone(threads: readonly Thread[]): Thread | undefined {
  const time = (thread: Thread): number => thread.pending?.deadline ?? -1;
  const [next] = threads
    .filter(({ pending }) => pending && (!pending.joins || pending.joins.ended))
    .sort((a, b) => time(a) - time(b));
  return next;
}
