import { setTimeout as sleep } from "node:timers/promises";
import { describe, expect, test } from "vitest";
import { beforeChunks } from "../support/before-chunks.ts";
import { chunkBench, PACE, SHAPES, STREAMS, startTraffic } from "../support/chunk-bench.ts";
import { seededRandom } from "../support/seeded-random.ts";
import { brokenStreams } from "../support/unbroken-streams.ts";
import type { LivePipeline } from "../support/live-pipeline.ts";
import { stream } from "../../src/mapping/rules.ts";
import type { StreamBaseline } from "../../src/pipeline/baseline-plan.ts";
import { requestRebaseline } from "../../src/pipeline/rebaseline-plan.ts";

const ROWS = 1_000;
const DEADLOCKS_MAX = 20;

/** What a number comes to that has not changed for a second. */
async function settled(read: () => number): Promise<number> {
  for (let last = read(); ;) {
    await sleep(1_000);
    const now = read();
    if (now === last) return now;
    last = now;
  }
}

test("a pause holds the baseline and not the log, outlives a restart, and verify cannot tell meanwhile", async () => {
  // So many that the baseline is not done before the pause is heard.
  await using b = await chunkBench("full", 8 * ROWS);
  {
    await using first = await b.start();
    await first.until(() => (first.status()?.baseline?.chunks ?? 0) >= 3);
    expect(await b.store.pauseBaseline("chunks", true)).toBe(true);
    await first.until(() => first.status()!.baseline!.paused);
    // What was being read is finished.
    const chunks = await settled(() => first.status()!.baseline!.chunks);
    await b.sql("UPDATE ticket SET n = n + 1; INSERT INTO ticket VALUES (100000)");
    await first.reach();
    await sleep(700);
    expect(first.status()).toMatchObject({ phase: "baseline", baseline: { chunks, paused: true } });
    expect(await first.verify()).toMatchObject({
      state: "inconclusive",
      reasons: [expect.stringMatching(/^the baseline is not finished: .*ticket/)],
    });
    await first.stop();
  }
  const told: StreamBaseline[] = [];
  const onBaseline = (plans: readonly StreamBaseline[]): void => void told.push(...plans);
  await using second = await b.start({ onBaseline });
  await second.until(() => second.status()?.baseline?.paused === true);
  expect(told.map(({ stream, isChunked }) => [stream.type, isChunked])).toContainEqual([
    "ticket",
    true,
  ]);
  const whys = told.map(({ why }) => why);
  for (const why of whys) expect(why).toMatch(/^as asked for with --baseline chunked(; |$)/);
  expect(whys).toContainEqual(
    expect.stringMatching(/; it goes on behind \d+ chunks? of an earlier/),
  );
  expect(second.status()!.baseline!.why).toBe(told[0]!.why);
  await second.reach();
  const before = (await b.store.pipeline("chunks"))!.baselines!.map(({ chunksRead }) => chunksRead);
  expect(await b.store.pauseBaseline("chunks", false)).toBe(true);
  await second.until(() => second.status()!.phase === "tail");
  await second.reach();
  const after = (await b.store.pipeline("chunks"))!.baselines!.map(({ chunksRead }) => chunksRead);
  expect(after.map((count, i) => count > before[i]!)).toContain(true);
  expect(await second.verify()).toMatchObject({ state: "equal", samples: [] });
  await second.stop();
});

test("a baseline rests while the source is busy, says so, and goes on afterwards", async () => {
  await using b = await chunkBench("full", ROWS);
  const busy = await Promise.all([1, 2, 3].map(() => b.session()));
  // Until the baseline has seen them.
  const working = busy.map((client) => client.query("SELECT pg_sleep(600)").catch(() => undefined));
  const sleeping = "state = 'active' AND query = 'SELECT pg_sleep(600)'";
  const areAtWork = async (): Promise<boolean> => {
    const { rowCount } = await b.db.query(`SELECT FROM pg_stat_activity WHERE ${sleeping}`);
    return rowCount === busy.length;
  };
  while (!(await areAtWork())) await sleep(10);
  await using running = await b.start({ pace: { ...PACE, baselineSessionsMax: 2 } });
  await running.until(() => (running.status()?.baseline?.backingOff ?? "") !== "");
  expect(running.status()!.baseline).toMatchObject({
    backingOff: expect.stringMatching(
      /^3 sessions are at work in the source, more than 2$/,
    ) as unknown,
    chunks: 0,
  });
  await b.sql(`SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE ${sleeping}`);
  await Promise.all(working);
  await running.until(() => running.status()!.phase === "tail");
  expect(running.status()!.baseline!.backingOff).toBe("");
  await Promise.all(busy.map((client) => client.end()));
  await running.reach();
  expect(await running.verify()).toMatchObject({ state: "equal" });
  await running.stop();
});

