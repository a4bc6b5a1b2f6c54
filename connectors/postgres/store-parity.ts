import type pg from "pg";
import { disconnect } from "./session.ts";
import { countEvents, settleEvents } from "./store-counts.ts";
import { classifyStore } from "./store-errors.ts";
import { FEED_END } from "./store-events.ts";
import { ofStreamType } from "./store-fold.ts";
import { eventsFrom, findScope, openFoldSnapshot } from "./store-fold-snapshot.ts";
import { advanceFolds } from "./store-fold-writer.ts";
import { readChanges } from "./store-changes.ts";
import { readFindings, readReport, updateParity } from "./store-findings.ts";
import type { FeedCursor, FoldEvent } from "../../src/store/event-store.ts";
import {
  REVERSE_CONFLICTS_MAX,
  type ReverseConflict,
  type ReverseState,
} from "../../src/store/parity-store.ts";
import type {
  EventCounts,
  FoldScope,
  FoldSnapshot,
  FoldSums,
  KeptParity,
  ParityFinding,
  ParityStore,
  ParityUpdate,
  SavedReport,
  StreamChanges,
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
        `WITH counts AS (UPDATE banyan.parity_counts SET counted_to = '0', events = 0)
         UPDATE banyan.parity_scopes SET fingerprint = NULL, folded_to = '0' WHERE pipeline = $1`,
        [pipeline],
      ),
    );
  }

  async countEvents(): Promise<EventCounts> {
    return await this.#run("counting events", () => countEvents(this.#pool));
  }

  async settleEvents(): Promise<void> {
    await this.#run("settling the count of events", () => settleEvents(this.#pool));
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

  async changedSince(
    streamTypes: readonly string[],
    since: string | undefined,
    limit: number,
  ): Promise<StreamChanges> {
    return await this.#run("asking which streams changed", () =>
      readChanges(this.#pool, streamTypes, since, limit),
    );
  }

  async report(pipeline: string): Promise<SavedReport | undefined> {
    return await this.#run("reading the latest report", () => readReport(this.#pool, pipeline));
  }

  async findings(pipeline: string): Promise<readonly ParityFinding[]> {
    return await this.#run("reading findings", () => readFindings(this.#pool, pipeline));
  }

  async update(pipeline: string, change: (kept: KeptParity) => ParityUpdate): Promise<void> {
    await this.#run("keeping findings", async () => {
      const client = await this.#pool.connect();
      try {
        await updateParity(client, pipeline, change);
        client.release();
      } catch (error) {
        // A session in an unknown state is not used again.
        client.release(true);
        throw error;
      }
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

/** The reason of a signal that aborted, or timed out. */
function isAbort(error: unknown): boolean {
  return error instanceof Error && ["AbortError", "TimeoutError"].includes(error.name);
}
