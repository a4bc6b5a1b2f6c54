import { setTimeout as sleep } from "node:timers/promises";
import type pg from "pg";
import { copyFrames } from "./copy-frames.ts";
import { disconnect } from "./session.ts";
import { textArray } from "./store-arrays.ts";
import { fieldRoom } from "./store-binary.ts";
import { copyIn } from "./store-copy.ts";
import { FEED_END } from "./store-events.ts";
import { copyFoldEvents, ofStreamType } from "./store-fold.ts";
import { eventsFrom, findScope } from "./store-fold-snapshot.ts";
import type { FoldEvent } from "../../src/store/event-store.ts";
import { FOLD_BUCKETS_MAX, type FoldScope, type FoldSums } from "../../src/store/parity-store.ts";

/** First key of the lock that a program holds while it brings folds up to date; the second is the scope. */
const LOCK_CLASS = 1_650_553_190;
const LOCK_LOOK_MS = 100;

type FoldStreams = (events: AsyncIterable<readonly FoldEvent[]>) => AsyncIterable<FoldSums>;

/**
 * Brings the kept folds of a stream type up to date, see `ParityStore.advance`.
 *
 * Each page is a transaction of its own, so that nothing is open for long. Whoever is killed in
 * between has left folds that are newer than said, and the streams of those are folded again.
 */
export async function advanceFolds(
  openSession: () => Promise<pg.Client>,
  scope: FoldScope,
  fold: FoldStreams,
  signal: AbortSignal,
): Promise<void> {
  const writer = await openSession();
  try {
    await takeLock(writer, scope, signal);
    const reader = await openSession();
    try {
      await replaceFolds(writer, reader, scope, fold, signal);
    } finally {
      await disconnect(reader);
    }
  } finally {
    // The lock ends with the session.
    await disconnect(writer);
  }
}

async function replaceFolds(
  writer: pg.Client,
  reader: pg.Client,
  scope: FoldScope,
  fold: FoldStreams,
  signal: AbortSignal,
): Promise<void> {
  const { id, from } = await takeScope(writer, scope);
  const { rows } = await reader.query<{ to: string }>(`SELECT ${FEED_END}::text AS to`);
  const { to } = rows[0]!;
  if (from === to) return;
  const isFirst = from === undefined;
  const type = ofStreamType(scope.streamType);
  const before = `transaction_id < '${to}'`;
  // Stream by stream: whoever plans it otherwise has guessed how many there are, and may look for each
  // event of the type through all that came since, or for each stream through all transactions.
  const events = isFirst
    ? copyFoldEvents(reader, `${type} AND ${before}`, signal)
    : copyFoldEvents(
        reader,
        "true",
        signal,
        `(SELECT DISTINCT stream_id FROM ${eventsFrom(`'${from}'`)} WHERE ${type}) AS late (stream),
         LATERAL (SELECT * FROM (SELECT * FROM banyan.events WHERE stream_id = late.stream OFFSET 0) AS own
                   WHERE ${before}) AS events`,
      );
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
    for await (const page of fold(events)) {
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
