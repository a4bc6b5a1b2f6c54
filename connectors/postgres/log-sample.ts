import { randomBytes } from "node:crypto";
import type pg from "pg";
import { BanyanError } from "../../src/model/errors.ts";
import { qualifiedName } from "../../src/model/table.ts";
import type { LogSample } from "../../src/source/database-facts.ts";
import { copyOut } from "./copy-out.ts";
import { quoteIdentifier, quoteLiteral } from "./identifiers.ts";
import { LogTally, type SampledRelation } from "./log-tally.ts";
import { connect, disconnect } from "./session.ts";
import { classify, sqlstateOf } from "./sqlstate.ts";
import { commitTimeMs, parseChange } from "./test-decoding.ts";
import { pause } from "../../src/runtime/pause.ts";

export interface LogSampleOptions {
  readonly url: string;
  readonly applicationName: string;
  /** How long the slot may wait for transactions that were open before; 20 s. */
  readonly waitMsMax?: number;
}

/** The slot waits for every transaction that is open when it is made. */
const CREATION_MS_MAX = 20_000;
const POLL_MS = 1_000;
/** After this many changes a look ends with the transaction it is in. */
const CHANGES_PER_LOOK = 50_000;
/** Of a longer line the beginning tells table and operation; the rest is counted only. */
const LINE_LENGTH_MAX = 32_768;
/** Time to read on to where the log stood when the sample was over. */
const OVERTIME_MS_MAX = 15_000;

/**
 * Watches the log for a while through a temporary slot with the output plugin test_decoding, which
 * comes with the server. The slot belongs to this one session and is gone with it, whatever happens.
 *
 * @throws BanyanError `SOURCE_NOT_READY`, `SLOT_CREATION_BLOCKED`
 */
export async function sampleLog(
  options: LogSampleOptions,
  seconds: number,
  signal: AbortSignal,
): Promise<LogSample> {
  const { url, applicationName, waitMsMax = CREATION_MS_MAX } = options;
  const client = await connect({ url, applicationName, lockTimeoutMs: waitMsMax });
  try {
    const slot = `banyan_assess_${randomBytes(6).toString("hex")}`;
    const relations = await readRelations(client);
    await createTemporarySlot(client, slot, waitMsMax);
    return await watch(client, slot, new LogTally(relations), seconds, signal);
  } finally {
    await disconnect(client);
  }
}

async function watch(
  client: pg.Client,
  slot: string,
  tally: LogTally,
  seconds: number,
  signal: AbortSignal,
): Promise<LogSample> {
  const { nowMs: startedMs } = await askNow(client);
  const deadline = performance.now() + seconds * 1000;
  let seen = { changes: 0, committedMs: startedMs };
  while (performance.now() < deadline && !signal.aborted) {
    const pauseMs = Math.min(POLL_MS, deadline - performance.now());
    // A look that came back full has more behind it.
    if (seen.changes < CHANGES_PER_LOOK) await pause(pauseMs, signal);
    seen = await look(client, slot, tally, undefined, seen.committedMs);
  }
  const { nowMs: endedMs, lsn } = await askNow(client);
  const overtime = performance.now() + OVERTIME_MS_MAX;
  do {
    if (performance.now() >= overtime) {
      // The log is written faster than it is read here: what was seen ends with the last commit seen.
      return tally.result(Math.max(1, seen.committedMs - startedMs) / 1000);
    }
    seen = await look(client, slot, tally, lsn, seen.committedMs);
  } while (seen.changes > 0);
  return tally.result(Math.max(1, endedMs - startedMs) / 1000);
}

interface Seen {
  readonly changes: number;
  readonly committedMs: number;
}

/** Takes what the log has new, up to `lsn` if given. */
async function look(
  client: pg.Client,
  slot: string,
  tally: LogTally,
  lsn: string | undefined,
  committedMs: number,
): Promise<Seen> {
  const upTo = lsn === undefined ? "NULL" : quoteLiteral(lsn);
  const sql = `COPY (
    SELECT octet_length(data), char_length(data) > ${LINE_LENGTH_MAX}, left(data, ${LINE_LENGTH_MAX})
      FROM pg_logical_slot_get_changes(${quoteLiteral(slot)}, ${upTo}, ${CHANGES_PER_LOOK}, 'skip-empty-xacts', '1', 'include-timestamp', '1')
    ) TO STDOUT`;
  let changes = 0;
  let newest = committedMs;
  // Not ended by a signal: one look is short, and what it has taken from the slot is counted.
  const signal = AbortSignal.timeout(OVERTIME_MS_MAX * 4);
  try {
    for await (const group of copyOut(client, sql, 3, "reading the log", signal)) {
      for (const [bytes, cut, line] of group) {
        const text = line!;
        const change = parseChange(text, cut === "t");
        if (change !== undefined) {
          changes++;
          tally.add(change, Number(bytes));
          continue;
        }
        const commit = commitTimeMs(text);
        if (commit === undefined) continue;
        tally.commit();
        newest = Math.max(newest, commit);
      }
    }
  } catch (error) {
    throw classify(error, "source", "reading the log");
  }
  return { changes, committedMs: newest };
}