test("a chunk that fails is read again, smaller, and the reason is told", async () => {
  await using b = await chunkBench("default", ROWS);
  await b.store.migrate();
  const locker = await b.session();
  let locked: Promise<unknown> | undefined;
  const source = beforeChunks(b.db.open(), async (tables) => {
    if (!tables.some(({ table }) => table.name === "public.remark")) return;
    await (locked ??= locker.query("BEGIN; LOCK TABLE remark IN ACCESS EXCLUSIVE MODE"));
  });
  await using running = await b.start({ source });
  const seen = new Set<string>();
  await running.until(() => {
    seen.add(running.status()?.baseline?.backingOff ?? "");
    return seen.size > 1 || running.status()?.baseline?.streams.done === 3;
  });
  await locker.query("ROLLBACK");
  await locker.end();
  expect([...seen].join()).toMatch(/the last chunk failed: .*remark.*lock timeout/);
  await running.until(() => running.status()!.phase === "tail");
  await running.reach();
  expect(await running.verify()).toMatchObject({ state: "equal" });
  await running.stop();
});

test("what cannot be read in chunks is read under one snapshot, the rest in chunks, each with its reason", async () => {
  await using b = await chunkBench("default", ROWS);
  await b.sql("DROP INDEX remark_ticket_id_idx");
  const plans: StreamBaseline[] = [];
  const busy = await startTraffic(b, seededRandom(3), ROWS);
  await using running = await b.start({ onBaseline: (all) => void plans.push(...all) });
  await running.until(() => running.status()?.phase === "tail");
  await busy.stop();
  await running.reach();
  expect(plans.map(({ stream, isChunked, why }) => [stream.type, isChunked, why])).toEqual([
    ["customer", true, "as asked for with --baseline chunked"],
    ["parcel", true, "as asked for with --baseline chunked"],
    [
      "ticket",
      false,
      "cannot be read in chunks: public.remark has no index that begins with (ticket_id), so each chunk would read all of it",
    ],
  ]);
  expect(await brokenStreams(b.store, SHAPES)).toEqual([]);
  expect(await running.verify()).toMatchObject({ state: "equal", samples: [] });
  await running.stop();
});

test("a small database is read under one snapshot unless chunks are asked for", async () => {
  await using b = await chunkBench("full", 10);
  const plans: StreamBaseline[] = [];
  await using running = await b.start({
    baseline: "auto",
    onBaseline: (all) => void plans.push(...all),
  });
  await running.reach();
  expect(plans.map(({ isChunked }) => isChunked)).toEqual([false, false, false]);
  expect(plans[0]!.why).toBe("the tables are small");
  expect(running.status()!.baseline).toMatchObject({ mode: "snapshot" });
  await running.stop();
});

test("a stream that joins is read in chunks beside the log of the others", async () => {
  const { ticket, ...others } = STREAMS;
  await using b = await chunkBench("default", ROWS);
  {
    await using first = await b.start({ streams: others });
    await first.until(() => first.status()?.phase === "tail");
    await first.reach();
    await first.stop();
  }
  const busy = await startTraffic(b, seededRandom(5), ROWS);
  await sleep(100);
  await using second = await b.start({ streams: { ...others, ticket: ticket! } });
  await second.until(() => second.status()?.phase === "baseline");
  await second.until(() => second.status()?.phase === "tail");
  await busy.stop();
  await second.reach();
  expect(second.status()!.baseline).toMatchObject({ mode: "chunks" });
  expect(second.status()!.baseline!.chunks).toBeGreaterThan(30);
  expect(await brokenStreams(b.store, SHAPES)).toEqual([]);
  expect(await second.verify()).toMatchObject({ state: "equal", samples: [] });
  await second.stop();
});

