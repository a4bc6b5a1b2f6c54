/** 1234567 → `1,234,567`. */
export function count(value: number): string {
  return value.toLocaleString("en-US");
}

/** 1 → `1 row`, 1234 → `1,234 rows`. */
export function plural(value: number, one: string, many = `${one}s`): string {
  return `${count(value)} ${value === 1 ? one : many}`;
}

/** How many rows were read, and of how many: `1,200 of about 5,000 rows`. */
export function rowsReadText(rowsRead: number, rowsEstimated: number): string {
  if (rowsRead < rowsEstimated) return `${count(rowsRead)} of about ${count(rowsEstimated)} rows`;
  const rows = plural(rowsRead, "row");
  return rowsRead === rowsEstimated
    ? rows
    : `${rows}, more than the ${count(rowsEstimated)} estimated`;
}
