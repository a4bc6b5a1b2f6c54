import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { LENIENT, STREAMS } from "./dual-fixtures.ts";
import { openPostgresEventStore } from "../../../connectors/postgres/event-store.ts";
import { openTestStore } from "../../connectors/postgres/event-store-fixture.ts";
import { sourceDatabase, type SourceDatabase } from "../../connectors/postgres/source-support.ts";
import { noteWrites, propose } from "../../support/dual-rows.ts";
import { startPipeline, type LivePipeline } from "../../support/live-pipeline.ts";
import type { DualStore, ProposedEvent, ShadowWrite } from "../../../src/store/dual-store.ts";
import type { EventStore } from "../../../src/store/event-store.ts";
import { reportDual } from "../../../src/verify/dual/dual-report.ts";
import { judgeOnce } from "../../../src/verify/dual/judge-once.ts";
import { judgeWaiting } from "../../../src/verify/dual/judge-waiting.ts";
import { runJudge, type RunJudgeOptions } from "../../../src/verify/dual/run-judge.ts";

const ORDERS = 2_100;
const DDL = `
  CREATE TABLE orders (id text PRIMARY KEY, status text NOT NULL DEFAULT 'placed', total numeric(12,2) NOT NULL DEFAULT 0,
                       note text, updated_at timestamptz NOT NULL DEFAULT now());
  CREATE TABLE lines (order_id text, line_no int, quantity int NOT NULL, price numeric(10,2) NOT NULL, PRIMARY KEY (order_id, line_no));
  CREATE TABLE payments (id text PRIMARY KEY DEFAULT gen_random_uuid(), order_id text NOT NULL, amount numeric(12,2) NOT NULL,
                         captured_at timestamptz NOT NULL DEFAULT now());
  ALTER TABLE orders REPLICA IDENTITY FULL;
  ALTER TABLE lines REPLICA IDENTITY FULL;
  ALTER TABLE payments REPLICA IDENTITY FULL;
  INSERT INTO orders (id) SELECT i::text FROM generate_series(1, ${ORDERS}) i`;
const WAIT_MS_MAX = 60_000;
/** The capture is no further behind than this, also beside other tests. */
const WINDOW_SECONDS = 3;

let db: SourceDatabase;
let opened: Awaited<ReturnType<typeof openTestStore>>;
let pipeline: LivePipeline;
let options: RunJudgeOptions;

beforeAll(async () => {
  db = await sourceDatabase("dual", DDL, "orders, lines, payments");
  opened = await openTestStore("dual_store");
  pipeline = await start();
  const source = db.open();
  options = {
    pipeline: "shop",
    store: opened.store,
    streams: STREAMS,
    settings: {
      normalise: { order: LENIENT },
      compareEvents: false,
      windowSeconds: WINDOW_SECONDS,
    },
    fence: () => source.fence(),
  };
});
afterAll(async () => {
  await pipeline?.[Symbol.asyncDispose]();
  await opened?.[Symbol.asyncDispose]();
  await db?.[Symbol.asyncDispose]();
});

async function start(): Promise<LivePipeline> {
  const live = await startPipeline({
    name: "shop",
    openSource: () => db.open(),
    store: opened.store,
    streams: STREAMS,
  });
  await live.reach();
  return live;
}

interface Request {
  readonly id: string;
  readonly stream?: string;
  /** What legacy does; undefined when it refuses. */
  readonly sql?: string;
  readonly isSaid?: boolean;
  readonly decidedOn?: number;
  readonly events?: readonly ProposedEvent[];
  readonly proposedIn?: string;
  readonly newStatus?: number;
  readonly inputs?: Readonly<Record<string, number>>;
}

