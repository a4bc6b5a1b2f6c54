import { setTimeout as sleep } from "node:timers/promises";
import { child, changed, inserted, stream, table, updated } from "../../src/mapping/rules.ts";
import type { StreamRef } from "../../src/mapping/rules.ts";
import { TextHash } from "../../src/model/text-hash.ts";
import { PACE_DEFAULT } from "../../src/pipeline/pipeline.ts";
import type { EventStore } from "../../src/store/event-store.ts";
import type { Flaw } from "../../src/verify/history-check.ts";
import type { ParityReport } from "../../src/verify/parity-report.ts";
import { unfinishedNow } from "../../src/verify/prepare.ts";
import { verifyParity, type VerifyOptions } from "../../src/verify/verify-parity.ts";
import { openTestStore } from "../connectors/postgres/event-store-fixture.ts";
import { sourceDatabase, type SourceDatabase } from "../connectors/postgres/source-support.ts";
import type { TestDatabase } from "../support/databases.ts";
import type { Fault, Saboteur } from "../support/faulty-events.ts";
import { faultyStore, type FaultyStore } from "../support/faulty-store.ts";
import { startPipeline, type LivePipeline } from "../support/live-pipeline.ts";
import { seededRandom } from "../support/seeded-random.ts";

export const NIGHTLY = process.env["BANYAN_TEST_BUDGET"] === "nightly";
/** Accounts before the pipeline starts; each has two entries. */
export const ACCOUNTS = NIGHTLY ? 1_000_000 : 1_500;
const VERIFY_MS_MAX = NIGHTLY ? 900_000 : 120_000;
/** So that what waits for half a minute is caught up with in seconds. */
const TRAFFIC_PAUSE_MS = 20;
/** Of a baseline in chunks, about. */
const CHUNKS = 5;
const TRIES_MAX = 10_000_000;
/** At least as many as entries are summed up in, so that accounts in one of these share a bucket. */
const BUCKETS = NIGHTLY ? 32_768 : 256;

/** An owner that puts an account into quarantine. */
export const UNMAPPABLE = "unmappable";

const account = table<{ id: string; owner: string; balance: string; seen_at: string }>("account");
const entry = table<{ id: string; account_id: string; amount: string }>("entry");
const STREAMS: Readonly<Record<string, StreamRef>> = {
  account: stream(account, {
    children: { entries: child(entry, { account_id: "id" }) },
    validTime: "seen_at",
    events: {
      AccountOpened: inserted(account, { with: [entry] }),
      OwnerNamed: updated(account, changed("owner"), {
        where: ({ owner }) => {
          if (owner === UNMAPPABLE) throw new Error("no such owner");
          return true;
        },
      }),
    },
    otherwise: "AccountAmended",
  }),
};
const ddl = (accounts: number, entriesEach: number): string => `
  CREATE TABLE account (id int8 PRIMARY KEY, owner text, balance numeric(12,2), seen_at timestamptz);
  CREATE TABLE entry (id int8 PRIMARY KEY, account_id int8, amount numeric(12,2));
  CREATE INDEX ON entry (account_id);
  ALTER TABLE account REPLICA IDENTITY FULL;
  ALTER TABLE entry REPLICA IDENTITY FULL;
  INSERT INTO account SELECT i, 'owner ' || i, i + 0.25, '2024-01-01 12:00:00Z' FROM generate_series(1, ${accounts}) i;
  INSERT INTO entry SELECT i, 1 + i % ${accounts}, i FROM generate_series(1, ${accounts * entriesEach}) i`;

export interface Exam extends AsyncDisposable {
  readonly db: SourceDatabase;
  readonly storeDatabase: TestDatabase;
  readonly faulty: FaultyStore;
  readonly store: EventStore;
  readonly pipeline: LivePipeline;
  /** An account that no traffic touches, another one each time. @param accept which will do */
  victim(accept?: (id: number) => boolean): number;
  /** Writes to all accounts but the victims until the result is called. */
  startTraffic(): () => Promise<number>;
  verify(options?: Partial<VerifyOptions>): Promise<ParityReport>;
  /** Writes what the log's reader never sees: while the tables are not published. */
  writeUnseen(sql: string): Promise<void>;
}

