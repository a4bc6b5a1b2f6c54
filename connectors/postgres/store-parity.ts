import { setTimeout as sleep } from "node:timers/promises";
import type pg from "pg";
import { copyFrames } from "./copy-frames.ts";
import { disconnect } from "./session.ts";
import { textArray } from "./store-arrays.ts";
import { fieldRoom } from "./store-binary.ts";
import { copyIn } from "./store-copy.ts";
import { classifyStore } from "./store-errors.ts";
import { FEED_END } from "./store-events.ts";
import { copyFoldEvents, ofStreamType } from "./store-fold.ts";
import { eventsFrom, findScope, openFoldSnapshot } from "./store-fold-snapshot.ts";
import type { FoldEvent } from "../../src/store/event-store.ts";
import {
  FOLD_BUCKETS_MAX,
  type FoldScope,
  type FoldSnapshot,
  type FoldSums,
  type ParityFinding,
  type ParityStore,
  type SavedReport,
} from "../../src/store/parity-store.ts";

/** First key of the lock that a program holds while it brings folds up to date; the second is the scope. */
const LOCK_CLASS = 1_650_553_190;
const LOCK_LOOK_MS = 100;
/** Parity's part of the store; its sessions are opened when needed and closed after. */
export class PostgresParityStore implements ParityStore {
  readonly #pool: pg.Pool;
  readonly #openSession: () => Promise<pg.Client>;

  constructor(pool: pg.Pool, openSession: () => Promise<pg.Client>) {
    this.#pool = pool;
    this.#openSession = openSession;
  }

