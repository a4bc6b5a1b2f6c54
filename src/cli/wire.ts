import type { LoadedConfig } from "../config/load-config.ts";
import { BanyanError, invariant } from "../model/errors.ts";
import type { LegacyIds } from "../reverse/legacy-ids.ts";
import type { LegacyWriter } from "../reverse/legacy-writer.ts";
import type { EventMarks } from "../rollout/event-marks.ts";
import type { GateFactsReader } from "../rollout/gate-facts.ts";
import type { RolloutState } from "../rollout/rollout-state.ts";
import type { RolloutStore } from "../rollout/rollout-store.ts";
import type { ShadowLog } from "../rollout/shadow-log.ts";
import type { TrafficLog } from "../rollout/traffic-log.ts";
import type { ChangeSource } from "../source/change-source.ts";
import type { DatabaseSurvey } from "../source/database-facts.ts";
import type { RowSampler } from "../source/row-sample.ts";
import type { StreamRef } from "../mapping/rules.ts";
import { aggregateStore, type AggregateStore } from "../service/aggregate-store.ts";
import type { EventStore } from "../store/event-store.ts";

/** The only file that knows which adapters there are. Drivers are loaded when they are asked for. */

export async function openSource(config: LoadedConfig): Promise<ChangeSource> {
  switch (config.source.kind) {
    case "postgres": {
      const { openPostgresSource } = await import("../../connectors/postgres/source.ts");
      const { url, slot, publication } = config.source;
      return openPostgresSource({ url, slot, publication, pipeline: config.name });
    }
  }
}

/** A few real rows of the source, to try a mapping on. */
export async function openRowSampler(config: LoadedConfig): Promise<RowSampler> {
  switch (config.source.kind) {
    case "postgres": {
      const { openPostgresRowSampler } = await import("../../connectors/postgres/row-sampler.ts");
      return openPostgresRowSampler({ url: config.source.url });
    }
  }
}

/** Looks at a database of which nothing is configured yet. Connects when first asked. */
export async function openSurvey(url: string): Promise<DatabaseSurvey> {
  const { openPostgresSurvey } = await import("../../connectors/postgres/survey.ts");
  return openPostgresSurvey({ url });
}

export interface OpenedStore {
  readonly store: EventStore;
  /** Says where the events are, without secrets. */
  readonly place: string;
  /** Closes the store, and stops its server if this process started it. */
  close(): Promise<void>;
}

/** Opens the store and brings its schema up to date. */
export async function openStore(config: LoadedConfig): Promise<OpenedStore> {
  const opened = await openConfiguredStore(config);
  try {
    await opened.store.migrate();
    return opened;
  } catch (error) {
    await opened.close();
    throw error;
  }
}

/** Opens the store as it is, to look at what has run; nothing is made in it. */
export async function openStoreAsIs(config: LoadedConfig): Promise<OpenedStore> {
  return await openConfiguredStore(config);
}

async function openConfiguredStore(config: LoadedConfig): Promise<OpenedStore> {
  const { openPostgresEventStore } = await import("../../connectors/postgres/event-store.ts");
  switch (config.store.kind) {
    case "postgres": {
      const store = await openPostgresEventStore({ url: config.store.url });
      const { host, pathname } = new URL(config.store.url);
      return { store, place: `postgres://${host}${pathname}`, close: () => store.close() };
    }
    case "embedded": {
      const { startEmbeddedPostgres } =
        await import("../../connectors/embedded/embedded-postgres.ts");
      const { directory } = config.store;
      const server = await startEmbeddedPostgres({ dir: directory });
      await server.createDatabase("banyan");
      const store = await openPostgresEventStore({ url: server.url("banyan") });
      const close = async (): Promise<void> => {
        await store.close();
        await server.stop("fast");
      };
      return { store, place: `embedded Postgres in ${directory}`, close };
    }
  }
}

export interface OpenedRollout {
  readonly state: RolloutState;
  readonly traffic: TrafficLog;
  readonly shadowLog: ShadowLog;
  /** Says where the rollout is kept, without secrets. */
  readonly place: string;
  close(): Promise<void>;
}

/** The rollout of this migration, in its store, which need not be there yet. */
export async function openRolloutState(config: LoadedConfig): Promise<OpenedRollout> {
  const { PostgresRolloutState } = await import("../../connectors/postgres/rollout-state.ts");
  const { PostgresTrafficLog } = await import("../../connectors/postgres/traffic-log.ts");
  const { PostgresShadowLog } = await import("../../connectors/postgres/shadow-log.ts");
  const open = (url: string): Omit<OpenedRollout, "place"> => {
    const state = new PostgresRolloutState(url, config.name);
    const traffic = new PostgresTrafficLog(url, config.name);
    const shadowLog = new PostgresShadowLog(url, config.name);
    const close = async (): Promise<void> => {
      await Promise.all([state.close(), traffic.close(), shadowLog.close()]);
    };
    return { state, traffic, shadowLog, close };
  };
  switch (config.store.kind) {
    case "postgres": {
      await openStore(config).then(
        (opened) => opened.close(),
        (error: unknown) => {
          // Requests that no route knows can pass meanwhile.
          if (!(error instanceof BanyanError) || error.recovery !== "retry") throw error;
        },
      );
      const { host, pathname } = new URL(config.store.url);
      return { ...open(config.store.url), place: `postgres://${host}${pathname}` };
    }
    case "embedded": {
      // Kept running for as long as the proxy reads from it.
      const opened = await openStore(config);
      const { startEmbeddedPostgres } =
        await import("../../connectors/embedded/embedded-postgres.ts");
      const server = await startEmbeddedPostgres({ dir: config.store.directory });
      const rollout = open(server.url("banyan"));
      const close = async (): Promise<void> => {
        await rollout.close();
        await opened.close();
        await server.stop("fast");
      };
      return { ...rollout, place: opened.place, close };
    }
  }
}