export interface ExamOptions {
  /** Of the store; of the mapper see faulty-mapper.ts. */
  readonly saboteur?: Saboteur | undefined;
  readonly accounts?: number;
  readonly entriesEach?: number;
  /** How the baseline is read; under one snapshot when absent. */
  readonly baseline?: "snapshot" | "chunked";
  /** Called before anything is read, to plan faults. */
  readonly onVictims?: (victim: Exam["victim"]) => void;
}

export async function openExam(
  seed: number,
  {
    saboteur,
    accounts = ACCOUNTS,
    entriesEach = 2,
    baseline = "snapshot",
    onVictims,
  }: ExamOptions = {},
): Promise<Exam> {
  const random = seededRandom(seed);
  const db = await sourceDatabase("exam", ddl(accounts, entriesEach), "account, entry");
  const opened = await openTestStore("exam_store");
  const faulty = faultyStore(opened.store, saboteur);
  const { store } = faulty;
  const victims = new Set<number>();
  const victim: Exam["victim"] = (accept = () => true) => {
    for (let tries = 0; ; tries++) {
      if (tries > TRIES_MAX) throw new Error("no account is left that will do");
      const id = 1 + Math.floor(random() * accounts);
      if (victims.has(id) || !accept(id)) continue;
      victims.add(id);
      return id;
    }
  };
  onVictims?.(victim);
  const pipeline = await startPipeline({
    name: "exam",
    openSource: () => db.open(),
    store,
    streams: STREAMS,
    // A slow commit takes with it all that waits: in small ones the capture would fall ever further behind.
    limits: { batchChangesMax: 100_000 },
    more: {
      baseline,
      pace: { ...PACE_DEFAULT, baselineChunkRowsMax: Math.ceil(accounts / CHUNKS) },
    },
  });
  await pipeline.reach();
  await pipeline.until(
    async () => (await unfinishedNow({ store, pipeline: "exam" })) === undefined,
  );
  return {
    db,
    storeDatabase: opened.database,
    faulty,
    store,
    pipeline,
    victim,
    startTraffic: () => startTraffic(db, victims, random),
    async verify(options = {}) {
      const source = db.open();
      try {
        return await verifyParity(
          {
            pipeline: "exam",
            source,
            store,
            streams: STREAMS,
            waitMsMax: VERIFY_MS_MAX,
            samplesMax: 100,
            showValues: true,
            ...options,
          },
          AbortSignal.timeout(VERIFY_MS_MAX),
        );
      } finally {
        await source.close();
      }
    },
    async writeUnseen(sql) {
      const publication = `"${db.publication.replaceAll('"', '""')}"`;
      await db.query(`
        BEGIN;
        ALTER PUBLICATION ${publication} DROP TABLE account, entry;
        ${sql};
        ALTER PUBLICATION ${publication} ADD TABLE account, entry;
        COMMIT`);
    },
    async [Symbol.asyncDispose]() {
      faulty.lagMs = 0;
      await pipeline[Symbol.asyncDispose]();
      await opened[Symbol.asyncDispose]();
      await db[Symbol.asyncDispose]();
    },
  };
}

function startTraffic(
  db: SourceDatabase,
  victims: ReadonlySet<number>,
  random: () => number,
): () => Promise<number> {
  let writing = true;
  let transactions = 0;
  const other = (): number => {
    for (;;) {
      const id = 1 + Math.floor(random() * ACCOUNTS);
      if (!victims.has(id)) return id;
    }
  };
  const traffic = (async () => {
    for (; writing; transactions++) {
      const id = 10_000_000 + transactions;
      await db.query(`
        BEGIN;
        INSERT INTO account VALUES (${id}, 'new', 1, now());
        INSERT INTO entry VALUES (${id}, ${id}, 1), (${id + 10_000_000}, ${other()}, 2);
        UPDATE account SET balance = balance + 1, seen_at = now() WHERE id = ${other()};
        UPDATE account SET owner = owner || '.' WHERE id = ${other()};
        UPDATE entry SET account_id = ${other()} WHERE id = ${id - 3};
        DELETE FROM entry WHERE id = ${id - 7};
        COMMIT`);
      await sleep(TRAFFIC_PAUSE_MS);
    }
  })();
  traffic.catch(() => undefined);
  return async () => {
    writing = false;
    await traffic;
    return transactions;
  };
}

