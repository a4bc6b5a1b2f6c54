import { setTimeout as sleep } from "node:timers/promises";
import { BanyanError } from "../../src/model/errors.ts";
import type { TransactionPart } from "../../src/model/change.ts";
import { isBefore, type Position } from "../../src/model/position.ts";
import { parseQualifiedName, qualifiedName, type SourceTable } from "../../src/model/table.ts";
import type {
  BaselinePlan,
  BaselineSnapshot,
  CapturePlan,
  ChangeSource,
  ChunkReader,
  ChunkSurvey,
  Finding,
  KeyedTable,
  LogLeft,
  ParitySnapshot,
  PlannedTable,
  SourceHead,
  SourceIdentity,
  SourceLoad,
} from "../../src/source/change-source.ts";
import { openAddition, requireWholeStream } from "./addition.ts";
import { openBaseline } from "./baseline.ts";
import { readCatalogue, readTables, requireAll, type Ask } from "./catalogue.ts";
import { checkSource } from "./check.ts";
import { requirePublished } from "./check-publication.ts";
import { PostgresChunkReader } from "./chunks.ts";
import { surveyChunks } from "./chunk-survey.ts";
import { ControlSession } from "./control-session.ts";
import { FENCE_PREFIX } from "./intent.ts";
import { averageLogRate, logLeft, LogRate } from "./log-left.ts";
import { checkpointAt, formatLsn, lsnDigits, lsnOf, parseLsn, type Lsn } from "./lsn.ts";
import { newBaselineHint } from "./new-baseline.ts";
import { openParity, visibility } from "./parity.ts";
import { watchPublication } from "./publication-watch.ts";
import { RelationCache } from "./relations.ts";
import { ReplicationConnection } from "./replication-connection.ts";
import { identityUri, readServerFacts, type ServerFacts } from "./server-facts.ts";
import { connect } from "./session.ts";
import { readLoad } from "./source-load.ts";
import { explainLoss, readSlot, requireReadable } from "./slot.ts";
import { unlessAborted } from "./unless-aborted.ts";
import { XidEpoch } from "./xid.ts";

export interface PostgresSourceOptions {
  /** `postgres://user:password@host:port/database`; TLS by `sslmode`, `sslrootcert` … as in libpq. */
  readonly url: string;
  readonly slot: string;
  readonly publication: string;
  /** Name of the migration: whose native events come back as echoes, see intent.ts. None when absent. */
  readonly pipeline?: string;
  /** Tables with a key of their own naming, as the config has them; the others need not be listed. */
  readonly plan?: CapturePlan;
  readonly applicationName?: string;
  /** Decoded and not yet taken, as an estimate of memory; 16 MiB. */
  readonly bufferBytesMax?: number;
  /** A larger transaction is delivered in parts of about this size; 4 MiB. */
  readonly partBytesMax?: number;
  /** How long the creation of the slot waits for open transactions; 60 s. */
  readonly slotWaitMsMax?: number;
  /** A read of a table that has said nothing for so long is asked after; 30 s. */
  readonly silenceMs?: number;
  /** How often the publication is looked at while the log is read; 5 s. */
  readonly publicationCheckMs?: number;
}

const BUFFER_BYTES_MAX = 4 * 1024 * 1024;
const PART_BYTES_MAX = 4 * 1024 * 1024;
const SLOT_WAIT_MS_MAX = 60_000;
const PUBLICATION_CHECK_MS = 5_000;
const SILENCE_MS = 30_000;
/** For so long a source that is closed waits for a stream that is just beginning. */
const STARTING_MS_MAX = 3_000;

/**
 * A Postgres database (13 or later) as a source: its log through a logical replication slot with the
 * `pgoutput` plugin, its rows through COPY under exported snapshots. Connects when first asked.
 */
export function openPostgresSource(options: PostgresSourceOptions): ChangeSource {
  return new PostgresSource(options);
}

class PostgresSource implements ChangeSource {
  readonly #options: Required<Omit<PostgresSourceOptions, "plan" | "pipeline">> &
    Pick<PostgresSourceOptions, "pipeline">;
  readonly #control: ControlSession;
  readonly #ask: Ask;
  readonly #keys = new Map<string, readonly string[]>();
  /** Names of the tables asked for so far: the publication must have them when the log is read. */
  readonly #planned = new Set<string>();
  /** The tables that these names meant when the log was begun to be read. */
  readonly #oids = new Map<string, number>();
  /** Kept across connections, so that an unchanged table stays the same object. */
  readonly #relations = new RelationCache(this.#planned);
  readonly #logRate = new LogRate();
  readonly #closing = new AbortController();
  readonly #open = new Set<{ close(): Promise<void> }>();
  #identity: string | undefined;
  #stream: ReplicationConnection | undefined;
  /** The last stream that was asked for; undefined in the end when it did not begin. */
  #starting: Promise<ReplicationConnection | undefined> | undefined;
  #acknowledged: Position | undefined;

