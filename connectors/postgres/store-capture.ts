import { once } from "node:events";
import pg from "pg";
import { from as copyFrom } from "pg-copy-streams";
import { encodeEvents, encodeImages, EVENT_COPY_COLUMNS } from "./copy-encoder.ts";
import { disconnect } from "./session.ts";
import { classify } from "./sqlstate.ts";
import { insertEvents } from "./store-insert.ts";
import { insertParked, settleParked } from "./store-quarantine.ts";
import { pipelineRecord, type PipelineRow } from "./store-rows.ts";
import { BanyanError, invariant } from "../../src/model/errors.ts";
import type { MappingDefinition } from "../../src/model/mapping-definition.ts";
import type { Position } from "../../src/model/position.ts";
import type {
  CaptureWriter,
  CommitResult,
  ImageChange,
  PipelineRecord,
  Progress,
  StagedBatch,
} from "../../src/store/event-store.ts";

/** Above this many rows COPY is quicker than one INSERT of arrays; measured. */
const COPY_FROM_ROWS = 200;

/** The one writer of a pipeline, on a session of its own. */
export class PostgresCaptureWriter implements CaptureWriter {
  readonly record: PipelineRecord;
  readonly #client: pg.Client;
  readonly #reader: pg.Pool;
  readonly #pipelineId: number;
  readonly #sourceId: number;
  readonly #epoch: number;
  #open = false;
  #checkpoint: Position | undefined;

  private constructor(client: pg.Client, reader: pg.Pool, row: PipelineRow, source: string) {
    this.#client = client;
    this.#reader = reader;
    this.#pipelineId = row.id;
    this.#sourceId = row.source_id;
    this.record = pipelineRecord(row, source);
    this.#epoch = this.record.epoch;
    this.#checkpoint = this.record.checkpoint;
  }

  /** Takes the pipeline over: raises its epoch, which ends the commits of whoever had it. */
  static async open(
    client: pg.Client,
    reader: pg.Pool,
    name: string,
    source: string,
  ): Promise<PostgresCaptureWriter> {
    try {
      await client.query("INSERT INTO banyan.sources (uri) VALUES ($1) ON CONFLICT DO NOTHING", [source]);
      const { rows } = await client.query<PipelineRow & { uri: string }>(
        `INSERT INTO banyan.pipelines AS p (name, source_id, epoch)
         SELECT $1, id, 1 FROM banyan.sources WHERE uri = $2
         ON CONFLICT (name) DO UPDATE SET epoch = p.epoch + 1, updated_at = now()
         RETURNING *, (SELECT uri FROM banyan.sources s WHERE s.id = p.source_id) AS uri`,
        [name, source],
      );
      const row = rows[0]!;
      if (row.uri !== source && row.checkpoint !== null) {
        throw new BanyanError(
          "SOURCE_CHANGED",
          `pipeline ${name} belongs to ${row.uri}, but the config names ${source}`,
          { hint: "Give this source a pipeline name of its own, or point the config at the old one" },
        );
      }
      return new PostgresCaptureWriter(client, reader, row, row.uri);
    } catch (error) {
      throw classify(error, "store", "taking over the pipeline");
    }
  }

