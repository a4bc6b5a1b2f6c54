import type pg from "pg";
import { BanyanError } from "../../src/model/errors.ts";
import type { Ask } from "./catalogue.ts";
import { quoteIdentifier, quoteLiteral } from "./identifiers.ts";
import { formatLsn, parseLsn, type Lsn } from "./lsn.ts";
import { lostPlaceHint } from "./new-baseline.ts";
import { classify, sqlstateOf } from "./sqlstate.ts";

export interface Slot {
  readonly plugin: string | null;
  readonly database: string | null;
  readonly activePid: number | undefined;
  readonly confirmed: Lsn | undefined;
  /** reserved, extended, unreserved or lost. */
  readonly walStatus: string | undefined;
  /** Bytes of log that may still be written before the slot is lost; undefined without limit. */
  readonly safeBytes: number | undefined;
  readonly invalidationReason: string | undefined;
}

/** Asked as one JSON document, because the view gains columns with each version. */
const SLOT = `SELECT to_jsonb(s) AS slot FROM pg_replication_slots s WHERE slot_name = $1`;

export async function readSlot(ask: Ask, name: string): Promise<Slot | undefined> {
  const [row] = await ask<{ slot: Record<string, unknown> }>("reading the slot", SLOT, [name]);
  if (row === undefined) return undefined;
  const { slot } = row;
  const text = (key: string): string | undefined => {
    const value = slot[key];
    return value === null || value === undefined ? undefined : String(value as string | number);
  };
  const confirmed = text("confirmed_flush_lsn");
  const pid = text("active_pid");
  const safe = text("safe_wal_size");
  return {
    plugin: text("plugin") ?? null,
    database: text("database") ?? null,
    activePid: pid === undefined ? undefined : Number(pid),
    confirmed: confirmed === undefined ? undefined : parseLsn(confirmed),
    walStatus: text("wal_status"),
    safeBytes: safe === undefined ? undefined : Number(safe),
    invalidationReason: text("invalidation_reason"),
  };
}

/** True when the server has given up the slot's log: it can never be read again. */
export function isLost(slot: Slot): boolean {
  return slot.walStatus === "lost" || slot.invalidationReason !== undefined;
}

/**
 * What keeps the slot from being read from `from` on.
 *
 * @throws BanyanError `SLOT_LOST`, `SLOT_IN_USE`, `SLOT_AHEAD`, `SOURCE_NOT_READY`
 */
export async function requireReadable(
  ask: Ask,
  name: string,
  database: string,
  from: Lsn,
): Promise<void> {
  const slot = await readSlot(ask, name);
  if (slot === undefined) {
    throw new BanyanError("SLOT_LOST", `replication slot ${name} does not exist`, {
      hint: `Somebody dropped it, or the server was replaced without it; changes since are unknown. ${lostPlaceHint()}`,
      detail: { slot: name },
    });
  }
  requireOurs(slot, name, database);
  if (isLost(slot)) {
    const reason = slot.invalidationReason ?? "its log was removed";
    throw new BanyanError("SLOT_LOST", `replication slot ${name} is lost (${reason})`, {
      hint: `${limitOf(slot)} ${lostPlaceHint(name)}`,
      detail: { slot: name, reason },
    });
  }
  await requireInactive(ask, slot, name);
  if (slot.confirmed !== undefined && slot.confirmed > from) {
    throw new BanyanError(
      "SLOT_AHEAD",
      `replication slot ${name} stands at ${formatLsn(slot.confirmed)}, beyond the checkpoint ${formatLsn(from)}`,
      {
        hint: `The log in between is gone for this slot: another reader used it, or the store was restored from a backup. ${lostPlaceHint(name)}`,
        detail: { slot: name, confirmed: formatLsn(slot.confirmed), checkpoint: formatLsn(from) },
      },
    );
  }
}

/**
 * An error by which a reader learns that its slot is lost, as the slot itself tells it: with the setting by
 * which it was given up, which the server does not say to who reads it just then. Any other as it is.
 *
 * @param requireSlot see {@link requireReadable}; what else it throws is not told
 */