/** Both sides are asked, as the proxy does it. */
async function ask(request: Request): Promise<void> {
  const { id, stream, sql, isSaid = true, decidedOn = 1, events = [], inputs = {} } = request;
  const askedAtMs = Date.now();
  await propose(opened.database, "shop", [
    { correlationId: id, stream: request.proposedIn ?? stream!, decidedOn, events, inputs },
  ]);
  if (sql !== undefined) {
    const said = `SELECT pg_logical_emit_message(true, 'banyan', '{"correlationId": "${id}"}');`;
    await db.query(`BEGIN; ${isSaid ? said : ""} ${sql}; COMMIT`);
  }
  const write: ShadowWrite = {
    correlationId: id,
    streamType: "order",
    stream,
    route: isSaid ? "POST /orders/:id" : "POST /unsaid/:id",
    legacyStatus: sql === undefined ? 409 : 200,
    newStatus: request.newStatus ?? (sql === undefined ? 409 : 200),
    askedAtMs,
    answeredAtMs: Date.now(),
  };
  await noteWrites(opened.database, "shop", [write]);
  // Not at the same time as the next one.
  while (Date.now() <= write.answeredAtMs) await sleep(1);
}

async function verdicts(prefix: string): Promise<Readonly<Record<string, string>>> {
  const { rows } = await opened.database.query(
    "SELECT correlation_id AS id, reason FROM banyan.shadow_writes WHERE correlation_id LIKE $1 AND verdict <> 'waiting'",
    [`${prefix}%`],
  );
  return Object.fromEntries(
    (rows as { id: string; reason: string }[]).map((r) => [r.id, r.reason]),
  );
}

async function until(what: string, holds: () => Promise<boolean>): Promise<void> {
  const deadline = Date.now() + WAIT_MS_MAX;
  while (!(await holds())) {
    if (Date.now() > deadline) throw new Error(`in vain for ${what}`);
    await sleep(50);
  }
}

const noting = (id: string, note: string): readonly ProposedEvent[] => [
  { type: "OrderNoted", data: { id, note, updated_at: "2026-01-01T00:00:00Z" } },
];
const placing = (id: string, lines: number): readonly ProposedEvent[] => [
  {
    type: "OrderPlaced",
    data: {
      id,
      status: "placed",
      total: "2.00",
      note: null,
      updated_at: "2026-01-01T00:00:00Z",
      lines: Array.from({ length: lines }, (_, i) => ({
        order_id: id,
        line_no: i + 1,
        quantity: 1,
        price: "1.00",
      })),
    },
  },
];
const place = (id: string): string =>
  `INSERT INTO orders (id, total) VALUES ('${id}', 2); INSERT INTO lines VALUES ('${id}', 1, 1, 1), ('${id}', 2, 1, 1)`;
const note = (id: string, text: string): string =>
  `UPDATE orders SET note = '${text}', updated_at = now() WHERE id = '${id}'`;