  async mappingVersion(fingerprint: string, definition: MappingDefinition): Promise<number> {
    return this.#run("recording the mapping", async () => {
      const { rows } = await this.#client.query<{ version: number }>(
        `WITH made AS (
           INSERT INTO banyan.mappings (fingerprint, definition) SELECT $1, $2
            WHERE NOT EXISTS (SELECT FROM banyan.mappings WHERE fingerprint = $1)
           ON CONFLICT DO NOTHING RETURNING version)
         SELECT version FROM made UNION ALL SELECT version FROM banyan.mappings WHERE fingerprint = $1`,
        [fingerprint, JSON.stringify(definition)],
      );
      return rows[0]!.version;
    });
  }

  async versions(streams: readonly string[]): Promise<readonly number[]> {
    return this.#run("reading stream versions", async () => {
      const { rows } = await this.#reader.query<{ version: number }>({
        name: "banyan-versions",
        text: `SELECT coalesce((SELECT e.version FROM banyan.events e WHERE e.stream_id = s.id COLLATE "C"
                                 ORDER BY e.version DESC LIMIT 1), 0) AS version
                 FROM unnest($1::text[]) WITH ORDINALITY AS s(id, n) ORDER BY n`,
        values: [streams],
      });
      return rows.map((row) => row.version);
    });
  }

  async images(table: string, keys: readonly string[]): Promise<readonly (string | undefined)[]> {
    return this.#run("reading row images", async () => {
      const { rows } = await this.#client.query<{ image: string | null }>({
        name: "banyan-images",
        text: `SELECT i.image FROM unnest($3::text[]) WITH ORDINALITY AS k(key, n)
                 LEFT JOIN banyan.row_images i
                   ON i.pipeline_id = $1 AND i.table_name = $2 AND i.row_key = k.key COLLATE "C"
                ORDER BY n`,
        values: [this.#pipelineId, table, keys],
      });
      return rows.map((row) => row.image ?? undefined);
    });
  }

  async stage({ events, images, parked, released }: StagedBatch): Promise<void> {
    await this.#run("appending events", async () => {
      await this.#begin();
      if (events.length > COPY_FROM_ROWS) {
        await this.#copy(
          `COPY banyan.events (${EVENT_COPY_COLUMNS}) FROM STDIN (FORMAT binary)`,
          encodeEvents(events, this.#sourceId),
        );
      } else if (events.length > 0) await insertEvents(this.#client, events, this.#sourceId);
      if (images !== undefined && images.length > 0) await this.#keepImages(images);
      if (parked !== undefined && parked.length > 0) {
        await insertParked(this.#client, this.#pipelineId, parked);
      }
      if (released !== undefined && released.length > 0) await settleParked(this.#client, released);
    });
  }

  async commit(progress: Progress): Promise<CommitResult> {
    const { checkpoint, ledger } = progress;
    invariant(
      checkpoint === undefined || this.#checkpoint === undefined || checkpoint >= this.#checkpoint,
      `the checkpoint would go back from ${this.#checkpoint} to ${checkpoint}`,
    );
    return this.#run("committing", async () => {
      await this.#begin();
      const { rows } = await this.#client.query<{ generation: string }>({
        name: "banyan-commit",
        text: `UPDATE banyan.pipelines SET phase = $3, checkpoint = coalesce($4, checkpoint),
                 baseline_position = coalesce($5, baseline_position), status = $6, updated_at = now(),
                 changes_in = changes_in + $7, changes_claimed = changes_claimed + $8,
                 changes_fallback = changes_fallback + $9, changes_unchanged = changes_unchanged + $10,
                 changes_parked = changes_parked + $11, events = events + $12, baselined = baselined + $13,
                 baseline_rows = baseline_rows + $14, transactions = transactions + $15
               WHERE id = $1 AND epoch = $2 RETURNING quarantine_generation AS generation`,
        values: [
          this.#pipelineId, this.#epoch, progress.phase, checkpoint, progress.baselinePosition,
          JSON.stringify(progress.status ?? {}),
          ledger.changesIn ?? 0, ledger.changesClaimed ?? 0, ledger.changesFallback ?? 0,
          ledger.changesUnchanged ?? 0, ledger.changesParked ?? 0, ledger.events ?? 0,
          ledger.baselined ?? 0, ledger.baselineRows ?? 0, ledger.transactions ?? 0,
        ],
      });
      if (rows.length === 0) {
        await this.rollback();
        throw new BanyanError(
          "PIPELINE_FENCED",
          `another process has taken over pipeline ${this.record.name}; nothing more is written here`,
          { hint: "Only one banyan run per pipeline; see banyan status" },
        );
      }
      await this.#client.query("COMMIT");
      this.#open = false;
      this.#checkpoint = checkpoint ?? this.#checkpoint;
      return { quarantineGeneration: Number(rows[0]!.generation) };
    });
  }

  async rollback(): Promise<void> {
    if (!this.#open) return;
    this.#open = false;
    await this.#run("rolling back", () => this.#client.query("ROLLBACK"));
  }

  async close(): Promise<void> {
    await disconnect(this.#client);
  }

  async #begin(): Promise<void> {
    if (this.#open) return;
    await this.#client.query("BEGIN");
    this.#open = true;
  }

  async #copy(sql: string, chunks: readonly Buffer[]): Promise<void> {
    const stream = this.#client.query(copyFrom(sql));
    const ended = new Promise<void>((resolve, reject) => {
      stream.once("finish", resolve);
      stream.once("error", reject);
    });
    // The rejection is awaited below; a failure while waiting for drain must not be unhandled before.
    ended.catch(() => undefined);
    for (const chunk of chunks) {
      if (!stream.write(chunk)) await Promise.race([once(stream, "drain"), ended]);
    }
    stream.end();
    await ended;
  }

  /** The last entry of a key wins; a first image is inserted, a later one replaces it. */
  async #keepImages(images: readonly ImageChange[]): Promise<void> {
    const last = new Map<string, ImageChange>();
    for (const image of images) last.set(`${image.table}\0${image.key}`, image);
    const kept = [...last.values()].filter(
      (image): image is ImageChange & { readonly image: string } => image.image !== undefined,
    );
    const gone = [...last.values()].filter((image) => image.image === undefined);
    if (gone.length > 0) {
      await this.#client.query({
        name: "banyan-images-gone",
        text: `DELETE FROM banyan.row_images i USING unnest($2::text[], $3::text[]) AS g(table_name, row_key)
                WHERE i.pipeline_id = $1 AND i.table_name = g.table_name COLLATE "C" AND i.row_key = g.row_key COLLATE "C"`,
        values: [this.#pipelineId, gone.map((image) => image.table), gone.map((image) => image.key)],
      });
    }
    if (kept.length > COPY_FROM_ROWS) return this.#copyImages(kept);
    if (kept.length === 0) return;
    await this.#client.query({
      name: "banyan-images-kept",
      text: `INSERT INTO banyan.row_images (pipeline_id, table_name, row_key, image)
             SELECT $1, k.* FROM unnest($2::text[], $3::text[], $4::text[]) AS k(table_name, row_key, image)
             ON CONFLICT (pipeline_id, table_name, row_key) DO UPDATE SET image = excluded.image`,
      values: [
        this.#pipelineId,
        kept.map((image) => image.table),
        kept.map((image) => image.key),
        kept.map((image) => image.image),
      ],
    });
  }

  async #copyImages(kept: readonly (ImageChange & { readonly image: string })[]): Promise<void> {
    await this.#client.query(
      "CREATE TEMPORARY TABLE IF NOT EXISTS banyan_images_staged (table_name text, row_key text, image text) ON COMMIT DELETE ROWS",
    );
    await this.#copy("COPY pg_temp.banyan_images_staged FROM STDIN (FORMAT binary)", encodeImages(kept));
    await this.#client.query(
      `INSERT INTO banyan.row_images (pipeline_id, table_name, row_key, image)
       SELECT ${this.#pipelineId}, table_name, row_key, image FROM pg_temp.banyan_images_staged
       ON CONFLICT (pipeline_id, table_name, row_key) DO UPDATE SET image = excluded.image`,
    );
    await this.#client.query("TRUNCATE pg_temp.banyan_images_staged");
  }

  async #run<T>(doing: string, call: () => Promise<T>): Promise<T> {
    try {
      return await call();
    } catch (error) {
      throw classifyStore(error, doing);
    }
  }
}

/** A taken (stream, version) is a conflict to be tried again on fresh knowledge; all else as ever. */
export function classifyStore(error: unknown, doing: string): BanyanError {
  const { code, constraint } = error as { code?: string; constraint?: string };
  if (code === "23505" && constraint === "events_stream_id_version_key") {
    return new BanyanError("STREAM_VERSION_CONFLICT", "a stream has moved on since it was read", {
      cause: error,
    });
  }
  return classify(error, "store", doing);
}