describe.each(["full", "default"] as const)("with replica identity %s", (identity) => {
  test("tables that join large streams are read in chunks beside the log, and told once", async () => {
    const { parcel, ticket } = STREAMS;
    const before = {
      ...STREAMS,
      parcel: stream(parcel!.root, { otherwise: "ParcelAmended", truncate: "events" }),
      ticket: stream(ticket!.root, { otherwise: "TicketAmended", truncate: "events" }),
    };
    // So many that the second run is stopped before it has read them.
    await using b = await chunkBench(identity, 2 * ROWS);
    {
      await using first = await b.start({ streams: before });
      await first.until(() => first.status()?.phase === "tail");
      await first.reach();
      await first.stop();
    }
    const seed = Number(process.env["BANYAN_TEST_SEED"] ?? Date.now() % 1_000_000);
    process.stderr.write(`seed ${seed}\n`);
    const busy = await Promise.all(
      [1, 2].map((i) => startTraffic(b, seededRandom(seed * 10 + i), ROWS)),
    );
    await sleep(100);
    const plans: StreamBaseline[] = [];
    const start = (): Promise<LivePipeline> =>
      b.start({ onBaseline: (all) => void plans.push(...all) });
    {
      await using second = await start();
      // Its status tells of the run before at first.
      await second.until(async () =>
        (await b.store.pipeline("chunks"))!.baselines!.some(
          ({ tables, chunksRead }) => tables !== undefined && chunksRead > 2,
        ),
      );
      const asked = ["ticket-3", `ticket-${ROWS - 3}`, "ticket-70"];
      await requestRebaseline(b.store, "chunks", asked, "a test asked for it");
      await second.stop();
    }
    await using third = await start();
    await third.until(() => (third.status()?.baseline?.chunks ?? 0) > 8);
    await despiteDeadlocks(() => b.sql("TRUNCATE remark"));
    await third.until(() => third.status()?.phase === "tail");
    await third.until(async () => {
      const left = await b.store.rebaselineRequests("chunks", "0", 1);
      return left.length === 0;
    });
    for (const one of busy) await one.stop();
    await third.reach();
    expect(plans.slice(0, 2)).toMatchObject([
      { tables: ["public.leg"], isChunked: true },
      { tables: ["public.remark"], isChunked: true },
    ]);
    expect(plans.slice(2).some(({ why }) => why.includes("goes on behind"))).toBe(true);
    expect(third.status()!.baseline).toMatchObject({ mode: "chunks" });
    expect(third.status()!.baseline!.chunks).toBeGreaterThan(10);
    expect(await brokenStreams(b.store, SHAPES)).toEqual([]);
    expect(await third.verify()).toMatchObject({ state: "equal", samples: [] });
    await third.stop();
  });
});

/** The traffic may lock the same in another order, again and again. */
async function despiteDeadlocks(act: () => Promise<void>): Promise<void> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await act();
    } catch (error) {
      if ((error as { code?: string }).code !== "40P01" || attempt === DEADLOCKS_MAX) throw error;
    }
  }
}

test.each(["full", "default"] as const)(
  "tables that are emptied, altered, or changed in huge transactions while chunks are read are told right (%s)",
  async (identity) => {
    await using b = await chunkBench(identity, ROWS);
    const busy = await startTraffic(b, seededRandom(9), ROWS);
    await using running = await b.start({
      limits: {
        batchChangesMax: 1_000,
        batchBytesMax: 16 * 1024 * 1024,
        lingerMs: 0,
        transactionChangesMax: 300,
        transactionBytesMax: 64 * 1024 * 1024,
        idleMs: 50,
      },
    });
    const chunks = (): number => running.status()?.baseline?.chunks ?? 0;
    for (const statement of [
      "UPDATE remark SET n = n + 1",
      "ALTER TABLE ticket ADD more text DEFAULT 'x'",
      "TRUNCATE leg",
      "UPDATE ticket SET n = n + 1, more = 'y' WHERE id % 3 = 0",
      `INSERT INTO leg SELECT i, 'Z', i FROM generate_series(1, 700) i ON CONFLICT DO NOTHING`,
      "TRUNCATE customer, address",
      "UPDATE parcel SET n = n + 1",
    ]) {
      const before = chunks();
      await running.until(() => chunks() > before + 1 || running.status()?.phase === "tail");
      await despiteDeadlocks(() => b.sql(statement));
    }
    await running.until(() => running.status()?.phase === "tail");
    await busy.stop();
    await running.reach();
    expect(await brokenStreams(b.store, SHAPES)).toEqual([]);
    expect(await running.verify()).toMatchObject({ state: "equal", samples: [] });
    await running.stop();
  },
);
