import { randomUUID } from "node:crypto";
import { DDL, FILL, STREAMS } from "./verify-bench.ts";
import { startPipeline, TEST_LIMITS, type LivePipeline } from "./live-pipeline.ts";
import { PostgresRolloutState } from "../../connectors/postgres/rollout-state.ts";
import { bucketOf } from "../../src/rollout/bucket.ts";
import { MovedStreams } from "../../src/rollout/moved-streams.ts";
import type { Stage } from "../../src/rollout/stage.ts";
import type { PipelineOptions } from "../../src/pipeline/pipeline.ts";
import { rebaselinePipeline, type RebaselineResult } from "../../src/pipeline/rebaseline.ts";
import type { TailLimits } from "../../src/pipeline/tail.ts";
import type { EventStore } from "../../src/store/event-store.ts";
import type { ParityReport } from "../../src/verify/parity-report.ts";
import { verifyParity, type VerifyOptions } from "../../src/verify/verify-parity.ts";
import { openTestStore } from "../connectors/postgres/event-store-fixture.ts";
import { sourceDatabase, type SourceDatabase } from "../connectors/postgres/source-support.ts";

const SALT = "moved";
const PIPELINE = "bank";
const ATTEMPTS_MAX = 5;
const APPLIED = `
  CREATE SCHEMA banyan_reverse;
  CREATE TABLE banyan_reverse.applied (pipeline text, stream_id text, version int, PRIMARY KEY (pipeline, stream_id))`;

export type Identity = "full" | "default";

/** A bank some of whose accounts have moved, with a service and a reverse sync that a test plays. */
export interface MovedBank extends AsyncDisposable {
  readonly db: SourceDatabase;
  readonly store: EventStore;
  readonly pipeline: LivePipeline;
  /** Reads all aggregates anew after the place in the log was lost, while the pipeline rests. */
  rebaseline(): Promise<RebaselineResult>;
  query(sql: string, params?: unknown[]): Promise<{ readonly rows: readonly unknown[] }>;
  /** Changes where the type stands; waits for nothing. @param share buckets below it have moved */
  move(stage: Stage, share?: number): Promise<void>;
  /** What the service decides: appends one event. @returns its version */
  decide(stream: string, type: string, data: object): Promise<number>;
  /** What the reverse sync does: the echo, these statements and the note, in one transaction. */
  writeBack(stream: string, version: number, sql: string): Promise<void>;
  /**
   * Waits until all that is committed now is in the store. As `banyan run` does: an attempt that met a
   * change of authority is followed by another. @returns how many it took
   */
  settle(): Promise<number>;
  /** Stops the pipeline if it still runs, and starts another. */
  restart(): Promise<void>;
  verify(options?: Partial<VerifyOptions>): Promise<ParityReport>;
  /** `<origin> <type>` of each event. */
  events(stream: string): Promise<string[]>;
  /** `<stream> <operation> <code>` of each change in quarantine. */
  parked(): Promise<string[]>;
  ledger(): Promise<Record<string, number>>;
}

