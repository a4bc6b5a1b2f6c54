import type { ChangeRate } from "./change-rate.ts";
import type { ColumnFacts, SampledTable, TableFacts } from "../source/database-facts.ts";

/** What keeping a table as events costs; bytes as the event store takes them, with its indexes. */
export interface StoreCost {
  /** One row's part of a baseline event. Undefined when the table was never analysed. */
  readonly baselineBytes: number | undefined;
  /** The last image of each row, kept where the log does not tell old rows. */
  readonly imageBytes: number | undefined;
  /** Undefined when the change rate, or the width of a row, is not known. */
  readonly bytesPerDay: number | undefined;
  /** True when something of the rate is not known, so that it will be more. */
  readonly atLeast: boolean;
}

/*
 * Measured in a store of ours with the example shop: 12,750 baseline events and 20,000 captured ones.
 * test/assess/store-cost.pg.test.ts holds the estimate to what a store really takes.
 */
/** Of one event beside its data: envelope, page overhead, three index entries. */
export const EVENT_BYTES = 300;
/** Of one row image beside its text, whose table is kept one fifth empty. */
const IMAGE_BYTES = 175;
const IMAGE_FACTOR = 1.25;
/** Of one field in JSON beside name and value. */
const FIELD_BYTES = 6;
/** Rows a baseline reads, maps and writes per second on two cores. */
export const BASELINE_ROWS_PER_SECOND = 25_000;
/** Share of a row that an update changes, where no sample says it. */
export const CHANGED_SHARE = 0.25;

export function storeCost(
  facts: TableFacts,
  rate: ChangeRate,
  sampled: SampledTable | undefined,
): StoreCost {
  const row = rowJsonBytes(facts);
  const { rows } = facts;
  const known = row !== undefined && rows !== undefined;
  const keepsImages = facts.table.replicaIdentity !== "full";
  return {
    baselineBytes: rows === 0 ? 0 : known ? Math.round(rows * row) : undefined,
    imageBytes:
      !keepsImages || rows === 0
        ? 0
        : known
          ? Math.round(rows * (row * IMAGE_FACTOR + IMAGE_BYTES))
          : undefined,
    ...growth(facts, rate, sampled, row),
  };
}

function growth(
  facts: TableFacts,
  { insertedPerDay, updatedPerDay, deletedPerDay }: ChangeRate,
  sampled: SampledTable | undefined,
  row: number | undefined,
): Pick<StoreCost, "bytesPerDay" | "atLeast"> {
  const parts = [insertedPerDay, updatedPerDay, deletedPerDay];
  const known = parts.filter((part) => part !== undefined);
  if (known.every((part) => part === 0) && known.length === parts.length)
    return { bytesPerDay: 0, atLeast: false };
  if (known.length === 0 || row === undefined) return { bytesPerDay: undefined, atLeast: false };
  const key = jsonBytes(facts.columns.filter(({ name }) => facts.primaryKey.includes(name)));
  const whole = EVENT_BYTES + row;
  // An update tells the key and, of what changed, the new and the old value.
  const update = EVENT_BYTES + key + 2 * row * (changedShare(facts, sampled, row) ?? CHANGED_SHARE);
  const bytesPerDay =
    (insertedPerDay ?? 0) * whole + (updatedPerDay ?? 0) * update + (deletedPerDay ?? 0) * whole;
  return { bytesPerDay: Math.round(bytesPerDay), atLeast: known.length < parts.length };
}

/** Of the row's JSON, what an update changed on average in the sample. */
export function changedShare(
  { columns }: TableFacts,
  sampled: SampledTable | undefined,
  row: number,
): number | undefined {
  let updates = 0;
  let bytes = 0;
  for (const [names, count] of sampled?.changedTogether ?? []) {
    const changed = new Set(names.split(", "));
    updates += count;
    bytes += count * jsonBytes(columns.filter(({ name }) => changed.has(name)));
  }
  return updates === 0 ? undefined : Math.min(1, bytes / updates / row);
}

/** Of one row as JSON, with what stands out of line; undefined when the widths are not known. */
export function rowJsonBytes({ columns, rows, outOfLineBytes }: TableFacts): number | undefined {
  if (columns.length > 0 && columns.every(({ averageBytes }) => averageBytes === undefined))
    return undefined;
  const outOfLine = rows === undefined || rows === 0 ? 0 : outOfLineBytes / rows;
  return Math.round(jsonBytes(columns) + outOfLine);
}

function jsonBytes(columns: readonly ColumnFacts[]): number {
  return columns.reduce(
    (sum, column) => sum + column.name.length + FIELD_BYTES + valueBytes(column),
    0,
  );
}

function valueBytes({ type, averageBytes, nullShare }: ColumnFacts): number {
  const filled = 1 - (nullShare ?? 0);
  return 4 * (1 - filled) + filled * textBytes(type, averageBytes ?? 8);
}

/** A value's text against its stored bytes. */
function textBytes(type: string, stored: number): number {
  const bare = type.replace(/\(.*\)/, "");
  if (/^timestamptz?$/.test(bare)) return 27;
  if (bare === "uuid") return 36;
  if (bare === "date") return 10;
  if (bare === "bytea") return (stored * 4) / 3;
  if (bare === "numeric") return stored + 2;
  if (/^int[248]$/.test(bare)) return stored;
  return stored;
}
