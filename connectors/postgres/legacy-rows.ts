import type { Ask } from "./catalogue.ts";
import { advanceSequence } from "./legacy-sequences.ts";
import {
  compareRows,
  deleteRows,
  insertRows,
  updateRows,
  type RowShape,
  type RowsStatement,
} from "./legacy-statements.ts";
import type { LegacyTable } from "./legacy-tables.ts";
import { takenBy, takenReason, type Taken } from "./legacy-taken.ts";
import { invariant } from "../../src/model/errors.ts";
import type { ToldRow } from "../../src/model/column-definition.ts";
import {
  rowKeyText,
  type RowConflict,
  type RowWrite,
  type StreamWrite,
} from "../../src/reverse/legacy-writer.ts";

/** The kinds of writes in an order; within one, tables are in the order that their references ask for. */
export type WriteOrder = readonly ("delete" | "update" | "insert")[];

/**
 * What makes room comes first: a deleted row's unique value may be in an inserted one. The other way round a
 * row is there before another refers to it.
 */
export const ROOM_FIRST: WriteOrder = ["delete", "update", "insert"];
export const ROWS_FIRST: WriteOrder = ["insert", "update", "delete"];

interface Placed {
  readonly stream: string;
  readonly row: RowWrite;
}

type Kind = WriteOrder[number];

/** Rows that one statement writes. */
interface Group {
  readonly kind: Kind;
  readonly shape: RowShape;
  readonly rows: Placed[];
}

/** What is being written, for what is to be said of a failure. */
export interface Place {
  table: string;
  /** Of the row, where it is one. */
  key: string;
}

/**
 * Writes the rows of several streams, one statement per table and shape.
 *
 * @param tables parents before children
 * @param isSingly one statement per row, so that a failure names it
 * @returns rows that were not as they should be; nothing of theirs was written
 */
export async function writeRows(
  ask: Ask,
  tables: ReadonlyMap<string, LegacyTable>,
  batch: readonly StreamWrite[],
  order: WriteOrder,
  place: Place,
  isSingly: boolean,
): Promise<RowConflict[]> {
  const groups = groupRows(tables, batch).flatMap((group) =>
    isSingly ? group.rows.map((row) => ({ ...group, rows: [row] })) : [group],
  );
  const ranks = new Map([...tables.keys()].map((name, i) => [name, i]));
  const conflicts: RowConflict[] = [];
  for (const kind of order) {
    const direction = kind === "delete" ? -1 : 1;
    const some = groups
      .filter((group) => group.kind === kind)
      .sort(
        (a, b) => direction * (ranks.get(a.shape.table.name)! - ranks.get(b.shape.table.name)!),
      );
    for (const group of some) {
      locate(place, group);
      conflicts.push(...(await writeGroup(ask, group)));
    }
  }
  if (conflicts.length > 0) return conflicts;
  for (const group of groups) {
    if (!group.shape.table.hasTriggers || group.kind === "delete") continue;
    locate(place, group);
    conflicts.push(...(await findRewritten(ask, group)));
  }
  return conflicts;
}

function locate(place: Place, { shape, rows }: Group): void {
  place.table = shape.table.name;
  place.key = rows.length === 1 ? rowKeyText(rows[0]!.row) : "";
}

function groupRows(
  tables: ReadonlyMap<string, LegacyTable>,
  batch: readonly StreamWrite[],
): Group[] {
  const groups = new Map<string, Group>();
  for (const { stream, rows } of batch) {
    for (const row of rows) {
      const table = tables.get(row.table);
      invariant(table !== undefined, `table ${row.table} was not opened`);
      const [before, after] = [columnsIn(table, row.before), columnsIn(table, row.after)];
      const kind: Kind =
        row.after === undefined ? "delete" : row.before === undefined ? "insert" : "update";
      // Only columns that the table computes, or has no more.
      if (kind === "update" && after.length === 0) continue;
      const name = JSON.stringify([kind, table.name, before, after]);
      let group = groups.get(name);
      if (group === undefined) {
        group = { kind, shape: { table, key: row.key, before, after }, rows: [] };
        groups.set(name, group);
      }
      group.rows.push({ stream, row });
    }
  }
  return [...groups.values()];
}

function columnsIn({ columns }: LegacyTable, row: ToldRow | undefined): readonly string[] {
  return Object.keys(row ?? {}).filter((name) => columns.has(name));
}

async function writeGroup(ask: Ask, { kind, shape, rows }: Group): Promise<RowConflict[]> {
  switch (kind) {
    case "insert": {
      await advanceSequences(ask, shape, rows);
      const inserted = await askRows(ask, "inserting", shape, {
        ...insertRows(shape),
        rows,
      });
      return inserted.length === rows.length ? [] : await examine(ask, kind, shape, rows);
    }
    case "update":
    case "delete": {
      const statement = kind === "update" ? updateRows(shape) : deleteRows(shape);
      const doing = kind === "update" ? "changing" : "deleting";
      const done = await askRows<{ n: number }>(ask, doing, shape, { ...statement, rows });
      if (done.length === rows.length) return [];
      const touched = new Set(done.map(({ n }) => n));
      const others = rows.filter((_, n) => !touched.has(n));
      return await examine(ask, kind, shape, others);
    }
  }
}

