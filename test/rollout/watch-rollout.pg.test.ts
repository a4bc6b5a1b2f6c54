import { randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, expect, test } from "vitest";
import { PostgresGateFacts } from "../../connectors/postgres/gate-facts.ts";
import { openRolloutPool, PostgresRolloutStore } from "../../connectors/postgres/rollout-store.ts";
import { parseConfig } from "../../src/config/load-config.ts";
import { stream, table } from "../../src/mapping/rules.ts";
import type { Position } from "../../src/model/position.ts";
import type { GateFacts } from "../../src/rollout/gate-facts.ts";
import type { Standing } from "../../src/rollout/move.ts";
import { runMove, type MoveWorld } from "../../src/rollout/run-move.ts";
import { watchRollout, type RolloutEvent } from "../../src/rollout/watch-rollout.ts";
import { openTestStore } from "../connectors/postgres/event-store-fixture.ts";

const { rollout: SETTINGS } = parseConfig(
  {
    name: "shop",
    source: { kind: "postgres", url: "postgres://h/d" },
    streams: { order: stream(table("orders"), { otherwise: "OrderAmended" }) },
  },
  "/x/banyan.config.ts",
  {},
);
const WAIT_MS_MAX = 60_000;

let opened: Awaited<ReturnType<typeof openTestStore>>;
let store: PostgresRolloutStore;
let facts: PostgresGateFacts;

beforeAll(async () => {
  opened = await openTestStore("watch_rollout");
  const pool = await openRolloutPool(opened.database.url);
  store = new PostgresRolloutStore(pool, "shop");
  facts = new PostgresGateFacts(pool, "shop");
});
afterAll(async () => {
  await store.close();
  await opened[Symbol.asyncDispose]();
});

const query = (sql: string, values: readonly unknown[] = []) =>
  opened.database.query(sql, [...values]);

const WORLD: MoveWorld = {
  prepare: () => Promise.resolve(undefined),
  fence: () => Promise.resolve("0" as Position),
  hasApplied: () => Promise.resolve(true),
  compare: () => Promise.resolve(undefined),
  eventsEnd: () => Promise.resolve("0"),
  reverse: () => Promise.resolve({ kind: "applied" }),
};

async function moveTo(type: string, ...ways: readonly Standing[]): Promise<void> {
  let from: Standing = { stage: "legacy", share: 0 };
  for (const to of ways) {
    const intent = { type, kind: "promote", from, to, who: "ann", why: "" } as const;
    const begun = await store.begin({
      ...{ ...intent, forced: [], without: [], holdMs: 30_000 },
      driver: randomUUID(),
    });
    const signal = AbortSignal.timeout(60_000);
    expect(await runMove({ store, world: WORLD }, begun, signal)).toMatchObject({
      outcome: "done",
    });
    from = to;
  }
}

const SHADOW: Standing = { stage: "shadow", share: 0 };
const CANARY: Standing = { stage: "canary", share: 1_000 };

/** Requests of the last seconds, as a proxy adds them up. */
async function traffic(
  type: string,
  side: "legacy" | "new",
  requests: number,
  errors: number,
  more: { readonly compared?: number; readonly different?: number; readonly ago?: string } = {},
): Promise<void> {
  const slower = Array.from({ length: 13 }, (_, n) => (n === 3 ? requests : 0));
  await query(
    `INSERT INTO banyan.traffic (pipeline, second, stream_type, route, side, instance, requests, errors, millis, slower, compared, different)
     VALUES ('shop', clock_timestamp() - $8::interval, $1, 'GET /', $2, gen_random_uuid(), $3, $4, 0, $5, $6, $7)`,
    [
      type,
      side,
      requests,
      errors,
      slower,
      more.compared ?? 0,
      more.different ?? 0,
      more.ago ?? "0 s",
    ],
  );
}

async function reverse(lagSeconds: number): Promise<void> {
  await query(
    `INSERT INTO banyan.reverse_progress (pipeline, cursor, lag_seconds, updated_at)
     VALUES ('shop', '1/1', $1, clock_timestamp() + interval '1 hour')
     ON CONFLICT (pipeline) DO UPDATE SET lag_seconds = excluded.lag_seconds`,
    [lagSeconds],
  );
}

interface Watching extends AsyncDisposable {
  readonly events: RolloutEvent[];
  until(what: string, holds: (event: RolloutEvent) => boolean): Promise<RolloutEvent>;
}

function watching(): Watching {
  const events: RolloutEvent[] = [];
  const stop = new AbortController();
  const running = watchRollout(
    {
      store,
      facts,
      world: () => WORLD,
      settings: SETTINGS,
      who: "the daemon",
      everyMs: 100,
      onEvent: (event) => void events.push(event),
    },
    stop.signal,
  );
  running.catch(() => undefined);
  return {
    events,
    async until(what, holds) {
      const deadline = Date.now() + WAIT_MS_MAX;
      for (;;) {
        const found = events.find(holds);
        if (found !== undefined) return found;
        if (Date.now() > deadline || stop.signal.aborted)
          throw new Error(`in vain for ${what}: ${JSON.stringify(events)}`);
        await Promise.race([sleep(20), running]);
      }
    },
    async [Symbol.asyncDispose]() {
      stop.abort();
      await running;
    },
  };
}

