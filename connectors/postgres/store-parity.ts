import type pg from "pg";
import { disconnect } from "./session.ts";
import { classifyStore } from "./store-errors.ts";
import { FEED_END } from "./store-events.ts";
import { ofStreamType } from "./store-fold.ts";
import { eventsFrom, findScope, openFoldSnapshot } from "./store-fold-snapshot.ts";
import { advanceFolds } from "./store-fold-writer.ts";
import type { FeedCursor, FoldEvent } from "../../src/store/event-store.ts";
import {
  REVERSE_CONFLICTS_MAX,
  type ReverseConflict,
  type ReverseState,
} from "../../src/store/parity-store.ts";
import type {
  FoldScope,
  FoldSnapshot,
  FoldSums,
  ParityFinding,
  ParityStore,
  SavedReport,
} from "../../src/store/parity-store.ts";

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
      await advanceFolds(this.#openSession, scope, fold, signal);
    });
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

  async reverse(pipeline: string): Promise<ReverseState> {
    return await this.#run("reading how far events are written back", async () => {
      // One statement, so that nothing moves from the one to the other in between.
      const { rows } = await this.#pool.query<{
        after: FeedCursor | null;
        conflicts: readonly ReverseConflict[];
      }>(
        `SELECT (SELECT cursor FROM banyan.reverse_progress WHERE pipeline = $1) AS after,
                coalesce((SELECT json_agg(json_build_object('stream', c.stream_id, 'version', c.version, 'table', c.table_name,
                                                            'key', c.row_key, 'columns', c.columns, 'reason', c.reason))
                            FROM (SELECT * FROM banyan.reverse_conflicts WHERE pipeline = $1
                                   ORDER BY stream_id LIMIT $2) c), '[]') AS conflicts`,
        [pipeline, REVERSE_CONFLICTS_MAX],
      );
      return { after: rows[0]!.after ?? undefined, conflicts: rows[0]!.conflicts };
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