  constructor({ plan, ...options }: PostgresSourceOptions) {
    this.#options = {
      applicationName: "banyan",
      bufferBytesMax: BUFFER_BYTES_MAX,
      partBytesMax: PART_BYTES_MAX,
      slotWaitMsMax: SLOT_WAIT_MS_MAX,
      publicationCheckMs: PUBLICATION_CHECK_MS,
      silenceMs: SILENCE_MS,
      ...options,
    };
    this.#control = new ControlSession(options.url, this.#options.applicationName, () =>
      this.#letGo(),
    );
    this.#ask = (doing, sql, params) => this.#control.query(doing, sql, params);
    if (plan !== undefined) this.#learn(plan);
  }

  async identify(): Promise<SourceIdentity> {
    const facts = await this.#facts();
    return { uri: identityUri(facts), server: `PostgreSQL ${facts.versionText}` };
  }

  async discover(tables: readonly PlannedTable[]): Promise<readonly SourceTable[]> {
    this.#learnKeys(tables);
    const names = tables.map(({ name }) => name);
    const entries = await readTables(this.#ask, names, this.#options.publication, this.#keys);
    requireAll(names, entries);
    // Not before: a table that is only asked after, and is gone, is none that the log must have.
    this.#learn({ tables });
    return entries.map(({ table }) => table);
  }

  async check(plan: CapturePlan): Promise<readonly Finding[]> {
    this.#learn(plan);
    return await checkSource({ ...this.#options, keys: this.#keys }, plan, this.#ask);
  }

  async openBaseline(plan: BaselinePlan, signal: AbortSignal): Promise<BaselineSnapshot> {
    this.#learn(plan);
    const facts = await this.#facts();
    const options = { ...this.#options, keys: this.#keys };
    const either = AbortSignal.any([signal, this.#closing.signal]);
    return this.#track(await openBaseline(options, plan, this.#ask, facts, either));
  }

  async *stream(
    from: Position,
    signal: AbortSignal,
  ): AsyncGenerator<readonly TransactionPart[], void, void> {
    if (this.#stream !== undefined) {
      throw new BanyanError("SLOT_IN_USE", "this source is being streamed already", {
        detail: { slot: this.#options.slot },
      });
    }
    const either = AbortSignal.any([signal, this.#closing.signal]);
    if (either.aborted) return;
    const starting = this.#startStream(lsnOf(from)).catch(async (error: unknown) => {
      throw await this.#explained(error, lsnOf(from));
    });
    this.#starting = starting.then(
      (started) => started,
      () => undefined,
    );
    const connection = await unlessAborted(starting, either, (late) => late.close());
    if (connection === undefined) return;
    this.#stream = connection;
    const unwatch = watchPublication(
      () => this.#requirePublished(),
      (error) => connection.fail(error),
      this.#options.publicationCheckMs,
    );
    try {
      for (;;) {
        const group = await connection.next(either);
        if (group === undefined) return;
        yield group;
      }
    } catch (error) {
      throw await this.#explained(error, lsnOf(from));
    } finally {
      unwatch();
      // Known until it has let go of the slot: whoever closes the source waits for that.
      await connection.close();
      this.#stream = undefined;
    }
  }

  idlePosition(): Position | undefined {
    const idle = this.#stream?.idlePosition();
    if (idle === undefined) return undefined;
    return this.#acknowledged === undefined || isBefore(this.#acknowledged, idle)
      ? idle
      : undefined;
  }

  acknowledge(position: Position): void {
    if (this.#acknowledged !== undefined && !isBefore(this.#acknowledged, position)) return;
    this.#acknowledged = position;
    this.#stream?.acknowledge(lsnOf(position));
  }

  /**
   * The mark is a transactional message, so that its commit is flushed at once and comes through the
   * stream. The position is that of the message itself: what committed before lies before it, and the
   * stream passes it with the mark's own commit, on a database that is idle otherwise too. Before version
   * 14 the log tells of no message: there the commit is one without changes, as any other.
   */
  async fence(): Promise<Position> {
    const { lsn } = await this.#control.one<{ lsn: string }>(
      "writing a fence",
      "SELECT pg_logical_emit_message(true, $1, '')::text AS lsn",
      [FENCE_PREFIX],
    );
    return checkpointAt(lsnDigits(parseLsn(lsn)));
  }

  async openParity(tables: readonly SourceTable[], signal: AbortSignal): Promise<ParitySnapshot> {
    const facts = await this.#facts();
    requirePrimary(facts);
    const options = { ...this.#options, keys: this.#keys };
    const either = AbortSignal.any([signal, this.#closing.signal]);
    return this.#track(await openParity(options, tables, () => this.fence(), this.#ask, either));
  }

  async openAddition(
    plan: CapturePlan,
    from: Position,
    signal: AbortSignal,
  ): Promise<ParitySnapshot> {
    this.#learn(plan);
    const facts = await this.#facts();
    requirePrimary(facts);
    requireWholeStream(facts);
    // Before all rows are read, and not only afterwards.
    await requireReadable(this.#ask, this.#options.slot, facts.database, lsnOf(from));
    const { slotWaitMsMax: waitMsMax } = this.#options;
    const options = { ...this.#options, keys: this.#keys, waitMsMax };
    const either = AbortSignal.any([signal, this.#closing.signal]);
    return this.#track(await openAddition(options, plan, () => this.fence(), this.#ask, either));
  }

  async placeLost(from: Position): Promise<string | undefined> {
    const { database } = await this.#facts();
    try {
      await requireReadable(this.#ask, this.#options.slot, database, lsnOf(from));
      return undefined;
    } catch (error) {
      const isLost =
        error instanceof BanyanError && (error.code === "SLOT_LOST" || error.code === "SLOT_AHEAD");
      if (!isLost) throw error;
      return error.message;
    }
  }

  visibility(seen: string): (transaction: string) => boolean {
    return visibility(seen);
  }

  async seenNow(): Promise<string> {
    const { seen } = await this.#control.one<{ seen: string }>(
      "asking what is visible",
      "SELECT pg_current_snapshot()::text AS seen",
    );
    return seen;
  }

  async markTransactions(): Promise<() => Promise<boolean>> {
    // An id of our own: a snapshot's end is only one past the newest transaction that has ended.
    const { own } = await this.#control.one<{ own: string }>(
      "asking which transactions there are",
      "SELECT pg_current_xact_id()::text AS own",
    );
    return async () => {
      const { isOver } = await this.#control.one<{ isOver: boolean }>(
        "asking whether earlier transactions have ended",
        `SELECT pg_snapshot_xmin(pg_current_snapshot()) > $1::text::xid8 AS "isOver"`,
        [own],
      );
      return isOver;
    };
  }

  async surveyChunks(tables: readonly KeyedTable[]): Promise<ChunkSurvey> {
    const { inRecovery } = await this.#facts();
    const survey = await surveyChunks(this.#ask, tables);
    return inRecovery ? { ...survey, obstacle: "the source is a standby" } : survey;
  }

  openChunks(tables: readonly KeyedTable[]): ChunkReader {
    const reader = new PostgresChunkReader(
      { ...this.#options, keys: this.#keys },
      tables,
      this.#ask,
    );
    const opened: ChunkReader = {
      open: (signal) => reader.open(AbortSignal.any([signal, this.#closing.signal])),
      close: async () => {
        this.#open.delete(opened);
        await reader.close();
      },
    };
    this.#open.add(opened);
    return opened;
  }

  async load(): Promise<SourceLoad> {
    return await readLoad(this.#ask, this.#options.applicationName);
  }

  async head(from: Position | undefined): Promise<SourceHead> {
    const { lsn, version } = await this.#control.one<{ lsn: string; version: number }>(
      "asking for the end of the log",
      `SELECT (CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END)::text AS lsn,
              current_setting('server_version_num')::int AS version`,
    );
    const head = parseLsn(lsn);
    const behind = from === undefined ? 0n : head - lsnOf(from);
    const left = await this.#logLeft(head, version);
    return {
      position: checkpointAt(lsnDigits(head)),
      lagBytes: behind > 0n ? Number(behind) : 0,
      ...(left === undefined ? {} : { logLeft: left }),
    };
  }

  async close(): Promise<void> {
    this.#closing.abort();
    await Promise.all([...this.#open].map((snapshot) => snapshot.close()));
    await this.#stream?.close();
    // The server may have given it the slot already.
    const late = sleep(STARTING_MS_MAX, undefined, { ref: false });
    await Promise.race([this.#starting?.then((started) => started?.close()), late]);
    await this.#control.close();
  }

  /**
   * A server that shuts down in good order waits until the stream's reader has everything acknowledged,
   * which never comes while our store is stuck: so the stream is ended for it.
   */
  #letGo(): void {
    this.#stream?.fail(
      new BanyanError(
        "SOURCE_UNREACHABLE",
        "the server ends its sessions; it may be shutting down",
        {
          hint: "It is tried again.",
        },
      ),
    );
  }

  async #logLeft(head: Lsn, version: number): Promise<LogLeft | undefined> {
    const slot = await readSlot(this.#ask, this.#options.slot);
    this.#logRate.note(head);
    if (slot?.safeBytes === undefined) return undefined;
    const rate = this.#logRate.bytesPerSecond(head) ?? (await averageLogRate(this.#ask, version));
    return logLeft(slot, rate);
  }

  async #startStream(from: Lsn): Promise<ReplicationConnection> {
    const { url, slot, publication, applicationName, bufferBytesMax, partBytesMax } = this.#options;
    const facts = await this.#facts();
    if (!facts.inRecovery) await this.#requireLogUpTo(from);
    await requireReadable(this.#ask, slot, facts.database, from);
    await this.#requirePublished();
    this.#relations.useCatalogue(await readCatalogue(this.#ask, publication, this.#keys));
    const client = await connect({ url, applicationName, replication: true });
    return await ReplicationConnection.start({
      client,
      slot,
      publication,
      from,
      acknowledged: this.#acknowledged === undefined ? undefined : lsnOf(this.#acknowledged),
      serverVersion: facts.version,
      senderTimeoutMs: facts.senderTimeoutMs,
      relations: this.#relations,
      xids: new XidEpoch(facts.xid),
      bufferBytesMax: Math.max(bufferBytesMax, partBytesMax),
      partBytesMax,
      pipeline: this.#options.pipeline,
    });
  }

  #explained(error: unknown, from: Lsn): Promise<unknown> {
    return explainLoss(error, async () => {
      const { database } = await this.#facts();
      await requireReadable(this.#ask, this.#options.slot, database, from);
    });
  }

  /**
   * A log that ends before the checkpoint is not the one that was read. Followed all the same, it would
   * pass over everything until it has grown to there.
   */
  async #requireLogUpTo(from: Lsn): Promise<void> {
    const end = lsnOf((await this.head(undefined)).position);
    if (end >= from) return;
    throw new BanyanError(
      "SOURCE_CHANGED",
      `the log of the source ends at ${formatLsn(end)}, before the checkpoint ${formatLsn(from)}`,
      {
        hint: `The source was restored from a backup, or has lost what it had written. ${newBaselineHint(this.#options.slot)}`,
        detail: { end: formatLsn(end), checkpoint: formatLsn(from) },
      },
    );
  }

  /** Whether the log has all that was planned; what it lacked so far cannot be read any more. */
  async #requirePublished(): Promise<void> {
    const { publication, slot } = this.#options;
    const names = [...this.#planned];
    const entries = await readTables(this.#ask, names, publication, this.#keys);
    requireAll(names, entries);
    for (const { oid, table } of entries) {
      const before = this.#oids.get(table.name);
      if (before !== undefined && before !== oid) throw tableReplaced(table.name, slot);
      this.#oids.set(table.name, oid);
    }
    const lost = `What was changed there meanwhile is not in the log; if anything was, \`banyan verify\` shows it. ${newBaselineHint(slot)}`;
    await requirePublished(this.#ask, publication, entries, lost);
  }

  /** Asked each time, because behind one address there can be another server the next time. */
  async #facts(): Promise<ServerFacts> {
    const facts = await readServerFacts(this.#ask);
    const uri = identityUri(facts);
    if (this.#identity !== undefined && this.#identity !== uri) {
      throw new BanyanError(
        "SOURCE_CHANGED",
        `the source was ${this.#identity} and is now ${uri}`,
        {
          hint: `Another server, timeline or database answers at this address. ${newBaselineHint()}`,
          detail: { before: this.#identity, now: uri },
        },
      );
    }
    this.#identity = uri;
    return facts;
  }

  #learn({ tables }: CapturePlan): void {
    this.#learnKeys(tables);
    for (const { name } of tables) this.#planned.add(qualifiedNameOf(name));
  }

  #learnKeys(tables: readonly PlannedTable[]): void {
    for (const { name, key } of tables)
      if (key !== undefined) this.#keys.set(qualifiedNameOf(name), key);
  }

  #track<Snapshot extends { close(): Promise<void> }>(snapshot: Snapshot): Snapshot {
    const opened: Snapshot = {
      ...snapshot,
      close: async () => {
        this.#open.delete(opened);
        await snapshot.close();
      },
    };
    this.#open.add(opened);
    return opened;
  }
}

function qualifiedNameOf(name: string): string {
  const { schema, relation } = parseQualifiedName(name);
  return qualifiedName(schema, relation);
}

function tableReplaced(name: string, slot: string): BanyanError {
  return new BanyanError(
    "SOURCE_CHANGED",
    `${name} is another table than before: what had this name was renamed or dropped`,
    {
      hint: `The rows of the new one are not known. ${newBaselineHint(slot)}`,
      detail: { table: name },
    },
  );
}

function requirePrimary({ inRecovery }: ServerFacts): void {
  if (!inRecovery) return;
  throw new BanyanError(
    "SOURCE_NOT_READY",
    "the source is a standby, into whose log no mark can be written",
    {
      hint: "Give the address of the primary in the URL.",
    },
  );
}
