import { BanyanError } from "../../src/model/errors.ts";
import type { SourceTable } from "../../src/model/table.ts";
import type { Position } from "../../src/model/position.ts";
import type { ParitySnapshot } from "../../src/source/change-source.ts";
import { readTables, requireAll, type Ask, type PlannedKeys } from "./catalogue.ts";
import { FENCE_PREFIX } from "./intent.ts";
import { checkpointAt, lsnDigits, parseLsn } from "./lsn.ts";
import { connect, disconnect } from "./session.ts";
import { readLoad } from "./source-load.ts";
import { readApplied } from "./applied-events.ts";
import { askClient, HOLD_LOCKS, release, SnapshotRows } from "./snapshot-rows.ts";
import { snapshotSums } from "./snapshot-sums.ts";

export interface ParityOptions {
  readonly url: string;
  readonly applicationName: string;
  readonly publication: string;
  /** Whose events may have been written back. */
  readonly pipeline?: string | undefined;
  readonly keys: PlannedKeys;
  /** A read that has said nothing for so long is asked after. */
  readonly silenceMs: number;
}

/**
 * Opens a snapshot whose visible transactions are known, and writes a fence after it: every
 * transaction that the snapshot sees had written its commit record before, so it lies before the fence.
 * A mark that is written before it tells which other snapshots were taken before: those that were read at
 * a place ahead of the mark.
 *
 * @param fence writes the mark on another session; this one's transaction must not write
 * @param askNow asks outside of the snapshot
 */
export async function openParity(
  options: ParityOptions,
  tables: readonly SourceTable[],
  fence: () => Promise<Position>,
  askNow: Ask,
  signal: AbortSignal,
): Promise<ParitySnapshot> {
  const { url, applicationName, publication, keys } = options;
  const holder = await connect({ url, applicationName });
  const ask = askClient(holder);
  try {
    const doing = "opening a snapshot";
    // Outside of transactions, so that it is no fence, and nobody waits for it to be on disk.
    const [begun] = await ask<{ lsn: string }>(
      doing,
      "SELECT pg_logical_emit_message(false, $1, '')::text AS lsn",
      [FENCE_PREFIX],
    );
    await ask(doing, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY", []);
    const [taken] = await ask<{ seen: string; snapshot: string }>(
      doing,
      "SELECT pg_current_snapshot()::text AS seen, pg_export_snapshot() AS snapshot",
      [],
    );
    // The fence only now: before the snapshot it could lie before a transaction that the snapshot sees.
    const position = await fence();
    const names = tables.map(({ name }) => name);
    // Whoever asks for the partitions of a table locks them.
    await ask(doing, HOLD_LOCKS, []);
    const entries = await readTables(ask, names, publication, keys);
    await release(holder, doing);
    requireAll(names, entries);
    signal.throwIfAborted();
    const partitioned = new Set(
      entries.filter(({ kind }) => kind === "p").map(({ table }) => table.name),
    );
    const rows = new SnapshotRows({ ...options, snapshot: taken!.snapshot, partitioned });
    const shapes = entries.map(({ table }) => table);
    return {
      begin: checkpointAt(lsnDigits(parseLsn(begun!.lsn))),
      fence: position,
      tables: shapes,
      columnsLeftOut: new Map(
        entries.map(({ table, generatedLeftOut }) => [table.name, generatedLeftOut]),
      ),
      applied: (streams) => readApplied(ask, options.pipeline, streams),
      seen: taken!.seen,
      sees: visibility(taken!.seen),
      readRows: (table, orderBy, aborted) => rows.readRows(table, orderBy, aborted),
      ...snapshotSums(rows, async () => {
        const { activeSessions } = await readLoad(askNow, applicationName);
        return activeSessions === undefined || activeSessions > 0;
      }),
      estimateRows: (table) => rows.estimateRows(table),
      rewritten: () => rows.rewritten(shapes, askNow),
      async close() {
        await rows.close();
        await disconnect(holder);
      },
    };
  } catch (error) {
    await disconnect(holder);
    throw error;
  }
}

/**
 * Whether a snapshot sees a transaction that has committed by now: it began before the snapshot's
 * end and was not in progress when the snapshot was taken.
 *
 * @param text `xmin:xmax:xip,…`, 64-bit ids in decimal
 */
export function visibility(text: string): (transaction: string) => boolean {
  const match = /^(\d+):(\d+):([\d,]*)$/.exec(text);
  if (match === null) throw new BanyanError("PROTOCOL_VIOLATION", `not a snapshot: "${text}"`);
  const xmin = BigInt(match[1]!);
  const xmax = BigInt(match[2]!);
  const inProgress = new Set(match[3]!.split(","));
  return (transaction) => {
    const xid = BigInt(transaction);
    return xid < xmin || (xid < xmax && !inProgress.has(transaction));
  };
}
