import type { SourceTable } from "../../src/model/table.ts";
import type { ParitySnapshot } from "../../src/source/change-source.ts";
import {
  aggregatesHere,
  emptySums,
  sumHere,
  type AggregateSum,
  type RowHashPlan,
} from "../../src/source/row-hash.ts";
import { readAggregateRows } from "./aggregate-rows.ts";
import { hashesAlike, sumAggregatesSql, sumRowsSql, wrapSum } from "./row-sums.ts";
import type { SnapshotRows } from "./snapshot-rows.ts";
import { eachStretch, type Stretch } from "./table-stretches.ts";

type Sums = Pick<ParitySnapshot, "sumRows" | "sumAggregates" | "readAggregates">;

/**
 * Sums of row hashes under a snapshot: by the server where it hashes as this program does, else here.
 *
 * @param isBusy whether others are at work in the server
 */
export function snapshotSums(rows: SnapshotRows, isBusy: () => Promise<boolean>): Sums {
  let asked: Promise<boolean> | undefined;
  const isServers = (): Promise<boolean> => (asked ??= rows.use(hashesAlike));

  async function* sumAggregates(
    table: SourceTable,
    plan: RowHashPlan,
    buckets: readonly number[],
    signal: AbortSignal,
  ): AsyncGenerator<readonly AggregateSum[], void, void> {
    if (!(await isServers())) {
      yield await aggregatesHere(rows.readRows(table, [], signal), table, plan, buckets);
      return;
    }
    const width = plan.key.length;
    const found: AggregateSum[][] = [];
    const readPart = async ({ from, where }: Stretch): Promise<void> => {
      const sql = sumAggregatesSql(table, plan, buckets, from, where);
      for await (const group of rows.copySelect(table, sql, width + 2, signal)) {
        found.push(
          group.map((cells) => ({
            key: cells.slice(0, width),
            count: Number(cells[width]),
            sum: wrapSum(cells[width + 1]),
          })),
        );
      }
    };
    await eachStretch(rows, table, isBusy, readPart, signal);
    yield* found;
  }

  return {
    async sumRows(table, plan, signal, within) {
      if (!(await isServers()))
        return await sumHere(rows.readRows(table, [], signal), table, plan, within);
      const sums = emptySums(plan.buckets);
      const addPart = async ({ from, where }: Stretch): Promise<void> => {
        const sql = sumRowsSql(table, plan, from, where, within);
        for await (const group of rows.copySelect(table, sql, 3, signal)) {
          for (const [bucket, count, sum] of group) {
            sums.counts[Number(bucket)]! += Number(count);
            sums.sums[Number(bucket)]! += wrapSum(sum);
          }
        }
      };
      await eachStretch(rows, table, isBusy, addPart, signal);
      return sums;
    },

    sumAggregates,

    readAggregates: (table, plan, keys, signal) =>
      readAggregateRows(rows, table, plan.key, keys, signal),
  };
}