export async function explainLoss(
  error: unknown,
  requireSlot: () => Promise<void>,
): Promise<unknown> {
  const isLoss = (one: unknown): boolean => one instanceof BanyanError && one.code === "SLOT_LOST";
  if (!isLoss(error)) return error;
  const told: unknown = await requireSlot().catch((found: unknown) => found);
  return isLoss(told) ? told : error;
}

/** @throws BanyanError `SOURCE_NOT_READY` when there is a slot of this name, whoever made it */
export async function requireUnused(ask: Ask, name: string): Promise<void> {
  if ((await readSlot(ask, name)) === undefined) return;
  throw new BanyanError(
    "SOURCE_NOT_READY",
    `replication slot ${name} exists, but this pipeline has no history yet: it may be the place in the log of another one`,
    {
      hint: `Choose another slot name in the config; or, if nobody needs it: SELECT pg_drop_replication_slot(${quoteLiteral(name)});`,
      detail: { slot: name },
    },
  );
}

/**
 * The slot that an interrupted baseline left behind, if there is one.
 *
 * @throws BanyanError `SLOT_IN_USE`, `SOURCE_NOT_READY` when it is somebody else's
 */
export async function findLeftover(
  ask: Ask,
  name: string,
  database: string,
): Promise<Slot | undefined> {
  const slot = await readSlot(ask, name);
  if (slot === undefined) return undefined;
  requireOurs(slot, name, database);
  await requireInactive(ask, slot, name);
  return slot;
}

/**
 * Removes the slot that was found, and no other one of its name: whoever stood still in between may
 * have been overtaken, and then it is the slot of a successor that has its history already.
 *
 * @throws BanyanError `SLOT_IN_USE`
 */
export async function removeLeftover(ask: Ask, name: string, leftover: Slot): Promise<void> {
  const dropped = await ask<object>(
    "removing the slot of an interrupted baseline",
    `SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots
      WHERE slot_name = $1 AND confirmed_flush_lsn IS NOT DISTINCT FROM $2::pg_lsn`,
    [name, leftover.confirmed === undefined ? null : formatLsn(leftover.confirmed)],
  );
  if (dropped.length > 0) return;
  throw new BanyanError("SLOT_IN_USE", `replication slot ${name} was made anew by another`, {
    hint: "Only one `banyan run` per pipeline; see `banyan status`.",
    detail: { slot: name },
  });
}

export interface CreatedSlot {
  /** The log is retained from here; transactions that commit at or after it are in the stream. */
  readonly consistentPoint: Lsn;
  /** For SET TRANSACTION SNAPSHOT, as long as the connection stays idle and open. */
  readonly snapshot: string;
}

/**
 * Creates the slot and exports the snapshot of its consistent point. The server waits for every
 * transaction that is open in the whole cluster, and afterwards for those that began meanwhile. All of
 * that is one attempt, because a new one would begin to wait anew: on a busy server it might never
 * end. `client`'s lock_timeout bounds the wait for each of them.
 *
 * @param client a replication connection; cut it to give up
 * @throws BanyanError `SLOT_CREATION_BLOCKED` naming the sessions that stand in the way
 */
export async function createSlot(
  client: pg.Client,
  ask: Ask,
  name: string,
  version: number,
  waitMsMax: number,
): Promise<CreatedSlot> {
  // Kept on standbys too, so that it is there after a fail-over (since version 17).
  const options = version >= 170_000 ? "(SNAPSHOT 'export', FAILOVER true)" : "EXPORT_SNAPSHOT";
  try {
    const { rows } = await client.query<{ consistent_point: string; snapshot_name: string }>(
      `CREATE_REPLICATION_SLOT ${quoteIdentifier(name)} LOGICAL pgoutput ${options}`,
    );
    const { consistent_point: point, snapshot_name: snapshot } = rows[0]!;
    return { consistentPoint: parseLsn(point), snapshot };
  } catch (error) {
    if (sqlstateOf(error) === "55P03") throw await blocked(ask, name, waitMsMax, error);
    throw classify(error, "source", "creating the replication slot");
  }
}

function requireOurs({ plugin, database: owner }: Slot, name: string, database: string): void {
  if (plugin === "pgoutput" && owner === database) return;
  const found =
    plugin === null ? "a physical slot" : `a slot of plugin ${plugin} in database ${owner}`;
  throw new BanyanError("SOURCE_NOT_READY", `replication slot ${name} is ${found}, and not ours`, {
    hint: "Choose another slot name in the config.",
    detail: { slot: name },
  });
}

