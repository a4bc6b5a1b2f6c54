import type { ToldRow } from "../../src/model/column-definition.ts";
import {
  rowKeyText,
  type LegacyWriter,
  type RowConflict,
  type RowWrite,
  type StreamWrite,
  type WriteOutcome,
} from "../../src/reverse/legacy-writer.ts";

/** Rows by qualified table name and key text; columns that no write names are NULL. */
export type MemoryRows = Map<string, Map<string, ToldRow>>;

/** What is shared by all writers of one database. */
export interface MemoryLegacy {
  rows: MemoryRows;
  /** Version by stream. */
  applied: Map<string, number>;
}

/** Writes into maps, for tests. Knows no locks and no constraints but keys. */
export function memoryLegacyWriter(legacy: MemoryLegacy): LegacyWriter {
  return {
    examine: () => Promise.resolve(),
    open: () => Promise.resolve(),
    applied: (streams) =>
      Promise.resolve(
        new Map(
          streams.flatMap((stream) => {
            const version = legacy.applied.get(stream);
            return version === undefined ? [] : [[stream, version] as const];
          }),
        ),
      ),
    write: (batch) => Promise.resolve(write(legacy, batch)),
    close: () => Promise.resolve(),
  };
}

function write(legacy: MemoryLegacy, batch: readonly StreamWrite[]): WriteOutcome {
  const conflicts: RowConflict[] = [];
  for (const { stream, version, rows } of batch) {
    const draft: MemoryRows = new Map([...legacy.rows].map(([table, of]) => [table, new Map(of)]));
    const found = rows.flatMap((row) => writeRow(draft, stream, row))[0];
    if (found !== undefined) {
      conflicts.push(found);
      continue;
    }
    legacy.rows = draft;
    legacy.applied.set(stream, version);
  }
  return { kind: "written", conflicts };
}

function writeRow(draft: MemoryRows, stream: string, row: RowWrite): RowConflict[] {
  let rows = draft.get(row.table);
  if (rows === undefined) draft.set(row.table, (rows = new Map()));
  const key = rowKeyText(row);
  const is = rows.get(key);
  const wanted = row.after === undefined ? undefined : { ...row.before, ...row.after };
  const isAsMeant =
    wanted === undefined
      ? is === undefined
      : is !== undefined && differing(is, wanted).length === 0;
  if (isAsMeant) return [];
  const columns = is === undefined ? [] : differing(is, row.before ?? wanted ?? {});
  const isAsBefore = (row.before === undefined) === (is === undefined) && columns.length === 0;
  if (!isAsBefore) {
    const reason = "the row is not as it was";
    return [{ stream, table: row.table, key, columns, reason }];
  }
  if (wanted === undefined) rows.delete(key);
  else rows.set(key, { ...is, ...wanted });
  return [];
}

function differing(is: ToldRow, wanted: ToldRow): string[] {
  return Object.keys(wanted).filter((name) => (is[name] ?? null) !== wanted[name]);
}