describe("writes of two applications beside a capture", () => {
  test("are judged by intent and by order, by two judges at once, each once", async () => {
    const stop = new AbortController();
    const kept = { pass: 0, fail: 0, inconclusive: 0 };
    const judges = [1, 2].map(() => runJudge(options, stop.signal));
    await ask({ id: "a-right", stream: "order-1", sql: note("1", "x"), events: noting("1", "x") });
    await ask({ id: "a-wrong", stream: "order-2", sql: note("2", "x"), events: noting("2", "y") });
    await ask({ id: "a-refused", stream: "order-3" });
    await ask({ id: "a-accepted", stream: "order-4", events: noting("4", "y"), newStatus: 200 });
    await ask({
      id: "a-order",
      stream: "order-5",
      sql: note("5", "x"),
      isSaid: false,
      events: noting("5", "x"),
    });
    await ask({
      id: "a-order-no",
      stream: "order-6",
      sql: note("6", "x"),
      isSaid: false,
      events: noting("6", "y"),
    });
    for (const n of [1, 2])
      await ask({
        id: `a-near-${n}`,
        stream: "order-7",
        sql: note("7", `x${n}`),
        isSaid: false,
        decidedOn: n,
        events: noting("7", `x${n}`),
      });
    await ask({
      id: "a-new",
      sql: place("9001"),
      proposedIn: "order-90077",
      decidedOn: 0,
      events: placing("90077", 2),
    });
    await ask({
      id: "a-new-no",
      sql: place("9002"),
      proposedIn: "order-90078",
      decidedOn: 0,
      events: placing("90078", 1),
    });
    await ask({
      id: "a-stale",
      stream: "order-1",
      sql: note("1", "z"),
      decidedOn: 1,
      events: noting("1", "z"),
    });
    await ask({
      id: "a-unsaid",
      sql: place("9003"),
      isSaid: false,
      proposedIn: "order-90079",
      decidedOn: 0,
      events: placing("90079", 2),
    });
    await ask({
      id: "a-input",
      stream: "order-12",
      sql: `${note("12", "dear")}; ${note("13", "own")}`,
      events: noting("12", "cheap"),
      inputs: { "order-13": 1, "order-14": 1 },
    });
    await db.query(note("14", "dearer"));
    await until("the inputs of the next one to be old", async () => {
      const { rows } = await opened.database.query(
        `SELECT FROM banyan.events WHERE recorded_time < now() - interval '2 s'
            AND (stream_id, version) IN (('order-13', 2), ('order-16', 1))`,
      );
      return rows.length === 2;
    });
    await ask({
      id: "a-input-no",
      stream: "order-15",
      sql: `${note("15", "x")}; ${note("13", "own again")}`,
      events: noting("15", "y"),
      inputs: { "order-13": 2, "order-16": 1 },
    });
    await until("verdicts", async () => Object.keys(await verdicts("a-")).length === 14);
    stop.abort();
    await Promise.all(judges);
    expect(await verdicts("a-")).toEqual({
      "a-right": "same-state",
      "a-wrong": "state-differs",
      "a-refused": "both-refused",
      "a-accepted": "refused-by-legacy",
      "a-order": "same-state",
      "a-order-no": "state-differs",
      "a-near-1": "several-candidates",
      "a-near-2": "several-candidates",
      "a-new": "same-state",
      "a-new-no": "state-differs",
      "a-stale": "version-moved",
      "a-unsaid": "not-correlated",
      "a-input": "inputs-moved",
      "a-input-no": "state-differs",
    });
    const counts = await opened.store.dual.counts("shop", ["order"], 0);
    for (const { verdict, count } of counts) kept[verdict as keyof typeof kept] += count;
    expect(kept).toEqual({ pass: 4, fail: 5, inconclusive: 5 });

    const about = { pipeline: "shop", streamTypes: ["order"], sinceMs: 0, samplesPerRoute: 20 };
    const shown = await reportDual(opened.store.dual, { ...about, showValues: true });
    const wrong = shown.samples.find(({ correlationId }) => correlationId === "a-wrong")!;
    expect(wrong.partings).toEqual([
      {
        role: "order",
        key: "2",
        verdict: "different",
        columns: [{ column: "note", legacy: "x", proposed: "y" }],
      },
    ]);
    const hidden = await reportDual(opened.store.dual, { ...about, showValues: false });
    expect(hidden).toMatchObject({ state: "fail", pass: 4, fail: 5, inconclusive: 5, waiting: 0 });
    expect(JSON.stringify(hidden)).not.toContain('"y"');
  });

  test("wait as long as the capture stands still, and are judged when it goes on", async () => {
    await pipeline.stop();
    await ask({ id: "b-refused", stream: "order-10" });
    await ask({
      id: "b-right",
      stream: "order-11",
      sql: note("11", "x"),
      events: noting("11", "x"),
    });
    const forever = new AbortController().signal;
    expect(await judgeOnce(options, "all", 1_500, forever)).toBe(false);
    expect(await verdicts("b-")).toEqual({});
    pipeline = await start();
    expect(await judgeOnce(options, "all", WAIT_MS_MAX, forever)).toBe(true);
    expect(await verdicts("b-")).toEqual({ "b-refused": "both-refused", "b-right": "same-state" });
  });

  test("with a column that does not exist are refused before anything is judged", async () => {
    const normalise = {
      order: {
        ignore: ["hat", "lines.price"],
        generated: { lines: ["sku"] },
        timestampsWithinMs: 0,
      },
    };
    const settings = { ...options.settings, normalise };
    const judging = judgeWaiting(
      { ...options, settings },
      Date.now(),
      new AbortController().signal,
    );
    await expect(judging).rejects.toMatchObject({
      code: "CONFIG_INVALID",
      message:
        "dual.normalise.order.ignore: there is no column hat\ndual.normalise.order.generated: lines has no key column sku",
    });
  });
});