test("facts are what the tables hold of one stream type, since it stands where it stands", async () => {
  await traffic("facts", "new", 999, 999, { compared: 9 });
  await moveTo("facts", SHADOW, CANARY);
  await traffic("facts", "new", 120, 6, { compared: 50, different: 2 });
  await traffic("facts", "new", 80, 0);
  await traffic("facts", "legacy", 1_000, 1, { ago: "30 min" });
  await traffic("facts", "legacy", 1_000, 1, { ago: "2 days" });
  await traffic("other_facts", "new", 1_000, 1);
  await query(`
    INSERT INTO banyan.shadow_writes (pipeline, correlation_id, stream_type, route, asked_at, answered_at, verdict)
    SELECT 'shop', gen_random_uuid(), t, 'POST /', clock_timestamp(), clock_timestamp(), v
      FROM unnest('{pass,pass,fail,waiting}'::text[]) v, unnest('{facts,other}'::text[]) t;
    INSERT INTO banyan.parity_reports VALUES ('shop', jsonb_build_object('state', 'equal', 'conclusive', true, 'finishedAt', clock_timestamp() - interval '5 min'));
    INSERT INTO banyan.parity_findings SELECT 'shop', 't', id, '1', 'extra', '{}', 1, now(), now(), 0 FROM unnest('{facts-1,other-1,factsx-1}'::text[]) id;
    INSERT INTO banyan.proxies (pipeline, instance, place, stream_type, epoch, seen_at)
    SELECT 'shop', gen_random_uuid(), 'p', 'facts', 1, clock_timestamp() - n * interval '1 min' FROM generate_series(0, 2) n`);
  const read = await facts.read("facts", 3_600);
  expect(read).toMatchObject({
    dual: { pass: 2, fail: 1, inconclusive: 0, waiting: 1 },
    shadow: { compared: 50, different: 2, uncompared: 0, dropped: 0 },
    moved: { requests: 200, errors: 6 },
    legacy: { requests: 1_000, errors: 1 },
    parity: { state: "equal", conclusive: true, openFindings: 1 },
    quarantined: 0,
    reverseConflicts: 0,
    proxies: 1,
  });
  expect(read.moved.slower).toEqual([0, 0, 0, 200, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
  expect(read.parity!.ageSeconds).toBeGreaterThan(299);
  expect(read.standsSeconds).toBeLessThan(60);
  expect(read).not.toHaveProperty("capture");
  expect(read).not.toHaveProperty("reverse");
  const empty = await facts.read("nothing", 3_600);
  expect(empty).toMatchObject({
    moved: { requests: 0, slower: [] },
    dual: { pass: 0 },
    proxies: 0,
  });
  await query(
    "UPDATE banyan.parity_reports SET report = report || jsonb_build_object('finishedAt', clock_timestamp() + interval '1 hour'), saved_at = clock_timestamp() - interval '20 min'",
  );
  expect((await facts.read("facts", 3_600)).parity!.ageSeconds).toBeGreaterThan(1_199);
  const checked = async (ago: string): Promise<GateFacts["parity"]> => {
    await query(
      `UPDATE banyan.parity_reports SET report = report || jsonb_build_object('checkedAt', clock_timestamp() - interval '${ago}')`,
    );
    return (await facts.read("facts", 3_600)).parity;
  };
  // What a watch has seen since counts; not before, nor ahead of the store's clock.
  for (const [ago, from, to] of [
    ["2 min", 119, 180],
    ["-1 hour", -1, 60],
    ["1 day", 1_199, 1_300],
  ] as const) {
    const { ageSeconds, sweptSeconds } = (await checked(ago))!;
    expect(ageSeconds).toBeGreaterThanOrEqual(from);
    expect(ageSeconds).toBeLessThan(to);
    expect(sweptSeconds).toBeGreaterThan(1_199);
  }
  await query(`
    INSERT INTO banyan.proxies (pipeline, instance, place, stream_type, epoch, seen_at)
    VALUES ('shop', gen_random_uuid(), 'gone', 'facts', 1, clock_timestamp() - interval '25 hours')`);
  // One row of traffic, and one proxy that was killed.
  expect(await facts.purge(86_400)).toBe(2);
  expect((await store.proxies("facts")).map(({ place }) => place)).not.toContain("gone");
});

test("legacy's last hour stays, and the moved share is held against it when legacy answers nothing more", async () => {
  await reverse(0);
  await moveTo("steady", SHADOW, { stage: "new", share: 10_000 });
  await traffic("steady", "legacy", 1_000, 60, { ago: "3 days" });
  await traffic("steady", "legacy", 9_000, 0, { ago: "4 days" });
  expect(await facts.purge(86_400)).toBe(1);
  expect(await facts.legacyBefore("steady")).toMatchObject({ requests: 1_000, errors: 60 });
  expect(await facts.legacyBefore("nobody")).toEqual({ requests: 0, errors: 0, slower: [] });
  await using watch = watching();
  await traffic("steady", "new", 1_000, 60);
  await sleep(600);
  expect(watch.events.filter(({ type }) => type === "steady")).toEqual([]);
  await traffic("steady", "new", 1_000, 200);
  const alarm = await watch.until("an alarm", ({ type }) => type === "steady");
  expect(alarm.says).toContain(
    "13.0% of 2,000 requests to the moved share failed, 6.0% of legacy's",
  );
  const isBack = ({ type, what }: RolloutEvent): boolean =>
    type === "steady" && what === "rolled-back";
  await watch.until("its way back", isBack);
});

test("two hundred requests with errors bring a share back within ten seconds, and the log says why", async () => {
  await reverse(0);
  await moveTo("order", SHADOW, CANARY);
  await using watch = watching();
  await traffic("order", "legacy", 1_000, 2);
  await traffic("order", "new", 150, 20);
  await sleep(500);
  expect((await store.standings()).get("order")).toMatchObject(CANARY);
  const startedMs = performance.now();
  await traffic("order", "new", 50, 5);
  const isOurs = ({ type, what }: RolloutEvent): boolean =>
    type === "order" && what === "rolled-back";
  const back = await watch.until("a rollback", isOurs);
  expect(performance.now() - startedMs).toBeLessThan(10_000);
  expect(back).toMatchObject({ type: "order", says: expect.stringContaining("12.5% of 200") });
  expect((await store.standings()).get("order")).toMatchObject(SHADOW);
  const [done] = await store.log("order", 1);
  expect(done).toMatchObject({
    who: "the daemon",
    what: "rollback done",
    why: expect.stringContaining("alarm errors: 12.5% of 200 requests"),
  });
});

test("what is paused stays, and goes back when it is no longer", async () => {
  await moveTo("paused", SHADOW, CANARY);
  await store.pause("paused", true, "ann", "a look first");
  await using watch = watching();
  await traffic("paused", "new", 200, 200);
  const isOurs = ({ type }: RolloutEvent): boolean => type === "paused";
  const alarm = await watch.until("an alarm", isOurs);
  expect(alarm).toMatchObject({
    what: "alarm",
    says: expect.stringContaining("paused, so it stays"),
  });
  await sleep(400);
  expect(watch.events.filter(isOurs)).toHaveLength(1);
  expect((await store.standings()).get("paused")).toMatchObject(CANARY);
  await store.pause("paused", false, "ann", "go on");
  await watch.until("a rollback", (event) => isOurs(event) && event.what === "rolled-back");
});

test("a way back that would lose decisions is not taken, and neither is one that a person has to look at", async () => {
  await moveTo("behind", SHADOW, CANARY);
  await moveTo("conflict", SHADOW, CANARY);
  await reverse(100);
  await query(`
    INSERT INTO banyan.reverse_conflicts (pipeline, stream_id, version, table_name, row_key, columns, reason)
    VALUES ('shop', 'conflict-1', 1, 't', '1', '{}', 'changed')`);
  await using watch = watching();
  await traffic("behind", "new", 200, 200);
  const not = await watch.until(
    "a refusal",
    ({ type, what }) => type === "behind" && what === "not-rolled-back",
  );
  expect(not.says).toContain("100.0 s behind");
  const alarm = await watch.until("an alarm", ({ type }) => type === "conflict");
  expect(alarm).toMatchObject({
    what: "alarm",
    says: expect.stringContaining("1 aggregate waits"),
  });
  await sleep(300);
  expect((await store.standings()).get("conflict")).toMatchObject(CANARY);
  expect((await store.standings()).get("behind")).toMatchObject(CANARY);
  await reverse(0);
});

test("a move whose process is silent is taken up, by one of two who watch", async () => {
  await moveTo("crashed", SHADOW);
  const begun = await store.begin({
    ...{ type: "crashed", kind: "promote", from: SHADOW, to: CANARY, who: "ann", why: "" },
    ...{ forced: [], without: [], holdMs: 60_000, driver: randomUUID() },
  });
  await store.hold(begun);
  await query(
    "UPDATE banyan.moves SET touched_at = clock_timestamp() - interval '6 s' WHERE id = $1",
    [begun.id],
  );
  await using one = watching();
  await using two = watching();
  const isOurs = ({ type, what }: RolloutEvent): boolean =>
    type === "crashed" && what === "resumed";
  const found = await Promise.race([one.until("it", isOurs), two.until("it", isOurs)]);
  expect(found.says).toContain(
    "taken up at step held: undone, because the process that began it ended",
  );
  expect([...one.events, ...two.events].filter(isOurs)).toHaveLength(1);
  const standing = (await store.standings()).get("crashed")!;
  expect(standing).toMatchObject(SHADOW);
  expect(standing.hold).toBeUndefined();
});