/** The one that writes native events back into the legacy rows. Connects when it is opened. */
export async function openLegacyWriter(config: LoadedConfig): Promise<() => LegacyWriter> {
  const { postgresLegacyWriter } = await import("../../connectors/postgres/legacy-writer.ts");
  const options = { url: reverseUrl(config), pipeline: config.name };
  return () => postgresLegacyWriter(options);
}

/** Takes ids from the legacy database. Connects when it is first asked. */
export async function openLegacyIds(config: LoadedConfig): Promise<() => LegacyIds> {
  const { postgresLegacyIds } = await import("../../connectors/postgres/legacy-ids.ts");
  const options = { url: reverseUrl(config) };
  return () => postgresLegacyIds(options);
}

function reverseUrl({ reverse }: LoadedConfig): string {
  invariant(reverse !== undefined, "the config was loaded without the way back");
  return reverse.url;
}

export interface OpenedMoves {
  readonly store: RolloutStore;
  readonly marks: EventMarks;
  readonly facts: GateFactsReader;
  close(): Promise<void>;
}

/** Moves of this migration, in its store, which must be there and migrated. */
export async function openMoves(config: LoadedConfig): Promise<OpenedMoves> {
  const [{ openRolloutPool, PostgresRolloutStore }, { PostgresEventMarks }, { PostgresGateFacts }] =
    await Promise.all([
      import("../../connectors/postgres/rollout-store.ts"),
      import("../../connectors/postgres/event-marks.ts"),
      import("../../connectors/postgres/gate-facts.ts"),
    ]);
  const over = async (url: string, stop: () => Promise<void>): Promise<OpenedMoves> => {
    const pool = await openRolloutPool(url);
    const store = new PostgresRolloutStore(pool, config.name);
    const marks = new PostgresEventMarks(pool, config.name);
    const facts = new PostgresGateFacts(pool, config.name);
    const close = async (): Promise<void> => {
      await store.close();
      await stop();
    };
    return { store, marks, facts, close };
  };
  switch (config.store.kind) {
    case "postgres":
      return await over(config.store.url, () => Promise.resolve());
    case "embedded": {
      const { startEmbeddedPostgres } =
        await import("../../connectors/embedded/embedded-postgres.ts");
      const server = await startEmbeddedPostgres({ dir: config.store.directory });
      return await over(server.url("banyan"), () => server.stop("fast"));
    }
  }
}

/** Ports of loopback on which nobody listens just now. */
export async function freePorts(count: number): Promise<readonly number[]> {
  const embedded = await import("../../connectors/embedded/free-ports.ts");
  return await embedded.freePorts(count);
}

export interface DemoServer {
  createDatabase(name: string): Promise<unknown>;
  url(database: string): string;
  stop(): Promise<void>;
}

/** A Postgres of the demo's own, whose log can be captured. @param dir an empty folder, the caller's to remove */
export async function startDemoServer(dir: string): Promise<DemoServer> {
  const { startEmbeddedPostgres } = await import("../../connectors/embedded/embedded-postgres.ts");
  const server = await startEmbeddedPostgres({ dir, flags: ["-c", "wal_level=logical"] });
  return {
    createDatabase: (name) => server.createDatabase(name),
    url: (database) => server.url(database),
    stop: () => server.stop("fast"),
  };
}

export interface AggregatesOptions<Streams extends Readonly<Record<string, StreamRef>>> {
  /** Of the event store: `postgres://user:password@host:port/database?sslmode=…` */
  readonly store: string;
  /** Name of the migration, in its config `name`. */
  readonly pipeline: string;
  /** Those of the config, which give events and rows their types. */
  readonly streams: Streams;
  /** Sessions with the store, 1 to 100. */
  readonly sessionsMax?: number;
}

const SERVICE_SESSIONS_MAX_DEFAULT = 10;

/**
 * Opens the event store for a service that decides over aggregates; see docs/8-services.md.
 *
 * @throws BanyanError `STORE_UNREACHABLE` · `STORE_REFUSED`
 */
export async function openAggregates<Streams extends Readonly<Record<string, StreamRef>>>({
  store: url,
  pipeline,
  streams,
  sessionsMax = SERVICE_SESSIONS_MAX_DEFAULT,
}: AggregatesOptions<Streams>): Promise<AggregateStore<Streams>> {
  const { openPostgresEventStore } = await import("../../connectors/postgres/event-store.ts");
  return aggregateStore(await openPostgresEventStore({ url, sessionsMax }), pipeline, streams);
}