test("10,000 writes are judged in a bounded number of statements that read by index", async () => {
  const rounds = 5;
  const first = 100;
  await db.query(`DO $$ BEGIN
    FOR r IN 1..${rounds} LOOP FOR i IN ${first}..${ORDERS} LOOP
      PERFORM pg_logical_emit_message(true, 'banyan', format('{"correlationId": "c-%s-%s"}', r, i));
      UPDATE orders SET note = 'n' || r, updated_at = now() WHERE id = i::text;
      COMMIT;
    END LOOP; END LOOP; END $$`);
  await pipeline.reach();
  const each = Array.from({ length: rounds }, (_, r) =>
    Array.from({ length: ORDERS - first + 1 }, (__, i) => [r + 1, first + i] as const),
  ).flat();
  const startMs = Date.now() - 600_000;
  await noteWrites(
    opened.database,
    "shop",
    each.map(([r, i]) => ({
      correlationId: `c-${r}-${i}`,
      streamType: "order",
      stream: `order-${i}`,
      route: "PUT /orders/:id/note",
      legacyStatus: 200,
      newStatus: 200,
      askedAtMs: startMs + r * 10_000,
      answeredAtMs: startMs + r * 10_000 + 20,
    })),
  );
  await propose(
    opened.database,
    "shop",
    each.map(([r, i]) => ({
      correlationId: `c-${r}-${i}`,
      stream: `order-${i}`,
      decidedOn: r,
      events: noting(String(i), i % 1_000 === 0 ? "wrong" : `n${r}`),
    })),
  );
  await opened.database.query("ANALYZE");
  await pipeline.stop();
  await opened.store.close();
  const before = await reads();
  const store = await openPostgresEventStore({ url: opened.database.url });
  const { dual, calls } = counted(store.dual);
  const judged = await judgeWaiting(
    { ...options, store: { ...bound(store), dual } },
    Date.now(),
    new AbortController().signal,
  );
  await store.close();
  const total = each.length;
  const wrong = 2 * rounds;
  expect(judged).toEqual({ pass: total - wrong, fail: wrong, inconclusive: 0, waiting: 0 });
  const pages = Math.ceil(total / 500);
  expect(calls()).toBeLessThanOrEqual(6 * pages + 1);
  const after = await reads();
  // Each event is found once by its request, and each stream read once for each page it is in.
  expect(after.correlated - before.correlated).toBeLessThan(2 * total);
  expect(after.sequential - before.sequential).toBe(0);
});

function bound(store: EventStore): Pick<RunJudgeOptions["store"], "mappings" | "pipeline"> {
  return { mappings: () => store.mappings(), pipeline: (name) => store.pipeline(name) };
}

/** The store with its statements counted: each call is one. */
function counted(dual: DualStore): { readonly dual: DualStore; readonly calls: () => number } {
  let calls = 0;
  const proxy = new Proxy(dual, {
    get(target, name) {
      const member = Reflect.get(target, name) as (...args: unknown[]) => unknown;
      return (...args: unknown[]) => {
        calls += 1;
        return member.apply(target, args);
      };
    },
  });
  return { dual: proxy, calls: () => calls };
}

/** What was read of the tables so far. A session tells that when it ends, so there must be none any more. */
async function reads(): Promise<{ readonly sequential: number; readonly correlated: number }> {
  await until("the end of all sessions", async () => {
    const { rows } = await opened.database.query(
      "SELECT FROM pg_stat_activity WHERE datname = current_database() AND application_name LIKE 'banyan%'",
    );
    return rows.length === 0;
  });
  const { rows } = await opened.database.query(`
    SELECT (SELECT sum(seq_scan)::int FROM pg_stat_user_tables WHERE relname IN ('events', 'shadow_writes', 'proposals')) AS sequential,
           (SELECT idx_tup_read::int FROM pg_stat_user_indexes WHERE indexrelname = 'events_correlation') AS correlated`);
  return rows[0] as { sequential: number; correlated: number };
}
