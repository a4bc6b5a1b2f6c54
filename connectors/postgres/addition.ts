import { setTimeout as sleep } from "node:timers/promises";
import { BanyanError } from "../../src/model/errors.ts";
import type { Position } from "../../src/model/position.ts";
import type { CapturePlan, ParitySnapshot } from "../../src/source/change-source.ts";
import { requireIdentities } from "./baseline.ts";
import { readTables, requireAll, type Ask } from "./catalogue.ts";
import { requirePublished } from "./check-publication.ts";
import { openParity, type ParityOptions } from "./parity.ts";
import type { ServerFacts } from "./server-facts.ts";
import { openTransactions } from "./slot.ts";

const LOOK_MS = 100;

/**
 * Opens a snapshot of tables that join a stream which is being read.
 *
 * A change is sent by the publication of its own time. So a transaction that was open when the tables
 * were added to the publication may have changed them before, which the log does not tell, and commit
 * only after the snapshot, which does not see it: all of those are waited for first.
 */
export async function openAddition(
  options: ParityOptions & { readonly waitMsMax: number },
  plan: CapturePlan,
  fence: () => Promise<Position>,
  ask: Ask,
  signal: AbortSignal,
): Promise<ParitySnapshot> {
  const { publication, keys } = options;
  const names = plan.tables.map(({ name }) => name);
  const entries = await readTables(ask, names, publication, keys);
  requireAll(names, entries);
  await requirePublished(ask, publication, entries);
  requireIdentities(entries, plan.tables);
  await outlive(ask, names, options.waitMsMax, signal);
  const tables = entries.map(({ table }) => table);
  return await openParity(options, tables, fence, ask, signal);
}

/**
 * The first minor release of each major one whose stream keeps the changes of a table added under way,
 * those of May 2025. For 13, whose decoder is another, none is known to.
 */
const WHOLE_SINCE: Readonly<Record<number, number>> = { 14: 18, 15: 13, 16: 9, 17: 5 };
const WHOLE_MAJOR = 18;

/**
 * Refuses a server that may leave changes of an added table out of the stream, also later ones: when a
 * transaction that wrote the table was open while it was published.
 */
export function requireWholeStream({ version, versionText }: ServerFacts): void {
  const major = Math.floor(version / 10_000);
  const since = WHOLE_SINCE[major];
  if (major >= WHOLE_MAJOR || (since !== undefined && version % 10_000 >= since)) return;
  const enough = since === undefined ? "a newer major release" : `${major}.${since} or later`;
  throw new BanyanError(
    "SOURCE_NOT_READY",
    `PostgreSQL ${versionText} can lose changes of a table that joins a publication while it is written to`,
    {
      hint: `Update the server to ${enough}; until then take the new table out of the config, and the others go on.`,
    },
  );
}

/** Waits until every transaction that is open now has ended. */
async function outlive(
  ask: Ask,
  tables: readonly string[],
  waitMsMax: number,
  signal: AbortSignal,
): Promise<void> {
  const doing = "waiting for open transactions";
  // An id of our own: the snapshot's end is only one past the newest transaction that has ended.
  const [now] = await ask<{ own: string }>(doing, "SELECT pg_current_xact_id()::text AS own", []);
  const deadline = performance.now() + waitMsMax;
  for (;;) {
    const [oldest] = await ask<{ over: boolean }>(
      doing,
      "SELECT pg_snapshot_xmin(pg_current_snapshot()) > $1::text::xid8 AS over",
      [now!.own],
    );
    if (oldest!.over) return;
    if (performance.now() >= deadline) break;
    await sleep(LOOK_MS, undefined, { signal });
  }
  const { list, hint, pids } = await openTransactions(ask);
  const names = tables.join(", ");
  throw new BanyanError(
    "ADDITION_BLOCKED",
    `${names} cannot join yet: transactions that may have begun before they were published are open since more than ${Math.round(waitMsMax / 1000)} s: ${list}`,
    { hint, detail: { tables: names, pids } },
  );
}