async function requireInactive(ask: Ask, { activePid }: Slot, name: string): Promise<void> {
  if (activePid === undefined) return;
  const [reader] = await ask<{ application: string }>(
    "looking for the reader of the slot",
    "SELECT application_name AS application FROM pg_stat_activity WHERE pid = $1",
    [activePid],
  );
  const application = reader?.application ?? "";
  const who = application === "" ? "" : ` (${application})`;
  throw new BanyanError(
    "SLOT_IN_USE",
    `replication slot ${name} is being read by process ${activePid}${who} of the server`,
    {
      hint: `Stop the other reader, or end it: SELECT pg_terminate_backend(${activePid});`,
      detail: { slot: name, pid: activePid },
    },
  );
}

/** The setting by which the server gave the slot up, for the next time. */
function limitOf({ invalidationReason }: Slot): string {
  switch (invalidationReason) {
    case undefined:
    case "wal_removed":
      return "Raise max_slot_wal_keep_size.";
    case "idle_timeout":
      return "Raise idle_replication_slot_timeout.";
    default:
      return "The server gave it up.";
  }
}

/** Transactions that have written hold a lock on their own id; who holds one is visible to every role. */
const BLOCKERS = `
  SELECT l.pid, coalesce(a.application_name, '') AS application, coalesce(a.state, '') AS state,
         coalesce(extract(epoch FROM clock_timestamp() - a.xact_start), 0)::int AS seconds,
         (SELECT gid FROM pg_prepared_xacts p WHERE l.pid IS NULL AND p.transaction = l.transactionid) AS prepared
    FROM pg_locks l LEFT JOIN pg_stat_activity a ON a.pid = l.pid
   WHERE l.locktype = 'transactionid' AND l.mode = 'ExclusiveLock' AND l.granted
   ORDER BY a.xact_start NULLS FIRST LIMIT 10`;

interface Blocker {
  readonly pid: number | null;
  readonly application: string;
  readonly state: string;
  readonly seconds: number;
  readonly prepared: string | null;
}

async function blocked(
  ask: Ask,
  name: string,
  waitMs: number,
  cause: unknown,
): Promise<BanyanError> {
  const { list, hint, pids } = await openTransactions(ask);
  return new BanyanError(
    "SLOT_CREATION_BLOCKED",
    `replication slot ${name} could not be created in ${Math.round(waitMs / 1000)} s: the server waits for open transactions: ${list}`,
    { cause, hint, detail: { slot: name, pids } },
  );
}

/** What is open in the server now and has written, told for people, and how to end it. */
export async function openTransactions(
  ask: Ask,
): Promise<{ readonly list: string; readonly hint: string; readonly pids: string }> {
  const blockers = await ask<Blocker>("looking for open transactions", BLOCKERS, []);
  return {
    list: blockers.map(describeBlocker).join("; ") || "one that has ended in this moment",
    hint: `Let them end, or end them: ${endings(blockers)}`,
    pids: blockers.flatMap(({ pid }) => (pid === null ? [] : [pid])).join(","),
  };
}

function endings(blockers: readonly Blocker[]): string {
  const pids = blockers.flatMap(({ pid }) => (pid === null ? [] : [pid]));
  const gids = blockers.flatMap(({ prepared }) => (prepared === null ? [] : [prepared]));
  const statements = [
    ...(pids.length === 0
      ? []
      : [`SELECT pg_terminate_backend(pid) FROM unnest('{${pids.join(",")}}'::int[]) pid;`]),
    ...gids.map((gid) => `ROLLBACK PREPARED ${quoteLiteral(gid)};`),
  ];
  return statements.length === 0 ? "run the command again." : statements.join(" ");
}

function describeBlocker({ pid, application, state, seconds, prepared }: Blocker): string {
  if (pid === null) return `prepared transaction ${prepared ?? "of another database"}`;
  const who = application === "" ? "" : ` (${application})`;
  const what = state === "" ? "" : ` ${state},`;
  return `process ${pid}${who},${what} open for ${seconds} s`;
}