  async behind(scope: FoldScope, limit: number): Promise<number | undefined> {
    return await this.#run("counting events to fold", async () => {
      const known = await findScope(this.#pool, scope);
      if (known === undefined) return undefined;
      const missing = `${eventsFrom("$1::text::xid8")} WHERE ${ofStreamType(scope.streamType)}`;
      // Where there are none the place moves on, or it would be looked for further back each time.
      const { rows } = await this.#pool.query<{ behind: number }>(
        `WITH counted AS MATERIALIZED (SELECT count(*)::int AS behind FROM (SELECT FROM ${missing} LIMIT $2) missing),
              moved AS (UPDATE banyan.parity_scopes SET folded_to = greatest(folded_to, ${FEED_END})
                         WHERE id = $3 AND folded_to = $1::text::xid8 AND (SELECT behind FROM counted) = 0)
         SELECT behind FROM counted`,
        [known.foldedTo, limit, known.id],
      );
      return rows[0]!.behind;
    });
  }

  async advance(
    scope: FoldScope,
    fold: (events: AsyncIterable<readonly FoldEvent[]>) => AsyncIterable<FoldSums>,
    signal: AbortSignal,
  ): Promise<void> {
    await this.#run(`folding the streams of ${scope.streamType}`, async () => {
      const writer = await this.#openSession();
      try {
        await this.#advance(writer, scope, fold, signal);
      } finally {
        // The lock ends with the session.
        await disconnect(writer);
      }
    });
  }

  /**
   * Each page is a transaction of its own, so that nothing is open for long. Whoever is killed in
   * between has left folds that are newer than said, and the streams of those are folded again.
   */
  async #advance(
    writer: pg.Client,
    scope: FoldScope,
    fold: (events: AsyncIterable<readonly FoldEvent[]>) => AsyncIterable<FoldSums>,
    signal: AbortSignal,
  ): Promise<void> {
    await takeLock(writer, scope, signal);
    const { id, from } = await takeScope(writer, scope);
    const reader = await this.#openSession();
    try {
      const { rows } = await reader.query<{ to: string }>(`SELECT ${FEED_END}::text AS to`);
      const { to } = rows[0]!;
      if (from === to) return;
      const isFirst = from === undefined;
      const type = ofStreamType(scope.streamType);
      const known = isFirst
        ? ""
        : ` AND stream_id IN (SELECT stream_id FROM ${eventsFrom(`'${from}'`)} WHERE ${type})`;
      const where = `${type} AND transaction_id < '${to}'${known}`;
      // The last transaction is durable, and with it all before.
      await writer.query("SET synchronous_commit = off");
      const sums = new BucketChanges();
      const write = async (page: FoldSums): Promise<void> => {
        await writer.query("BEGIN");
        if (!isFirst) sums.subtract(await removeFolds(writer, id, page.folded));
        await copyFolds(writer, id, page);
        sums.add(page);
        if (!isFirst) await sums.write(writer, id);
        await writer.query("COMMIT");
      };
      // One page is written while the next is folded.
      let writing = Promise.resolve();
      try {
        for await (const page of fold(copyFoldEvents(reader, where, signal))) {
          await writing;
          writing = write(page);
          writing.catch(() => undefined);
        }
      } finally {
        await writing;
      }
      signal.throwIfAborted();
      await writer.query("BEGIN; SET LOCAL synchronous_commit = on");
      await sums.write(writer, id);
      // Nothing is said of folds that were forgotten meanwhile.
      await writer.query(
        `UPDATE banyan.parity_scopes SET fingerprint = $2, folded_to = $3::text::xid8
          WHERE id = $1 AND folded_to IS NOT DISTINCT FROM $4::text::xid8`,
        [id, scope.fingerprint, to, from],
      );
      await writer.query("COMMIT");
    } finally {
      await disconnect(reader);
    }
  }

  async forget(pipeline: string): Promise<void> {
    await this.#run("forgetting folds", () =>
      // The folds themselves go when they are made anew. The number tells whoever is at work on them.
      this.#pool.query(
        "UPDATE banyan.parity_scopes SET fingerprint = NULL, folded_to = '0' WHERE pipeline = $1",
        [pipeline],
      ),
    );
  }

  openFolds(scope: FoldScope): Promise<FoldSnapshot> {
    return this.#run("reading folds", async () => {
      const client = await this.#openSession();
      try {
        return await openFoldSnapshot(client, scope);
      } catch (error) {
        await disconnect(client);
        throw error;
      }
    });
  }

  async saveReport(pipeline: string, report: unknown): Promise<void> {
    await this.#run("keeping a report", () =>
      this.#pool.query(
        `INSERT INTO banyan.parity_reports (pipeline, report) VALUES ($1, $2)
         ON CONFLICT (pipeline) DO UPDATE SET report = excluded.report, saved_at = now()`,
        [pipeline, JSON.stringify(report)],
      ),
    );
  }

  async report(pipeline: string): Promise<SavedReport | undefined> {
    return await this.#run("reading the latest report", async () => {
      const { rows } = await this.#pool.query<{ report: unknown; at: Date }>(
        "SELECT report, saved_at AS at FROM banyan.parity_reports WHERE pipeline = $1",
        [pipeline],
      );
      const [row] = rows;
      return row && { report: row.report, savedAt: row.at.toISOString() };
    });
  }

  async saveFindings(pipeline: string, findings: readonly ParityFinding[]): Promise<void> {
    await this.#run("keeping findings", () =>
      this.#pool.query(
        `WITH gone AS (DELETE FROM banyan.parity_findings WHERE pipeline = $1
            AND (table_name, stream_id, row_key) NOT IN (SELECT f."table", f.stream, f.key
                 FROM json_to_recordset($2::json) AS f("table" text, stream text, key text)))
         INSERT INTO banyan.parity_findings
         SELECT $1, f."table", f.stream, f.key, f.verdict,
                ARRAY(SELECT json_array_elements_text(f.columns)), f.version, f."firstSeen", f."lastSeen", f.rechecks
           FROM json_to_recordset($2::json) AS f("table" text, stream text, key text, verdict text, columns json, version int,
                  "firstSeen" timestamptz, "lastSeen" timestamptz, rechecks int)
         ON CONFLICT (pipeline, table_name, stream_id, row_key) DO UPDATE
            SET verdict = excluded.verdict, columns = excluded.columns, version = excluded.version, first_seen = excluded.first_seen,
                last_seen = excluded.last_seen, rechecks = excluded.rechecks`,
        [pipeline, JSON.stringify(findings)],
      ),
    );
  }

  async findings(pipeline: string): Promise<readonly ParityFinding[]> {
    return await this.#run("reading findings", async () => {
      const { rows } = await this.#pool.query<FindingRow>(
        `SELECT stream_id, table_name, row_key, verdict, columns, version, first_seen, last_seen, rechecks
           FROM banyan.parity_findings WHERE pipeline = $1 ORDER BY first_seen, table_name, stream_id, row_key`,
        [pipeline],
      );
      return rows.map((row) => ({
        stream: row.stream_id,
        table: row.table_name,
        key: row.row_key,
        verdict: row.verdict,
        columns: row.columns,
        version: row.version,
        firstSeen: row.first_seen.toISOString(),
        lastSeen: row.last_seen.toISOString(),
        rechecks: row.rechecks,
      }));
    });
  }

  async #run<T>(doing: string, call: () => Promise<T>): Promise<T> {
    try {
      return await call();
    } catch (error) {
      throw isAbort(error) ? error : classifyStore(error, doing);
    }
  }
}

interface FindingRow {
  readonly stream_id: string;
  readonly table_name: string;
  readonly row_key: string;
  readonly verdict: ParityFinding["verdict"];
  readonly columns: readonly string[];
  readonly version: number;
  readonly first_seen: Date;
  readonly last_seen: Date;
  readonly rechecks: number;
}

/** The reason of a signal that aborted, or timed out. */
function isAbort(error: unknown): boolean {
  return error instanceof Error && ["AbortError", "TimeoutError"].includes(error.name);
}

