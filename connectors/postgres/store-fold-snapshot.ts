import type pg from "pg";
import { disconnect } from "./session.ts";
import { textArray } from "./store-arrays.ts";
import { cursorParts } from "./store-events.ts";
import { copyFoldEvents, ofStreamType } from "./store-fold.ts";
import { wrapSum } from "./row-sums.ts";
import { classifyStore } from "./store-errors.ts";
import { BanyanError } from "../../src/model/errors.ts";
import type { SomeBuckets } from "../../src/model/buckets.ts";
import { emptySums } from "../../src/source/row-hash.ts";
import type { FeedCursor, FoldEvent } from "../../src/store/event-store.ts";
import type {
  FlawedStream,
  FoldBucketSums,
  FoldScope,
  FoldSnapshot,
  FoldSums,
} from "../../src/store/parity-store.ts";

export interface KnownScope {
  readonly id: number;
  /** Transactions below are in the folds. */
  readonly foldedTo: string;
}

/** The folds of this very fingerprint, when they are complete. */
export async function findScope(
  client: Pick<pg.Pool, "query">,
  { pipeline, streamType, fingerprint }: FoldScope,
): Promise<KnownScope | undefined> {
  const { rows } = await client.query<{ id: number; folded_to: string }>(
    `SELECT id, folded_to::text FROM banyan.parity_scopes
      WHERE pipeline = $1 AND stream_type = $2 AND fingerprint = $3`,
    [pipeline, streamType, fingerprint],
  );
  return rows[0] && { id: rows[0].id, foldedTo: rows[0].folded_to };
}

/** Opens a snapshot of the store on a session, which is closed with it. */
export async function openFoldSnapshot(client: pg.Client, scope: FoldScope): Promise<FoldSnapshot> {
  // The indexes serve all that is asked, also where the planner has no statistics yet.
  await client.query("SET enable_seqscan = off; BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY");
  const known = await findScope(client, scope);
  if (known === undefined) {
    throw new BanyanError(
      "STORE_REFUSED",
      `the folds of ${scope.streamType} are being made anew by another program`,
      {
        hint: "Run the command again when the other verification has ended.",
        detail: { foldsGone: true },
      },
    );
  }
  return new PostgresFoldSnapshot(client, scope, known);
}

/**
 * Events of a transaction and all after it, to be asked further. Found by the transaction whatever else
 * is asked: a planner without statistics would rather read all streams of a type.
 */
export function eventsFrom(transaction: string): string {
  return `(SELECT stream_id FROM banyan.events WHERE transaction_id >= ${transaction} OFFSET 0) AS late`;
}

const STREAMS_PER_COPY = 1_000;

type SumRow = readonly [bucket: number, rows: string, sum: string];
type FoldRow = readonly [stream: string, role: number, key: string, rows: number, sum: string];

class PostgresFoldSnapshot implements FoldSnapshot {
  readonly #client: pg.Client;
  readonly #scope: FoldScope;
  readonly #known: KnownScope;

  constructor(client: pg.Client, scope: FoldScope, known: KnownScope) {
    this.#client = client;
    this.#scope = scope;
    this.#known = known;
  }

  async sums(role: number, buckets: number, within?: SomeBuckets): Promise<FoldBucketSums> {
    const sums = emptySums(buckets);
    const rows =
      within === undefined
        ? await this.#query<SumRow>(
            `SELECT bucket & $3::int, sum(rows)::text, sum(row_sum)::text
               FROM banyan.parity_sums WHERE scope_id = $1 AND role = $2 GROUP BY 1`,
            [this.#known.id, role, buckets - 1],
          )
        : await this.#query<SumRow>(
            `SELECT (key_hash & $3::bigint)::int, sum(rows)::text, sum(row_sum)::text
               FROM banyan.parity_folds
              WHERE scope_id = $1 AND role = $2 AND (key_hash & $4::bigint)::int IN (SELECT unnest($5::int[])) GROUP BY 1`,
            [this.#known.id, role, buckets - 1, within.buckets - 1, [...within.wanted]],
          );
    for (const [bucket, count, sum] of rows) {
      sums.counts[bucket] = Number(count);
      sums.sums[bucket] = wrapSum(sum);
    }
    return sums;
  }

