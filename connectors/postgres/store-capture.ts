import type pg from "pg";
import { encodeEvents, EVENT_COPY_COLUMNS } from "./copy-encoder.ts";
import { disconnect } from "./session.ts";
import { textArray } from "./store-arrays.ts";
import { copyIn } from "./store-copy.ts";
import { settleRebaselines, refuseRebaselines, writeBaselines } from "./store-baselines.ts";
import { writeCapturedTables } from "./store-captured-tables.ts";
import { classifyStore, fenced } from "./store-errors.ts";
import {
  copyImages,
  forgetImages,
  keepMissingImages,
  readImages,
  writeImages,
  renameImages,
} from "./store-images.ts";
import { insertEvents } from "./store-insert.ts";
import { insertParked, settleParked } from "./store-quarantine.ts";
import type { TakenPipeline } from "./store-takeover.ts";
import { BanyanError, invariant } from "../../src/model/errors.ts";
import type { EventBatch } from "../../src/model/event.ts";
import type { MappingDefinition } from "../../src/model/mapping-definition.ts";
import type { Position } from "../../src/model/position.ts";
import { failpoint } from "../../src/runtime/failpoint.ts";
import type {
  CaptureWriter,
  CommitResult,
  Ledger,
  PipelineRecord,
  Progress,
  StagedBatch,
} from "../../src/store/event-store.ts";

/** Above this many events COPY is quicker than one INSERT of arrays; measured by bench/store-append.ts. */
const COPY_FROM_EVENTS = 500;
/** A statement takes its arrays whole, here and at the server, and at most a gigabyte; COPY is a stream. */
const INSERT_DATA_LENGTH_MAX = 4 * 1024 * 1024;

/**
 * The one writer of a pipeline, on a session of its own that pipelines: statements are sent without
 * waiting for the one before, so that a small batch costs a round trip to stage and one to commit.
 * Safe, because a statement behind a failed one is refused by the server until the rollback.
 */
export class PostgresCaptureWriter implements CaptureWriter {
  readonly record: PipelineRecord;
  readonly #client: pg.Client;
  readonly #reader: pg.Pool;
  readonly #pipelineId: number;
  readonly #sourceId: number;
  #checkpoint: Position | undefined;
  /** Id of the open transaction, as events tell it; undefined when none is open. */
  #transaction: Promise<string> | undefined;
  #dead: BanyanError | undefined;

  /**
   * @param client pipelining, and the writer's own from now on
   * @param reader sessions that see only what is committed
   */
  constructor(client: pg.Client, reader: pg.Pool, taken: TakenPipeline) {
    this.#client = client;
    this.#reader = reader;
    this.#pipelineId = taken.pipelineId;
    this.#sourceId = taken.sourceId;
    this.record = taken.record;
    this.#checkpoint = taken.record.checkpoint;
  }

