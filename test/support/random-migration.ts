import fc from "fast-check";
import { randomHistory, type HistoryOptions, type RandomHistory } from "./random-history.ts";
import { randomStreams } from "./random-mapping.ts";
import {
  randomSchema,
  type RandomSchema,
  type RandomTable,
  type SchemaOptions,
} from "./random-schema.ts";
import { ScriptedSource, type Cuts, type Script } from "./random-source.ts";
import { MemoryEventStore } from "../../connectors/memory/event-store.ts";
import type { StreamRef } from "../../src/mapping/rules.ts";
import type { RecordedEvent } from "../../src/model/event.ts";
import type { Cells } from "../../src/model/table.ts";
import type { TailLimits } from "../../src/pipeline/tail.ts";
import type { FoldedStream } from "../../src/projection/fold-streams.ts";
import { openCapture, type Capture } from "./pipeline-capture.ts";

/** A schema, a mapping of it, and a history. */
export interface RandomMigration {
  readonly schema: RandomSchema;
  readonly streams: Readonly<Record<string, StreamRef>>;
  readonly history: RandomHistory;
}

export function randomMigration(
  options: SchemaOptions & HistoryOptions = {},
): fc.Arbitrary<RandomMigration> {
  return randomSchema(options).chain((schema) =>
    fc.record({
      schema: fc.constant(schema),
      streams: randomStreams(schema, options),
      history: randomHistory(schema, options),
    }),
  );
}

/** How many of its changes are of mapped tables. */
export function mappedChanges({ schema, history }: RandomMigration): number {
  const mapped = new Set(schema.tables.map(({ shape }) => shape));
  return history.transactions
    .flatMap(({ changes }) => changes)
    .filter(({ table }) => mapped.has(table)).length;
}

function scriptOf({ schema, history }: RandomMigration): Script {
  const byName = (rows: RandomHistory["rows"]): Map<string, readonly Cells[]> =>
    new Map(schema.tables.map((table) => [table.shape.name, rows.get(table)!]));
  return {
    tables: schema.tables.map(({ shape }) => shape),
    baseline: byName(history.baseline),
    rows: byName(history.rows),
    transactions: history.transactions,
  };
}

const UNCUT: Cuts = { partChangesMax: 1_000, groupPartsMax: 1_000, rowsMax: 1_000 };

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

export interface RunMigration {
  readonly store: MemoryEventStore;
  readonly capture: Capture;
  /** Goes on with other streams of the same tables, as after a change of the config. */
  with(streams: Readonly<Record<string, StreamRef>>): Promise<Capture>;
}

/** Runs a migration from its baseline to its end into a store in memory. */
export async function runMigration(
  migration: RandomMigration,
  running: Running = { cuts: UNCUT, limits: {}, stopsAfter: undefined },
): Promise<RunMigration> {
  const store = new MemoryEventStore();
  const script = scriptOf(migration);
  let told = script;
  const open = (streams: RandomMigration["streams"]): Promise<Capture> =>
    openCapture({
      name: "random",
      openSource: () => new ScriptedSource(told, running.cuts),
      store,
      streams,
    });
  const capture = await open(migration.streams);
  try {
    if (running.stopsAfter !== undefined) {
      told = { ...script, transactions: script.transactions.slice(0, running.stopsAfter) };
      await capture.catchUp(running.limits);
      told = script;
    }
    await capture.catchUp(running.limits);
  } catch (error) {
    // Nobody else has it: many a mapping is refused.
    await capture[Symbol.asyncDispose]();
    throw error;
  }
  return { store, capture, with: open };
}

export interface PlacedRow {
  readonly role: string;
  /** What the row says of its stream: the root's key, by the root's columns. */
  readonly key: string;
  readonly row: Readonly<Record<string, string | null | undefined>>;
}

/** The rows of the source. */
export function placedRows({ schema, history }: RandomMigration): PlacedRow[] {
  return sortedRows(
    schema.tables.flatMap((table) =>
      history.rows.get(table)!.map((cells) => {
        const names = table.shape.columns.map(({ name }) => name);
        return placedRow(
          schema,
          table,
          Object.fromEntries(names.map((name, i) => [name, cells[i]])),
        );
      }),
    ),
  );
}

/**
 * The rows that the events tell of.
 *
 * @throws when rows of one key are in two streams, or rows of two keys in one
 */
export function foldedRows(schema: RandomSchema, folded: readonly FoldedStream[]): PlacedRow[] {
  const tables = new Map(schema.tables.map((table) => [table.role, table]));
  const keys = new Map<string, string>();
  const streams = new Map<string, string>();
  const rows: PlacedRow[] = [];
  for (const { stream, state } of folded) {
    for (const [role, all] of state) {
      for (const row of all.values()) {
        const one = placedRow(schema, tables.get(role)!, { ...row });
        rows.push(one);
        if ((keys.get(stream) ?? one.key) !== one.key)
          throw new Error(`${stream} has rows of ${one.key} and of ${keys.get(stream)}`);
        if ((streams.get(one.key) ?? stream) !== stream)
          throw new Error(`rows of ${one.key} are in ${stream} and in ${streams.get(one.key)}`);
        keys.set(stream, one.key);
        streams.set(one.key, stream);
      }
    }
  }
  return sortedRows(rows);
}

export function placedRow(
  { tables }: RandomSchema,
  table: RandomTable,
  row: PlacedRow["row"],
): PlacedRow {
  const root = tables[0]!;
  const key = root.shape.key.map((index) => {
    const name = root.shape.columns[index]!.name;
    const own = Object.entries(table.parent ?? {}).find(([, refersTo]) => refersTo === name);
    const cell = row[own?.[0] ?? name] ?? null;
    // 1.0 and 1.00 are one key.
    return root.kinds[index] === "numeric" && cell !== null && /\./.test(cell)
      ? cell.replace(/0+$/, "").replace(/\.$/, "")
      : cell;
  });
  return { role: table.role, key: JSON.stringify(key), row };
}

export function sortedRows(rows: readonly PlacedRow[]): PlacedRow[] {
  const textOf = ({ role, row }: PlacedRow): string =>
    JSON.stringify([role, Object.entries(row).sort(([a], [b]) => (a < b ? -1 : 1))]);
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
