/**
 * Does every step, even after one has failed, one after the other; then throws the first failure. For what has to be
 * cleaned up on every path.
 */
export async function inTurn(...steps: readonly (() => void | Promise<void>)[]): Promise<void> {
  const failures: unknown[] = [];
  for (const step of steps) {
    try {
      const stepping = step();
      if (stepping) await stepping;
    } catch (error) {
      failures.push(error);
    }
  }
  if (failures.length > 0) throw failures[0];
}