  async mappingVersion(fingerprint: string, definition: MappingDefinition): Promise<number> {
    const known = "SELECT version FROM banyan.mappings WHERE fingerprint = $1";
    // Not one INSERT … ON CONFLICT, which would use up a number each time it is asked.
    const made = `INSERT INTO banyan.mappings (fingerprint, definition) VALUES ($1, $2)
                  ON CONFLICT (fingerprint) DO NOTHING RETURNING version`;
    return this.#run("recording the mapping", async () => {
      const find = async (sql: string, values: unknown[]): Promise<number | undefined> =>
        (await this.#client.query<{ version: number }>(sql, values)).rows[0]?.version;
      const version =
        (await find(known, [fingerprint])) ??
        (await find(made, [fingerprint, JSON.stringify(definition)])) ??
        (await find(known, [fingerprint]));
      invariant(version !== undefined, "a mapping that exists has a version");
      return version;
    });
  }

  /**
   * Refuses a stream that somebody else wrote to since our transaction began. Readers order by
   * transaction, so its next version, written by us, would be shown before the one that it follows.
   */
  async versions(streams: readonly string[]): Promise<readonly number[]> {
    if (this.#dead !== undefined) throw this.#dead;
    try {
      const transaction = await this.#transaction;
      const { rows } = await this.#reader.query<[number | null, boolean]>({
        name: "banyan-versions",
        text: `WITH newer AS MATERIALIZED (SELECT stream_id FROM banyan.events WHERE transaction_id > $2::text::xid8)
               SELECT (SELECT e.version FROM banyan.events e WHERE e.stream_id = s.id COLLATE "C"
                        ORDER BY e.version DESC LIMIT 1),
                      s.id COLLATE "C" IN (SELECT stream_id FROM newer)
                 FROM unnest($1::text[]) WITH ORDINALITY AS s(id, n) ORDER BY s.n`,
        values: [textArray(streams), transaction],
        rowMode: "array",
      });
      return rows.map(([version, overtaken], i) => {
        if (!overtaken) return version ?? 0;
        throw new BanyanError(
          "STREAM_VERSION_CONFLICT",
          `${streams[i]} was written to by another while this transaction was open`,
        );
      });
    } catch (error) {
      throw classifyStore(error, "reading stream versions");
    }
  }

  async storedVersions(streams: readonly string[]): Promise<readonly number[]> {
    if (this.#dead !== undefined) throw this.#dead;
    try {
      const { rows } = await this.#reader.query<[number | null]>({
        name: "banyan-stored-versions",
        text: `SELECT (SELECT e.version FROM banyan.events e WHERE e.stream_id = s.id COLLATE "C"
                        ORDER BY e.version DESC LIMIT 1)
                 FROM unnest($1::text[]) WITH ORDINALITY AS s(id, n) ORDER BY s.n`,
        values: [textArray(streams)],
        rowMode: "array",
      });
      return rows.map(([version]) => version ?? 0);
    } catch (error) {
      throw classifyStore(error, "reading stream versions");
    }
  }

  async images(table: string, keys: readonly string[]): Promise<readonly (string | undefined)[]> {
    return this.#run("reading row images", () =>
      readImages(this.#client, this.#pipelineId, table, keys),
    );
  }

  async forgetImages(
    table: string,
    after: string | undefined,
    imagesMax: number,
  ): Promise<string | undefined> {
    return this.#run("removing row images", async () => {
      const begun = this.#begin();
      const forgotten = forgetImages(this.#client, this.#pipelineId, table, after, imagesMax);
      const [, last] = await Promise.all([begun, forgotten]);
      return last;
    });
  }

  async stage(batch: StagedBatch): Promise<void> {
    await this.#run("appending events", async () => {
      const { events, images, newImages = [], missingImages = [] } = batch;
      const { parked, released, skipped, rebaselined, refused = [] } = batch;
      const client = this.#client;
      const copied = isCopied(events);
      const sent: Promise<unknown>[] = [this.#begin()];
      if (events.length > 0 && !copied) sent.push(insertEvents(client, events, this.#sourceId));
      if (images !== undefined && images.length > 0) {
        sent.push(writeImages(client, this.#pipelineId, images));
      }
      if (missingImages.length > 0) {
        sent.push(keepMissingImages(client, this.#pipelineId, missingImages));
      }
      if (parked !== undefined && parked.length > 0) {
        sent.push(insertParked(client, this.#pipelineId, parked));
      }
      if (released !== undefined && released.length > 0)
        sent.push(settleParked(client, released, "retried"));
      if (skipped !== undefined && skipped.length > 0)
        sent.push(settleParked(client, skipped, "skipped"));
      if (rebaselined !== undefined) sent.push(settleRebaselines(client, rebaselined));
      if (refused.length > 0) sent.push(refuseRebaselines(client, refused));
      await Promise.all(sent);
      if (copied) {
        await copyIn(
          client,
          `COPY banyan.events (${EVENT_COPY_COLUMNS}) FROM STDIN (FORMAT binary)`,
          encodeEvents(events, this.#sourceId),
        );
      }
      if (newImages.length > 0) await copyImages(client, this.#pipelineId, newImages);
    });
  }

  async commit(progress: Progress): Promise<CommitResult> {
    const { checkpoint, ledger } = progress;
    return this.#run("committing", async () => {
      invariant(
        checkpoint === undefined ||
          this.#checkpoint === undefined ||
          checkpoint >= this.#checkpoint,
        `the checkpoint would go back from ${this.#checkpoint} to ${checkpoint}`,
      );
      const sent = Promise.all([
        this.#begin(),
        progress.tables === undefined
          ? undefined
          : writeCapturedTables(this.#client, this.#pipelineId, progress.tables),
        progress.baselines === undefined
          ? undefined
          : writeBaselines(this.#client, this.#pipelineId, progress.baselines),
        progress.renamed === undefined
          ? undefined
          : renameImages(this.#client, this.#pipelineId, progress.renamed),
        this.#guardAuthority(progress.lowestBuckets),
        this.#client.query<{ generation: string }>({
          name: "banyan-advance",
          text: "SELECT banyan.advance_pipeline($1, $2, $3, $4, $5, $6, $7) AS generation",
          values: [
            this.#pipelineId,
            this.record.epoch,
            progress.phase,
            checkpoint,
            progress.baselinePosition,
            JSON.stringify(progress.status ?? {}),
            LEDGER_COLUMNS.map((column) => ledger[column] ?? 0),
          ],
        }),
        this.#client.query("COMMIT"),
      ]);
      failpoint("batch-commit-sent");
      const [, , , , , advanced] = await sent;
      this.#transaction = undefined;
      this.#checkpoint = checkpoint ?? this.#checkpoint;
      return { quarantineGeneration: Number(advanced.rows[0]!.generation) };
    });
  }

  /** Ahead of the COMMIT and in the same round trip: a move waits for that, or is known here. */
  #guardAuthority(lowestBuckets: Progress["lowestBuckets"]): Promise<unknown> | undefined {
    if (lowestBuckets === undefined || lowestBuckets.size === 0) return undefined;
    // The statements behind it fail as well, so its failure must be the first to be heard of.
    return this.#client.query({
      name: "banyan-guard",
      text: "SELECT banyan.guard_authority($1, $2, $3)",
      values: [this.record.name, [...lowestBuckets.keys()], [...lowestBuckets.values()]],
    });
  }

  async rollback(): Promise<void> {
    // A dead writer has rolled back already.
    if (this.#transaction === undefined || this.#dead !== undefined) return;
    this.#transaction = undefined;
    await this.#run("rolling back", () => this.#client.query("ROLLBACK"));
  }

  async close(): Promise<void> {
    this.#dead ??= new BanyanError("INVARIANT_BROKEN", "the writer is closed");
    await disconnect(this.#client);
  }

  /** Sends the BEGIN when no transaction is open. */
  #begin(): Promise<string> {
    if (this.#transaction !== undefined) return this.#transaction;
    const begun = this.#client.query("BEGIN");
    // Refused to a writer that was fenced, so that what it sends behind this holds up nobody.
    const identified = this.#client.query<{ id: string }>({
      name: "banyan-begin",
      text: "SELECT banyan.begin_capture($1, $2) AS id",
      values: [this.#pipelineId, this.record.epoch],
    });
    this.#transaction = Promise.all([begun, identified]).then(([, { rows }]) => rows[0]!.id);
    // Whoever staged or committed reports the failure.
    this.#transaction.catch(() => undefined);
    return this.#transaction;
  }

  async #run<T>(doing: string, call: () => Promise<T>): Promise<T> {
    if (this.#dead !== undefined) throw this.#dead;
    try {
      return await call();
    } catch (error) {
      this.#dead = await this.#diagnose(classifyStore(error, doing));
      // Frees what the transaction holds; there is nobody to wait for it.
      if (this.#transaction !== undefined) this.#client.query("ROLLBACK").catch(() => undefined);
      throw this.#dead;
    }
  }

  /**
   * A successor ends our session, or commits the same events before us. Either would be tried again
   * and take the pipeline back; so whatever went wrong, being fenced is the reason.
   */
  async #diagnose(error: BanyanError): Promise<BanyanError> {
    if (error.code === "PIPELINE_FENCED") return error;
    try {
      const { rows } = await this.#reader.query<{ epoch: string }>(
        "SELECT epoch FROM banyan.pipelines WHERE id = $1",
        [this.#pipelineId],
      );
      return Number(rows[0]?.epoch) > this.record.epoch ? fenced(error) : error;
    } catch {
      // Not to be found out now; the next attempt will.
      return error;
    }
  }
}

function isCopied({ length, data }: EventBatch): boolean {
  if (length > COPY_FROM_EVENTS) return true;
  let dataLength = 0;
  for (let i = 0; i < length; i++) dataLength += data[i]!.length;
  return dataLength > INSERT_DATA_LENGTH_MAX;
}

/** In the order of the parameter `ledger` of banyan.advance_pipeline. */
const LEDGER_COLUMNS: readonly (keyof Ledger)[] = [
  "changesIn",
  "changesClaimed",
  "changesFallback",
  "changesUnchanged",
  "changesParked",
  "events",
  "baselined",
  "baselineRows",
  "transactions",
  "changesEchoed",
];