async function askNow(client: pg.Client): Promise<{ nowMs: number; lsn: string }> {
  const { rows } = await client.query<{ now: number; lsn: string }>(
    `SELECT extract(epoch FROM clock_timestamp())::float8 * 1000 AS now,
            CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END::text AS lsn`,
  );
  return { nowMs: rows[0]!.now, lsn: rows[0]!.lsn };
}

/** Relations that hold rows, by name. */
async function readRelations(client: pg.Client): Promise<ReadonlyMap<string, SampledRelation>> {
  const { rows } = await client
    .query<{
      schema: string;
      relation: string;
      full: boolean;
      rootSchema: string;
      rootRelation: string;
    }>(
      `WITH RECURSIVE up AS (
         SELECT oid AS leaf, oid AS relid, relispartition FROM pg_class WHERE relkind = 'r' AND relpersistence = 'p'
         UNION ALL
         SELECT up.leaf, i.inhparent, c.relispartition
           FROM up JOIN pg_inherits i ON i.inhrelid = up.relid AND up.relispartition JOIN pg_class c ON c.oid = i.inhparent
       )
       SELECT n.nspname AS schema, c.relname AS relation, c.relreplident = 'f' AS full,
              rn.nspname AS "rootSchema", r.relname AS "rootRelation"
         FROM up JOIN pg_class c ON c.oid = up.leaf JOIN pg_namespace n ON n.oid = c.relnamespace
         JOIN pg_class r ON r.oid = up.relid JOIN pg_namespace rn ON rn.oid = r.relnamespace
        WHERE NOT up.relispartition AND n.nspname !~ '^pg_'`,
    )
    .catch((error: unknown) => {
      throw classify(error, "source", "reading the tables");
    });
  return new Map(
    rows.map(({ schema, relation, full, rootSchema, rootRelation }) => [
      qualifiedName(schema, relation),
      { full, root: qualifiedName(rootSchema, rootRelation) },
    ]),
  );
}

async function createTemporarySlot(
  client: pg.Client,
  slot: string,
  waitMsMax: number,
): Promise<void> {
  const { rows } = await client.query<{ level: string; role: string }>(
    "SELECT current_setting('wal_level') AS level, current_user::text AS role",
  );
  const { level, role } = rows[0]!;
  try {
    // Also where the wait is not for a lock, as on a standby whose primary is idle.
    await client.query(`SET statement_timeout = ${waitMsMax * 2}`);
    await client.query("SELECT pg_create_logical_replication_slot($1, 'test_decoding', true)", [
      slot,
    ]);
    await client.query("SET statement_timeout = 0");
  } catch (error) {
    throw explain(error, level, role);
  }
}

/** Says what to do about a slot that could not be made. */
function explain(error: unknown, level: string, role: string): BanyanError {
  const refused = (message: string, hint: string): BanyanError =>
    new BanyanError("SOURCE_NOT_READY", `the log cannot be sampled: ${message}`, {
      cause: error,
      hint,
    });
  const sqlstate = sqlstateOf(error);
  switch (sqlstate) {
    case "42501":
      return refused(
        `role ${role} may not read the log`,
        `ALTER ROLE ${quoteIdentifier(role)} REPLICATION;`,
      );
    case "55000":
      if (level === "logical") break;
      return refused(
        `wal_level is ${level} and must be logical`,
        "ALTER SYSTEM SET wal_level = 'logical'; then restart the server. The capture needs it too.",
      );
    case "53400":
      return refused(
        "all replication slots are taken",
        "ALTER SYSTEM SET max_replication_slots to a higher number; then restart the server. The capture needs one too.",
      );
    case "58P01":
    case "42704":
      return refused(
        "the server lacks the output plugin test_decoding",
        "Install the contrib modules of the server's version (Debian and Ubuntu: in postgresql-NN itself; Red Hat: postgresqlNN-contrib); no restart is needed.",
      );
    case "0A000":
      return refused(
        "the server is a standby, which cannot decode its log before version 16",
        "Give the primary's address.",
      );
    case "55P03":
    case "57014":
      return new BanyanError(
        "SLOT_CREATION_BLOCKED",
        "the log cannot be sampled: the server waits for a transaction that was open before",
        {
          cause: error,
          hint: "Look for long ones: SELECT pid, xact_start, state, application_name FROM pg_stat_activity WHERE backend_xid IS NOT NULL ORDER BY xact_start;",
        },
      );
  }
  return classify(error, "source", "making a temporary replication slot");
}
