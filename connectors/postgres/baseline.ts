import type pg from "pg";
import { BanyanError } from "../../src/model/errors.ts";
import type { Position } from "../../src/model/position.ts";
import { failpoint } from "../../src/runtime/failpoint.ts";
import type {
  BaselinePlan,
  BaselineSnapshot,
  PlannedTable,
} from "../../src/source/change-source.ts";
import {
  hasUsableIdentity,
  readTables,
  requireAll,
  type Ask,
  type CatalogueEntry,
  type PlannedKeys,
} from "./catalogue.ts";
import { requirePublished } from "./check-publication.ts";
import { checkpointAt, lsnDigits } from "./lsn.ts";
import type { ServerFacts } from "./server-facts.ts";
import { waitUntilSeenByAll } from "./seen-by-all.ts";
import { connect, destroy, disconnect } from "./session.ts";
import { createSlot, findLeftover, removeLeftover, requireUnused } from "./slot.ts";
import { SnapshotRows } from "./snapshot-rows.ts";
import { classify } from "./sqlstate.ts";

/** How soon the server notices that we gave up waiting (since version 14; before, when the wait ends). */
const GONE_MS_MAX = 2_000;
const NOTICE_GONE = `
  SELECT set_config('client_connection_check_interval', '${GONE_MS_MAX}', false)
   WHERE current_setting('client_connection_check_interval', true) IS NOT NULL`;

export interface BaselineOptions {
  readonly url: string;
  readonly slot: string;
  readonly publication: string;
  readonly applicationName: string;
  readonly keys: PlannedKeys;
  /** A read that has said nothing for so long is asked after. */
  readonly silenceMs: number;
  /** How long to wait for transactions that are open in the source when the slot is created. */
  readonly slotWaitMsMax: number;
}

/**
 * Creates the slot, whose creation exports a snapshot of exactly its consistent point, and opens
 * sessions that read under it.
 *
 * The publication must exist before the slot: the log is decoded with the catalogue of its time, in
 * which a later publication does not exist.
 */
export async function openBaseline(
  options: BaselineOptions,
  plan: BaselinePlan,
  ask: Ask,
  facts: ServerFacts,
  signal: AbortSignal,
): Promise<BaselineSnapshot> {
  const { slot, publication, keys } = options;
  const names = plan.tables.map(({ name }) => name);
  const before = await readTables(ask, names, publication, keys);
  requireAll(names, before);
  await requirePublished(ask, publication, before);
  requireIdentities(before, plan.tables);
  if (plan.isRestart !== true) await requireUnused(ask, slot);
  // Looked at before the pipeline says that it is ours, so that afterwards it can only be this one.
  const leftover = await findLeftover(ask, slot, facts.database);
  await plan.onBegin?.();
  const restarted = leftover !== undefined;
  if (restarted) await removeLeftover(ask, slot, leftover);
  if (restarted) failpoint("baseline-slot-removed");
  const exporter = await openExporter(options);
  try {
    const { consistentPoint, snapshot } = await creating(
      options,
      exporter,
      ask,
      facts.version,
      signal,
    );
    const position = checkpointAt(lsnDigits(consistentPoint));
    const partitioned = new Set(
      before.filter(({ kind }) => kind === "p").map(({ table }) => table.name),
    );
    const rows = new SnapshotRows({ ...options, snapshot, partitioned });
    return await withTables(options, names, rows, exporter, ask, { position, restarted, signal });
  } catch (error) {
    await disconnect(exporter);
    throw error;
  }
}

async function withTables(
  { publication, keys, slot, slotWaitMsMax }: BaselineOptions,
  names: readonly string[],
  rows: SnapshotRows,
  exporter: pg.Client,
  askNow: Ask,
  {
    position,
    restarted,
    signal,
  }: {
    readonly position: Position;
    readonly restarted: boolean;
    readonly signal: AbortSignal;
  },
): Promise<BaselineSnapshot> {
  try {
    const entries = await rows.use((ask) => readTables(ask, names, publication, keys));
    requireAll(names, entries);
    const tables = entries.map(({ table }) => table);
    const [its] = await rows.use((asked) =>
      asked<{ seen: string }>(
        "reading the slot's snapshot",
        "SELECT pg_current_snapshot()::text AS seen",
        [],
      ),
    );
    await waitUntilSeenByAll(its!.seen, askNow, slot, slotWaitMsMax, signal);
    return {
      position,
      restarted,
      tables,
      readRows: (table, orderBy, signal) => rows.readRows(table, orderBy, signal),
      estimateRows: (table) => rows.estimateRows(table),
      rewritten: () => rows.rewritten(tables, askNow),
      async close() {
        await rows.close();
        await disconnect(exporter);
      },
    };
  } catch (error) {
    await rows.close();
    throw error;
  }
}

/** The session that creates the slot must stay open and idle afterwards: the snapshot lives in it. */
async function openExporter({
  url,
  applicationName,
  slotWaitMsMax,
}: BaselineOptions): Promise<pg.Client> {
  const client = await connect({
    url,
    applicationName,
    replication: true,
    lockTimeoutMs: Math.max(1, slotWaitMsMax),
  });
  await client.query(NOTICE_GONE).catch(async (error: unknown) => {
    await disconnect(client);
    throw classify(error, "source", "creating the replication slot");
  });
  return client;
}

async function creating(
  { slot, slotWaitMsMax }: BaselineOptions,
  exporter: pg.Client,
  ask: Ask,
  version: number,
  signal: AbortSignal,
): ReturnType<typeof createSlot> {
  const abort = (): void => destroy(exporter);
  signal.addEventListener("abort", abort, { once: true });
  try {
    signal.throwIfAborted();
    return await createSlot(exporter, ask, slot, version, slotWaitMsMax);
  } catch (error) {
    signal.throwIfAborted();
    throw error;
  } finally {
    signal.removeEventListener("abort", abort);
  }
}

/** Without a usable identity the application's own UPDATE and DELETE fail once the table is published. */
export function requireIdentities(
  entries: readonly CatalogueEntry[],
  tables: readonly PlannedTable[],
): void {
  const unusable = entries
    .filter((entry) => !hasUsableIdentity(entry))
    .map(({ table }) => table.name);
  if (unusable.length === 0) return;
  throw new BanyanError(
    "REPLICA_IDENTITY_UNUSABLE",
    `no primary key and no replica identity: ${unusable.join(", ")}`,
    {
      hint: "ALTER TABLE … REPLICA IDENTITY FULL; `banyan check` prints the statements.",
      detail: { tables: unusable.join(", "), planned: tables.length },
    },
  );
}