interface Compared {
  readonly n: number;
  readonly isThere: boolean;
  readonly columns: readonly string[];
}

/** Of rows that were not written: those that are not as they should be either. */
async function examine(
  ask: Ask,
  kind: Kind,
  { table, key, before, after }: RowShape,
  rows: readonly Placed[],
): Promise<RowConflict[]> {
  const wanted = [...new Set([...before, ...after])];
  const shape = { table, key, before: wanted, after: [] };
  const meant = rows.map(({ stream, row }) => ({
    stream,
    row: { ...row, before: { ...row.before, ...row.after } },
  }));
  const is = await askCompared(ask, shape, meant);
  const open = rows.filter((_, n) => !isAsMeant(kind, is.get(n)));
  if (open.length === 0) return [];
  const was =
    kind === "insert" ? undefined : await askCompared(ask, { table, key, before, after: [] }, open);
  const conflicts: RowConflict[] = [];
  for (const [n, placed] of open.entries()) {
    const seen = was?.get(n) ?? is.get(rows.indexOf(placed));
    const isThere = seen?.isThere === true;
    const columns = isThere ? seen.columns : [];
    const isTaken = kind === "insert" && !isThere;
    const reason = isTaken
      ? takenReason(await findTaken(ask, { table, key, before, after }, placed))
      : reasonOf(kind, isThere);
    conflicts.push(conflictOf(placed, columns, reason));
  }
  return conflicts;
}

/** A row that was left out does not say why; one that fails does. What comes of it is undone. */
async function findTaken(ask: Ask, shape: RowShape, placed: Placed): Promise<Taken | undefined> {
  await ask("setting a savepoint", "SAVEPOINT taken", []);
  let taken: Taken | undefined;
  try {
    await askRows(ask, "inserting", shape, { ...insertRows(shape, "fails"), rows: [placed] });
  } catch (error) {
    taken = takenBy(error);
    if (taken === undefined) throw error;
  }
  await ask("undoing", "ROLLBACK TO SAVEPOINT taken", []);
  return taken;
}

function isAsMeant(kind: Kind, is: Compared | undefined): boolean {
  if (kind === "delete") return is?.isThere !== true;
  return is?.isThere === true && is.columns.length === 0;
}

function reasonOf(kind: Kind, isThere: boolean): string {
  switch (kind) {
    case "insert":
      return "a row of this key is there already and holds something else";
    case "update":
      return isThere ? "somebody else has changed the row" : "somebody else has deleted the row";
    case "delete":
      return "somebody else has changed the row that is to be deleted";
  }
}

/** A trigger has the last word; what it made of a row is not what the events say. */
async function findRewritten(ask: Ask, { shape, rows }: Group): Promise<RowConflict[]> {
  const { table, key } = shape;
  const wanted = [...new Set([...shape.before, ...shape.after])];
  const meant = rows.map(({ stream, row }) => ({
    stream,
    row: { ...row, before: { ...row.before, ...row.after } },
  }));
  const is = await askCompared(ask, { table, key, before: wanted, after: [] }, meant);
  return rows.flatMap((placed, n) => {
    const seen = is.get(n);
    if (isAsMeant("update", seen)) return [];
    const reason = "a trigger of the legacy database wrote something else";
    return [conflictOf(placed, seen?.columns ?? [], reason)];
  });
}

function conflictOf(
  { stream, row }: Placed,
  columns: readonly string[],
  reason: string,
): RowConflict {
  return { stream, table: row.table, key: rowKeyText(row), columns, reason };
}

async function askCompared(
  ask: Ask,
  shape: RowShape,
  rows: readonly Placed[],
): Promise<ReadonlyMap<number, Compared>> {
  const statement = { ...compareRows(shape), rows };
  const found = await askRows<Compared>(ask, "comparing", shape, statement);
  return new Map(found.map((row) => [row.n, row]));
}

async function askRows<Row>(
  ask: Ask,
  doing: string,
  { table }: RowShape,
  { sql, before, after, rows }: RowsStatement & { readonly rows: readonly Placed[] },
): Promise<Row[]> {
  const texts = (side: "before" | "after", names: readonly string[]): (string | null)[][] =>
    names.map((name) => rows.map(({ row }) => row[side]?.[name] ?? null));
  return await ask<Row>(`${doing} rows of ${table.name}`, sql, [
    rows.map((_, n) => n),
    ...texts("before", before),
    ...texts("after", after),
  ]);
}

/** Ids that the service made up must not come out of the sequence later. */
async function advanceSequences(
  ask: Ask,
  { table, after }: RowShape,
  rows: readonly Placed[],
): Promise<void> {
  for (const name of after) {
    const { sequence = null, isInteger = false } = table.columns.get(name) ?? {};
    if (sequence === null || !isInteger) continue;
    let highest: bigint | undefined;
    for (const { row } of rows) {
      const text = row.after?.[name];
      if (typeof text !== "string" || !/^\d{1,19}$/.test(text)) continue;
      const id = BigInt(text);
      if (highest === undefined || id > highest) highest = id;
    }
    if (highest !== undefined) await advanceSequence(ask, sequence, highest);
  }
}
