import fc from "fast-check";
import { randomHistory, type RandomHistory } from "./random-history.ts";
import { randomStreams } from "./random-mapping.ts";
import { randomSchema, type RandomSchema, type RandomTable } from "./random-schema.ts";
import { ScriptedSource, type Cuts, type Script } from "./random-source.ts";
import { MemoryEventStore } from "../../connectors/memory/event-store.ts";
import type { StreamRef } from "../../src/mapping/rules.ts";
import type { RecordedEvent } from "../../src/model/event.ts";
import type { Cells } from "../../src/model/table.ts";
import type { TailLimits } from "../../src/pipeline/tail.ts";
import type { FoldedStream } from "../../src/projection/fold-streams.ts";
import { keyText, streamId, trimScale } from "../../src/mapping/stream-id.ts";
import { openCapture, type Capture } from "./pipeline-capture.ts";

/** A schema, a mapping of it, and a history. */
export interface RandomMigration {
  readonly schema: RandomSchema;
  readonly streams: Readonly<Record<string, StreamRef>>;
  readonly history: RandomHistory;
}

export function randomMigration(transactionsMax?: number): fc.Arbitrary<RandomMigration> {
  return randomSchema().chain((schema) =>
    fc.record({
      schema: fc.constant(schema),
      streams: randomStreams(schema),
      history: randomHistory(schema, transactionsMax),
    }),
  );
}

export function scriptOf({ schema, history }: RandomMigration): Script {
  const byName = (rows: RandomHistory["rows"]): Map<string, readonly Cells[]> =>
    new Map(schema.tables.map((table) => [table.shape.name, rows.get(table)!]));
  return {
    tables: schema.tables.map(({ shape }) => shape),
    baseline: byName(history.baseline),
    rows: byName(history.rows),
    transactions: history.transactions,
  };
}

export const UNCUT: Cuts = { partChangesMax: 1_000, groupPartsMax: 1_000, rowsMax: 1_000 };

/** How often a run is interrupted, and how it is cut up. */
export interface Running {
  readonly cuts: Cuts;
  readonly limits: Partial<TailLimits>;
  /** Stops after so many transactions and begins again with a new process's memory. */
  readonly stopsAfter: number | undefined;
}

export const randomRunning: fc.Arbitrary<Running> = fc.record({
  cuts: fc.record({
    partChangesMax: fc.integer({ min: 1, max: 4 }),
    groupPartsMax: fc.integer({ min: 1, max: 6 }),
    rowsMax: fc.integer({ min: 1, max: 3 }),
  }),
  limits: fc.record({
    batchChangesMax: fc.integer({ min: 1, max: 12 }),
    // Small, so that transactions of several parts are spilled.
    transactionChangesMax: fc.integer({ min: 1, max: 8 }),
  }),
  stopsAfter: fc.option(fc.nat(5), { nil: undefined }),
});

/** Runs a migration from its baseline to its end into a store in memory. */
export async function runMigration(
  migration: RandomMigration,
  running: Running = { cuts: UNCUT, limits: {}, stopsAfter: undefined },
): Promise<{ readonly capture: Capture; readonly store: MemoryEventStore }> {
  const store = new MemoryEventStore();
  const script = scriptOf(migration);
  let told = script;
  const capture = await openCapture({
    name: "random",
    openSource: () => new ScriptedSource(told, running.cuts),
    store,
    streams: migration.streams,
  });
  if (running.stopsAfter !== undefined) {
    told = { ...script, transactions: script.transactions.slice(0, running.stopsAfter) };
    await capture.catchUp(running.limits);
    told = script;
  }
  await capture.catchUp(running.limits);
  return { capture, store };
}

/** A row in its stream, as text to compare and to sort by. */
export interface PlacedRow {
  readonly stream: string;
  readonly role: string;
  readonly row: Readonly<Record<string, string | null | undefined>>;
}

/** Where each row of the source should be. */
export function placedRows({ schema, history }: RandomMigration): PlacedRow[] {
  const root = schema.tables[0]!;
  return sorted(
    schema.tables.flatMap((table) => {
      const links = linkColumns(root, table);
      const placed = (cells: Cells): Cells =>
        cells.map((cell, i) => (table.kinds[i] === "numeric" ? cell && trimScale(cell) : cell));
      return history.rows.get(table)!.map((cells) => ({
        stream: streamId(schema.streamType, keyText(placed(cells), links)),
        role: table.role,
        row: Object.fromEntries(table.shape.columns.map(({ name }, i) => [name, cells[i]])),
      }));
    }),
  );
}

/** Where each row is that the events tell of. */
export function foldedRows(folded: readonly FoldedStream[]): PlacedRow[] {
  return sorted(
    folded.flatMap(({ stream, state }) =>
      [...state].flatMap(([role, rows]) =>
        [...rows.values()].map((row) => ({ stream, role, row: { ...row } })),
      ),
    ),
  );
}

/** Columns of a table that say its stream, in the order of the root's key. */
function linkColumns(root: RandomTable, table: RandomTable): readonly number[] {
  if (table.parent === undefined) return table.shape.key;
  const own = Object.entries(table.parent);
  return root.shape.key.map((index) => {
    const key = root.shape.columns[index]!.name;
    const name = own.find(([, refersTo]) => refersTo === key)![0];
    return table.shape.columns.findIndex((column) => column.name === name);
  });
}

function sorted(rows: readonly PlacedRow[]): PlacedRow[] {
  const textOf = ({ stream, role, row }: PlacedRow): string =>
    JSON.stringify([stream, role, Object.entries(row).sort()]);
  return rows
    .map((row) => ({ row, text: textOf(row) }))
    .sort((a, b) => (a.text < b.text ? -1 : 1))
    .map(({ row }) => row);
}

/** Everything in the store, without what differs between two runs of anything: when it was stored. */
export async function eventsOf(
  store: MemoryEventStore,
): Promise<readonly Omit<RecordedEvent, "recordedTime">[]> {
  const { events } = await store.readAll(undefined, 10_000);
  return events.map(({ recordedTime: _, ...event }) =>
    // Without a time of its own a baseline event has that of its writing.
    event.origin === "baseline" ? { ...event, time: "" } : event,
  );
}
