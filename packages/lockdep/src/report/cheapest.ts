import type { CycleProblem, Order, Place } from "../problem.js";
import { fromTheNewOrder } from "./schedule.js";

/** The order of two locks that is the easiest to give up. */
export interface Cheapest {
  readonly order: Order;
  /** What to do, in a sentence. */
  readonly advice: string;
}

/**
 * Which order of a cycle is the cheapest to give up: one whose two locks are taken in the same function, since that
 * needs no other function to change; the new one among several, or if there is none such.
 */
export function cheapestToBreak(cycle: Pick<CycleProblem, "orders">): Cheapest {
  const orders = fromTheNewOrder(cycle);
  const local = orders.find(
    (order) => functionOf(order.at) !== "" && functionOf(order.at) === functionOf(order.heldAt),
  );
  const order = local ?? orders[0]!;
  const { from, to } = order;
  const where = functionOf(order.at);
  const reason = local
    ? `both locks are taken in ${where}`
    : `it is the newest of the ${orders.length} orders${where === "" ? "" : `, in ${where}`}`;
  return {
    order,
    advice: `${from} -> ${to}: ${reason}. Take ${to} after ${from} is released, or before it is taken, or with a trylock that backs out.`,
  };
}

/** "reset", of "reset+0x25/0x47" and of "Device.reset". */
function functionOf(place: Place): string {
  return (place[0]?.fn ?? "").replace(/\+0x.*/, "");
}