  async foldsOf(streams: readonly string[]): Promise<FoldSums> {
    return this.#folds("stream_id = ANY ($2::text[])", [textArray(streams)]);
  }

  /** Reads all folds of the type, which no index divides by bucket: filling one would cost each fold more. */
  async foldsIn(buckets: number, wanted: readonly number[], role: number): Promise<FoldSums> {
    return this.#folds("role = $2 AND (key_hash & $3::bigint)::int IN (SELECT unnest($4::int[]))", [
      role,
      buckets - 1,
      [...wanted],
    ]);
  }

  async decided(after: FeedCursor | undefined, limit: number): Promise<readonly string[]> {
    const rows =
      after === undefined
        ? await this.#query<readonly [string]>(
            "SELECT stream_id FROM banyan.parity_folds WHERE scope_id = $1 AND role = -1 LIMIT $2",
            [this.#known.id, limit],
          )
        : await this.#query<readonly [string]>(
            // Found by the place, as in eventsFrom: a captured event costs a look, and no more.
            `SELECT DISTINCT stream_id
               FROM (SELECT stream_id, origin FROM banyan.events
                      WHERE (transaction_id, position) > ($1::text::xid8, $2::bigint) OFFSET 0) AS late
              WHERE origin IN ('native', 'import') AND ${ofStreamType(this.#scope.streamType)} LIMIT $3`,
            [...cursorParts(after), limit],
          );
    return rows.map(([stream]) => stream);
  }

  async flawed(limit: number): Promise<readonly FlawedStream[]> {
    const rows = await this.#query<readonly [string, boolean]>(
      `SELECT f.stream_id, EXISTS (SELECT FROM banyan.quarantine q JOIN banyan.pipelines p ON p.id = q.pipeline_id
                                    WHERE p.name = $2 AND q.stream_id = f.stream_id AND q.state = 'skipped')
         FROM banyan.parity_folds f WHERE f.scope_id = $1 AND f.role = -2 ORDER BY f.stream_id LIMIT $3`,
      [this.#known.id, this.#scope.pipeline, limit],
    );
    return rows.map(([stream, hasSkipped]) => ({ stream, hasSkipped }));
  }

  async *touched(signal: AbortSignal): AsyncGenerator<readonly FoldEvent[], void, void> {
    const rows = await this.#query<readonly [string]>(
      `SELECT DISTINCT stream_id FROM ${eventsFrom("$1::text::xid8")} WHERE ${ofStreamType(this.#scope.streamType)}`,
      [this.#known.foldedTo],
    );
    const streams = rows.map(([stream]) => stream);
    for (let at = 0; at < streams.length; at += STREAMS_PER_COPY)
      yield* this.events(streams.slice(at, at + STREAMS_PER_COPY), signal);
  }

  async *events(
    streams: readonly string[],
    signal: AbortSignal,
  ): AsyncGenerator<readonly FoldEvent[], void, void> {
    const list = streams.map((stream) => this.#client.escapeLiteral(stream)).join(", ");
    try {
      yield* copyFoldEvents(this.#client, `stream_id IN (${list})`, signal);
    } catch (error) {
      throw signal.aborted ? signal.reason : classifyStore(error, "reading events to compare");
    }
  }

  async close(): Promise<void> {
    await disconnect(this.#client);
  }

  async #folds(condition: string, parameters: readonly unknown[]): Promise<FoldSums> {
    const rows = await this.#query<FoldRow>(
      `SELECT stream_id, role, key_hash::text, rows, row_sum::text
         FROM banyan.parity_folds WHERE scope_id = $1 AND ${condition}`,
      [this.#known.id, ...parameters],
    );
    return {
      folded: [],
      streams: rows.map(([stream]) => stream),
      roles: rows.map(([, role]) => role),
      keys: rows.map(([, , key]) => BigInt(key)),
      counts: rows.map(([, , , count]) => count),
      sums: rows.map(([, , , , sum]) => BigInt(sum)),
    };
  }

  async #query<Row extends readonly unknown[]>(
    text: string,
    values: readonly unknown[],
  ): Promise<readonly Row[]> {
    try {
      const { rows } = await this.#client.query({ text, values: [...values], rowMode: "array" });
      return rows as unknown as Row[];
    } catch (error) {
      throw classifyStore(error, "reading folds");
    }
  }
}
