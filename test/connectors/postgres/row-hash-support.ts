import { expect } from "vitest";
import { onSession, sourceDatabase, type SourceDatabase } from "./source-support.ts";
import type { SourceTable } from "../../../src/model/table.ts";
import type { ParitySnapshot } from "../../../src/source/change-source.ts";
import {
  aggregatesHere,
  sumHere,
  type AggregateSum,
  type RowHashPlan,
} from "../../../src/source/row-hash.ts";

const READ_MS_MAX = 60_000;

/** Tables of a database of their own, as a verification sees them. */
export interface HashedTables extends AsyncDisposable {
  readonly db: SourceDatabase;
  /** Runs statements on a session with a capture's own settings. */
  write(...statements: string[]): Promise<void>;
  /** @param names qualified */
  look(...names: string[]): Promise<Look>;
}

export interface Look extends AsyncDisposable {
  readonly tables: readonly SourceTable[];
  readonly snapshot: ParitySnapshot;
}

export async function hashedTables(label: string, ddl: readonly string[]): Promise<HashedTables> {
  const db = await sourceDatabase(label);
  await onSession(db.url, ddl);
  return {
    db,
    write: (...statements) => onSession(db.url, statements),
    async look(...names) {
      const source = db.open();
      const tables = await source.discover(names.map((name) => ({ name, key: ["id"] })));
      const snapshot = await source.openParity(tables, AbortSignal.timeout(READ_MS_MAX));
      return {
        tables: snapshot.tables,
        snapshot,
        async [Symbol.asyncDispose]() {
          await snapshot.close();
          await source.close();
        },
      };
    },
    [Symbol.asyncDispose]: () => db[Symbol.asyncDispose](),
  };
}

/**
 * The server's sums by bucket and by aggregate are those of the rows read and hashed here, each row once.
 *
 * @returns how many aggregates there are
 */
export async function expectServersSums(
  { snapshot }: Look,
  table: SourceTable,
  plan: RowHashPlan,
): Promise<number> {
  const signal = AbortSignal.timeout(READ_MS_MAX);
  const here = await sumHere(snapshot.readRows(table, [], signal), table, plan);
  const there = await snapshot.sumRows(table, plan, signal);
  const what = `${table.name} by ${plan.key.map((column) => table.columns[column]!.type).join()}`;
  expect([...there.counts], what).toEqual([...here.counts]);
  expect([...there.sums], what).toEqual([...here.sums]);
  // Of some buckets, more finely.
  const fine = { ...plan, buckets: 8 * plan.buckets };
  const within = { buckets: plan.buckets, wanted: [plan.buckets - 1, 0] };
  const finer = await snapshot.sumRows(table, fine, signal, within);
  const finerHere = await sumHere(snapshot.readRows(table, [], signal), table, fine, within);
  expect([...finer.counts], what).toEqual([...finerHere.counts]);
  expect([...finer.sums], what).toEqual([...finerHere.sums]);
  const summed = finer.counts.reduce((sum, count) => sum + count, 0);
  expect(summed, what).toBe(here.counts[0]! + here.counts[plan.buckets - 1]!);
  // One half of the buckets, so that the condition matters.
  const buckets = Array.from({ length: plan.buckets / 2 }, (_, i) => 2 * i);
  const rows = snapshot.readRows(table, [], signal);
  const aggregates = await aggregatesHere(rows, table, plan, buckets);
  const told: AggregateSum[] = [];
  for await (const page of snapshot.sumAggregates(table, plan, buckets, signal)) told.push(...page);
  expect(ordered(told), what).toEqual(ordered(aggregates));
  return aggregates.length;
}

/** Rows are found by the key that the server gave, whatever the key's type. */
export async function expectFoundByKey(
  { snapshot }: Look,
  table: SourceTable,
  plan: RowHashPlan,
): Promise<void> {
  const signal = AbortSignal.timeout(READ_MS_MAX);
  const all = Array.from({ length: plan.buckets }, (_, bucket) => bucket);
  const keys: AggregateSum["key"][] = [];
  let rows = 0;
  for await (const page of snapshot.sumAggregates(table, plan, all, signal))
    for (const { key, count } of page) {
      keys.push(key);
      rows += count;
    }
  let read = 0;
  const wanted = new Set(keys.map((key) => JSON.stringify(key)));
  for await (const page of snapshot.readAggregates(table, plan, keys, signal)) {
    for (const cells of page)
      if (wanted.has(JSON.stringify(plan.key.map((column) => cells[column])))) read += 1;
  }
  expect(read, `${table.name} by ${plan.key.join()}`).toBe(rows);
}

/** As text; what was told of an aggregate in parts is put together. */
function ordered(sums: readonly AggregateSum[]): readonly string[] {
  const whole = new Map<string, { count: number; sum: bigint }>();
  for (const { key, count, sum } of sums) {
    const id = JSON.stringify(key);
    const before = whole.get(id) ?? { count: 0, sum: 0n };
    whole.set(id, {
      count: before.count + count,
      sum: BigInt.asIntN(64, before.sum + sum),
    });
  }
  return [...whole].map(([id, { count, sum }]) => `${id} ${count} ${sum}`).toSorted();
}
