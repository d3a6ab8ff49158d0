/** Columns that line up, two spaces apart. Every row has the same number of cells. */
export function table(rows: readonly (readonly string[])[]): string[] {
  const widths = rows.reduce<number[]>(
    (all, row) => row.map((cell, i) => Math.max(all[i] ?? 0, cell.length)),
    [],
  );
  return rows.map((row) =>
    row
      .map((cell, i) => cell.padEnd(widths[i]!))
      .join("  ")
      .trimEnd(),
  );
}

const UNITS = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];

/** "4 KiB", "1.5 MiB", "8 B": exact for whole numbers of a unit. */
export function bytes(count: number): string {
  let unit = 0;
  while (count >= 1024 && unit < UNITS.length - 1) {
    count /= 1024;
    unit++;
  }
  return `${Number.isInteger(count) ? count : count.toFixed(1)} ${UNITS[unit]!}`;
}
