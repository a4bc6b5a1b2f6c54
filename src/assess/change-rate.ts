import type {
  ChangeCounts,
  DatabaseFacts,
  LogSample,
  TableFacts,
} from "../source/database-facts.ts";

/** How often the rows of a table change, and how that is known. */
export interface ChangeRate {
  readonly basis: "statistics" | "sample" | "unknown";
  /** Undefined where it is not known: never a guess. */
  readonly insertedPerDay: number | undefined;
  readonly updatedPerDay: number | undefined;
  readonly deletedPerDay: number | undefined;
  /** Why not, or what to keep in mind; undefined when there is nothing to say. */
  readonly remark: string | undefined;
}

/**
 * Why a database's counts say nothing of its life: it looks like a copy that was loaded and that nobody
 * works on. Undefined when it lives, or counts nothing.
 */
export function copyRemark({ tables, countedSeconds }: DatabaseFacts): string | undefined {
  const counted = tables.filter(({ changes, rows }) => changes !== undefined && rows !== 0);
  if (counted.length === 0 || countedSeconds === undefined) return undefined;
  const all = { inserted: 0, updated: 0, deleted: 0 };
  for (const { changes } of counted) {
    all.inserted += changes!.inserted;
    all.updated += changes!.updated;
    all.deleted += changes!.deleted;
  }
  if (all.inserted + all.updated + all.deleted === 0)
    return "not one change was counted in the whole database, as in a copy that nobody works on";
  if (
    all.updated + all.deleted <= all.inserted * COPY_OTHER_SHARE_MAX &&
    counted.every((table) => cameWithinCounting(table))
  )
    return "what was counted is how the rows came in, as in a copy that was just loaded";
  return undefined;
}

const COPY_OTHER_SHARE_MAX = 0.01;

/** Whether all rows of a table came since the server began to count, by a load or by growth. */
export function cameWithinCounting({ changes, rows }: TableFacts): boolean {
  if (changes === undefined || changes.inserted === 0) return false;
  return rows === undefined || changes.inserted - changes.deleted >= rows * 0.9;
}

export const DAY_SECONDS = 86_400;
/** Of a shorter time an average per day says nothing. */
const COUNTED_SECONDS_MIN = 3_600;
/** Within this the rows that are there may all have come by one load, and say nothing about a day. */
const LOAD_SECONDS_MAX = 7 * DAY_SECONDS;

/**
 * Statistics over a day and more beat a sample, which may have met the busiest minute; over less, the
 * sample is better, because what the server has counted may be how the rows once came in.
 */
export function changeRate(
  facts: TableFacts,
  countedSeconds: number | undefined,
  copy: string | undefined,
  sample: LogSample | undefined,
): ChangeRate {
  const { table, changes } = facts;
  const counted = changes === undefined ? undefined : countedSeconds;
  if (
    sample !== undefined &&
    (counted === undefined || counted < DAY_SECONDS || copy !== undefined)
  ) {
    const seen = sample.tables.get(table.name) ?? { inserted: 0, updated: 0, deleted: 0 };
    const none = seen.inserted + seen.updated + seen.deleted === 0;
    const remark = none ? `none seen in ${Math.round(sample.seconds)} s` : undefined;
    return { ...perDay(seen, sample.seconds), basis: "sample", remark };
  }
  if (counted === undefined || changes === undefined)
    return unknown("this server does not count changes");
  if (counted < COUNTED_SECONDS_MIN)
    return unknown(`counted for ${Math.max(1, Math.round(counted / 60))} min only`);
  if (copy !== undefined) return unknown(copy);
  const rate = { ...perDay(changes, counted), basis: "statistics" as const, remark: undefined };
  if (counted >= LOAD_SECONDS_MAX || !cameWithinCounting(facts)) return rate;
  return {
    ...rate,
    insertedPerDay: undefined,
    remark: "its insertions are as many as its rows: they may all have come by one load",
  };
}

/** Changes per day of those that are known, and whether all are. */
export function totalPerDay(rate: ChangeRate): {
  readonly perDay: number;
  readonly complete: boolean;
} {
  const parts = [rate.insertedPerDay, rate.updatedPerDay, rate.deletedPerDay];
  const known = parts.filter((part) => part !== undefined);
  return {
    perDay: known.reduce((sum, part) => sum + part, 0),
    complete: known.length === parts.length,
  };
}

function perDay({ inserted, updated, deleted }: ChangeCounts, seconds: number) {
  const scale = DAY_SECONDS / Math.max(seconds, 1);
  return {
    insertedPerDay: inserted * scale,
    updatedPerDay: updated * scale,
    deletedPerDay: deleted * scale,
  };
}

function unknown(remark: string): ChangeRate {
  return {
    basis: "unknown",
    insertedPerDay: undefined,
    updatedPerDay: undefined,
    deletedPerDay: undefined,
    remark,
  };
}