/** What a verification must say of a fault: where, and in which columns. */
export interface Sight {
  readonly verdict: "missing" | "extra" | "different";
  readonly table: string;
  readonly stream: string;
  readonly key: string;
  readonly columns: readonly string[];
}

export interface Scenario {
  readonly name: string;
  readonly fault: Fault;
  /** One transaction each. */
  readonly sql: readonly string[];
  readonly stream: string;
  readonly seen: readonly Sight[];
  /** What it leaves of the order of events, where the mapper or the store has done it. */
  readonly flaws: (where: Where) => readonly Flaw[];
}

/** A store has numbered and counted what it spoils. */
export type Where = "mapper" | "store";

const NONE = () => [];

/** Each kind of fault on an account of its own. */
export function scenarios({ victim }: Pick<Exam, "victim">): readonly Scenario[] {
  const at = (id: number): string => `account-${id}`;
  const off = (id: number, ...columns: string[]): Sight => ({
    verdict: "different",
    table: "public.account",
    stream: at(id),
    key: String(id),
    columns,
  });
  const set = (id: number, what: string): string => `UPDATE account SET ${what} WHERE id = ${id}`;
  const entryOf = (id: number): number => id - 1 + ACCOUNTS;
  const lost = (verdict: "missing" | "extra", id: number, key: number): Sight => ({
    verdict,
    table: "public.entry",
    stream: at(id),
    key: String(key),
    columns: [],
  });
  const plan = (
    name: string,
    fault: Fault,
    sql: (id: number) => readonly string[],
    seen: (id: number) => readonly Sight[],
    flaws: (id: number, where: Where) => readonly Flaw[] = NONE,
  ): Scenario => {
    const id = victim();
    return {
      name,
      fault,
      sql: sql(id),
      stream: at(id),
      seen: seen(id),
      flaws: (where) => flaws(id, where),
    };
  };
  const ofRow = (
    verdict: "broken" | "doubled",
    id: number,
    version: number,
    ...columns: string[]
  ): Flaw => ({
    verdict,
    stream: at(id),
    version,
    table: "public.account",
    key: String(id),
    columns,
  });
  const hole = (id: number, version: number): Flaw => ({
    verdict: "hole",
    stream: at(id),
    version,
    columns: [],
  });
  const another = victim();
  const misled = victim();
  // What one of them lacks the other has too much: their bucket's sum is as it should be.
  const elsewhere = victim((id) => bucketOf(id) === bucketOf(misled));
  return [
    plan(
      "drop an update",
      { kind: "drop" },
      (id) => [set(id, "balance = -1")],
      (id) => [off(id, "balance")],
    ),
    plan(
      "drop an insert",
      { kind: "drop" },
      (id) => [`INSERT INTO entry VALUES (${-id}, ${id}, 1)`],
      (id) => [lost("missing", id, -id)],
    ),
    plan(
      "drop a delete",
      { kind: "drop" },
      (id) => [`DELETE FROM entry WHERE id = ${entryOf(id)}`],
      (id) => [lost("extra", id, entryOf(id))],
    ),
    plan(
      "lose an update while a later one comes",
      { kind: "drop" },
      (id) => [set(id, "owner = 'lost'"), set(id, "balance = -2")],
      (id) => [off(id, "owner")],
      (id, where) => (where === "store" ? [hole(id, 3)] : []),
    ),
    plan(
      "lose an update whose column is written again",
      { kind: "drop" },
      (id) => [set(id, "balance = -1"), set(id, "balance = -2")],
      NONE,
      (id, where) =>
        where === "store"
          ? [hole(id, 3), ofRow("broken", id, 3, "balance")]
          : [ofRow("broken", id, 2, "balance")],
    ),
    plan(
      "double an update",
      { kind: "double" },
      (id) => [set(id, "balance = -1")],
      NONE,
      (id) => [ofRow("doubled", id, 3)],
    ),
    plan(
      "swap two updates",
      { kind: "swap" },
      (id) => [set(id, "balance = -3"), set(id, "balance = -4")],
      (id) => [off(id, "balance")],
      (id) => [ofRow("broken", id, 2, "balance"), ofRow("broken", id, 3, "balance")],
    ),
    plan(
      "swap an insert and a delete",
      { kind: "swap" },
      (id) => [
        `INSERT INTO entry VALUES (${-id}, ${id}, 1)`,
        `DELETE FROM entry WHERE id = ${-id}`,
      ],
      (id) => [lost("extra", id, -id)],
      (id) => [{ ...ofRow("broken", id, 2), table: "public.entry", key: String(-id) }],
    ),
    plan(
      "truncate a text",
      { kind: "truncate", column: "owner" },
      (id) => [set(id, "owner = 'a rather long name'")],
      (id) => [off(id, "owner")],
    ),
    plan(
      "round a number",
      { kind: "round", column: "balance" },
      (id) => [set(id, "balance = 12.34")],
      (id) => [off(id, "balance")],
    ),
    plan(
      "round a number that is written again",
      { kind: "round", column: "balance" },
      (id) => [set(id, "balance = 12.34"), set(id, "balance = 13")],
      NONE,
      (id) => [ofRow("broken", id, 3, "balance")],
    ),
    plan(
      "leave out a value that is NULL",
      { kind: "omit", column: "owner" },
      (id) => [set(id, "owner = NULL")],
      (id) => [off(id, "owner")],
    ),
    plan(
      "leave out a value of a new row",
      { kind: "omit", column: "amount" },
      (id) => [`INSERT INTO entry VALUES (${-id}, ${id}, 1)`],
      (id) => [{ ...lost("missing", id, -id), verdict: "different", columns: ["amount"] }],
    ),
    plan(
      "null a value",
      { kind: "null", column: "owner" },
      (id) => [set(id, "owner = ''")],
      (id) => [off(id, "owner")],
    ),
    plan(
      "re-time in the row",
      { kind: "retime", column: "seen_at" },
      (id) => [set(id, "seen_at = '2024-05-05 12:00:00Z'")],
      (id) => [off(id, "seen_at")],
    ),
    plan(
      "re-time an event",
      { kind: "retime" },
      (id) => [set(id, "seen_at = '2024-05-05 12:00:00Z'")],
      NONE,
      (id) => [{ ...ofRow("doubled", id, 2, "seen_at"), verdict: "mistimed" }],
    ),
    {
      name: "mis-key a child",
      fault: { kind: "miskey", to: at(elsewhere) },
      sql: [`INSERT INTO entry VALUES (${-misled}, ${misled}, 1)`],
      stream: at(misled),
      seen: [lost("missing", misled, -misled), lost("extra", elsewhere, -misled)],
      flaws: NONE,
    },
    plan(
      "mis-key a root",
      { kind: "miskey", to: at(another) },
      (id) => [set(id, "balance = -5")],
      (id) => [off(id, "balance"), { ...off(id), verdict: "extra", stream: at(another) }],
      (id) => [{ ...ofRow("broken", id, 2), stream: at(another) }],
    ),
    plan(
      "write a stale value",
      { kind: "stale", column: "balance" },
      (id) => [set(id, "balance = -6")],
      (id) => [off(id, "balance")],
    ),
  ];
}

function bucketOf(id: number): number {
  return new TextHash().of(String(id)).low & (BUCKETS - 1);
}

/** What a report says of single rows, to be compared with {@link Scenario.seen}. */
export function sightsOf({ samples }: ParityReport): readonly Sight[] {
  return ordered(
    samples.map(({ columns, ...sample }) => ({
      ...sample,
      columns: columns.map(({ column }) => column),
    })),
  );
}

/** What a report says of events, to be compared with {@link Scenario.flaws}. */
export function orderedFlaws(flaws: readonly Flaw[]): readonly Flaw[] {
  const of = ({ stream: at, version, verdict }: Flaw): string => `${at}/${version}/${verdict}`;
  return flaws.toSorted((a, b) => (of(a) < of(b) ? -1 : 1));
}

export function ordered(sights: readonly Sight[]): readonly Sight[] {
  const of = ({ stream: at, key, verdict }: Sight): string => `${at}/${key}/${verdict}`;
  return sights.toSorted((a, b) => (of(a) < of(b) ? -1 : 1));
}