export async function movedBank(
  identity: Identity,
  {
    limits,
    fill = FILL,
    ...more
  }: Partial<PipelineOptions> & { readonly fill?: string; readonly limits?: TailLimits } = {},
): Promise<MovedBank> {
  const ddl = identity === "full" ? DDL : DDL.replaceAll(/ALTER TABLE[^;]*(;|$)/g, "");
  const db = await sourceDatabase("moved", [ddl, fill, APPLIED].join(";"), "account, entry");
  const opened = await openTestStore("moved_store");
  const { store, database } = opened;
  const state = new PostgresRolloutState(database.url, PIPELINE);
  const openSource = (): ReturnType<SourceDatabase["open"]> => db.open({ pipeline: PIPELINE });
  const start = (): Promise<LivePipeline> =>
    startPipeline({
      name: PIPELINE,
      openSource,
      store,
      streams: STREAMS,
      ...(limits === undefined ? {} : { limits }),
      more: { authority: new MovedStreams(state), ...more },
    });
  let pipeline = await start();
  await pipeline.reach();
  const restart = async (): Promise<void> => {
    await pipeline[Symbol.asyncDispose]();
    pipeline = await start();
  };
  return {
    db,
    store,
    get pipeline() {
      return pipeline;
    },
    query: (sql, params) => database.query(sql, params),
    async move(stage, share = 0) {
      await database.query(`
        BEGIN;
        SELECT banyan.lock_authority('${PIPELINE}', 'account');
        INSERT INTO banyan.rollouts (pipeline, stream_type, stage, share, salt)
          VALUES ('${PIPELINE}', 'account', '${stage}', ${share}, '${SALT}')
          ON CONFLICT (pipeline, stream_type) DO UPDATE
             SET stage = excluded.stage, share = excluded.share, epoch = rollouts.epoch + 1;
        COMMIT`);
    },
    async decide(stream, type, data) {
      const { rows } = await database.query(
        `INSERT INTO banyan.events (event_id, time, version, mapping_version, origin, stream_id, type, actor, data)
         SELECT $1, now(), 1 + coalesce((SELECT max(version) FROM banyan.events WHERE stream_id = $2), 0),
                (SELECT max(version) FROM banyan.mappings), 'native', $2, $3, 'Ada', $4 RETURNING version`,
        [randomUUID(), stream, type, JSON.stringify(data)],
      );
      return (rows[0] as { version: number }).version;
    },
    async writeBack(stream, version, sql) {
      const said = JSON.stringify({ pipeline: PIPELINE, stream, version }).replaceAll("'", "''");
      await db.query(`
        BEGIN;
        SELECT pg_logical_emit_message(true, 'banyan.echo', '${said}');
        ${sql};
        INSERT INTO banyan_reverse.applied VALUES ('${PIPELINE}', '${stream}', ${version})
          ON CONFLICT (pipeline, stream_id) DO UPDATE SET version = excluded.version;
        COMMIT`);
    },
    async settle() {
      for (let attempts = 1; ; attempts++) {
        try {
          await pipeline.reach();
          return attempts;
        } catch (error) {
          const { code } = error as { readonly code?: string };
          const isKnown = code === "STREAM_VERSION_CONFLICT" || code === "AUTHORITY_CHANGED";
          if (!isKnown || attempts === ATTEMPTS_MAX) throw error;
          await restart();
        }
      }
    },
    restart,
    async rebaseline() {
      await pipeline[Symbol.asyncDispose]();
      await db.query(`SELECT pg_drop_replication_slot('${db.slot}')`);
      const source = openSource();
      const authority = new MovedStreams(state);
      const common = { name: PIPELINE, source, store, streams: STREAMS, authority };
      const more = { limits: TEST_LIMITS, spillDirectory: "unused" };
      const isWanted = (): Promise<boolean> => Promise.resolve(true);
      const signal = AbortSignal.timeout(60_000);
      const done = await rebaselinePipeline({ ...common, ...more }, isWanted, signal);
      pipeline = await start();
      return done!;
    },
    async verify(options = {}) {
      const source = openSource();
      const common = { pipeline: PIPELINE, source, store, streams: STREAMS };
      const limit = { waitMsMax: 90_000, samplesMax: 10, showValues: true };
      const signal = AbortSignal.timeout(100_000);
      return await verifyParity({ ...common, ...limit, ...options }, signal);
    },
    async events(stream) {
      const told: string[] = [];
      for await (const { origin, type } of store.readStream(stream)) told.push(`${origin} ${type}`);
      return told;
    },
    async parked() {
      const records = await store.quarantine.list({ pipeline: PIPELINE });
      return records.map((p) => `${p.stream} ${p.operation} ${p.code}`);
    },
    async ledger() {
      return { ...(await store.pipeline(PIPELINE))!.ledger } as Record<string, number>;
    },
    async [Symbol.asyncDispose]() {
      await pipeline[Symbol.asyncDispose]();
      await state.close();
      await opened[Symbol.asyncDispose]();
      await db[Symbol.asyncDispose]();
    },
  };
}

/** Whether an account has moved when buckets below the share have. */
export function hasMoved(id: string, share: number): boolean {
  return bucketOf(id, SALT) < share;
}

/** Every change is accounted for. */
export function balanceOf(ledger: Record<string, number>): number {
  const { changesIn, changesClaimed, changesFallback, changesUnchanged, changesParked } = ledger;
  const told = changesClaimed! + changesFallback! + changesUnchanged!;
  return changesIn! - told - changesParked! - ledger["changesEchoed"]!;
}