/** Locks the scope for this session. */
async function takeLock(
  client: pg.Client,
  { pipeline, streamType }: FoldScope,
  signal: AbortSignal,
): Promise<void> {
  for (;;) {
    const { rows } = await client.query<{ taken: boolean }>(
      "SELECT pg_try_advisory_lock($1, hashtext($2)) AS taken",
      [LOCK_CLASS, `${pipeline}/${streamType}`],
    );
    if (rows[0]!.taken) return;
    await sleep(LOCK_LOOK_MS, undefined, { signal }).catch(() => signal.throwIfAborted());
  }
}

/** The locked scope, made when it is not there. One of another fingerprint gives way to a new one without folds. */
async function takeScope(
  client: pg.Client,
  scope: FoldScope,
): Promise<{ readonly id: number; readonly from: string | undefined }> {
  const { pipeline, streamType } = scope;
  const known = await findScope(client, scope);
  if (known !== undefined) return { id: known.id, from: known.foldedTo };
  const { rows: gone } = await client.query<{ id: number }>(
    "DELETE FROM banyan.parity_scopes WHERE pipeline = $1 AND stream_type = $2 RETURNING id",
    [pipeline, streamType],
  );
  for (const { id } of gone) {
    await client.query("DELETE FROM banyan.parity_folds WHERE scope_id = $1", [id]);
    await client.query("DELETE FROM banyan.parity_sums WHERE scope_id = $1", [id]);
  }
  const { rows } = await client.query<{ id: number }>(
    "INSERT INTO banyan.parity_scopes (pipeline, stream_type) VALUES ($1, $2) RETURNING id",
    [pipeline, streamType],
  );
  return { id: rows[0]!.id, from: undefined };
}

type GoneFold = readonly [role: number, key: string, rows: number, sum: string];

async function removeFolds(
  client: pg.Client,
  scopeId: number,
  streams: readonly string[],
): Promise<readonly GoneFold[]> {
  const { rows } = await client.query({
    text: `DELETE FROM banyan.parity_folds WHERE scope_id = $1 AND stream_id = ANY ($2::text[])
           RETURNING role, key_hash::text, rows, row_sum::text`,
    values: [scopeId, textArray(streams)],
    rowMode: "array",
  });
  return rows as unknown as GoneFold[];
}

async function copyFolds(client: pg.Client, scopeId: number, page: FoldSums): Promise<void> {
  const frames = copyFrames(page.streams.length, (out, i) => {
    const stream = page.streams[i]!;
    out.reserve(64 + fieldRoom(stream));
    out.int2(6);
    out.int4Field(scopeId);
    out.textField(stream);
    out.int2Field(page.roles[i]!);
    out.int8Field(page.keys[i]!);
    out.int4Field(page.counts[i]!);
    out.int8Field(page.sums[i]!);
  });
  await copyIn(
    client,
    "COPY banyan.parity_folds (scope_id, stream_id, role, key_hash, rows, row_sum) FROM STDIN (FORMAT binary)",
    frames,
  );
}

/** What is to be added to the sums by bucket. */
class BucketChanges {
  readonly #changes = new Map<
    number,
    { role: number; bucket: number; rows: number; sum: bigint }
  >();

  add({ roles, keys, counts, sums }: FoldSums): void {
    for (let i = 0; i < roles.length; i++) this.#change(roles[i]!, keys[i]!, counts[i]!, sums[i]!);
  }

  subtract(gone: readonly GoneFold[]): void {
    for (const [role, key, rows, sum] of gone) this.#change(role, BigInt(key), -rows, -BigInt(sum));
  }

  async write(client: pg.Client, scopeId: number): Promise<void> {
    const all = [...this.#changes.values()];
    this.#changes.clear();
    if (all.length === 0) return;
    await client.query(
      `INSERT INTO banyan.parity_sums AS s (scope_id, role, bucket, rows, row_sum)
       SELECT $1, c.* FROM unnest($2::smallint[], $3::int[], $4::bigint[], $5::numeric[]) AS c
       ON CONFLICT (scope_id, role, bucket) DO UPDATE
          SET rows = s.rows + excluded.rows, row_sum = s.row_sum + excluded.row_sum`,
      [
        scopeId,
        all.map(({ role }) => role),
        all.map(({ bucket }) => bucket),
        all.map(({ rows }) => rows),
        all.map(({ sum }) => String(sum)),
      ],
    );
  }

  #change(role: number, key: bigint, rows: number, sum: bigint): void {
    if (role < 0) return;
    const bucket = Number(key & BigInt(FOLD_BUCKETS_MAX - 1));
    const id = role * FOLD_BUCKETS_MAX + bucket;
    const change = this.#changes.get(id);
    if (change === undefined) this.#changes.set(id, { role, bucket, rows, sum });
    else {
      change.rows += rows;
      change.sum += sum;
    }
  }
}
