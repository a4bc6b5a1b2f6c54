import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import pg from "pg";
import { afterAll, describe, expect, test } from "vitest";
import type { StreamBaseline } from "../../src/pipeline/baseline-plan.ts";
import type { PipelineOptions } from "../../src/pipeline/pipeline.ts";
import { rebaselinePipeline, type RebaselineResult } from "../../src/pipeline/rebaseline.ts";
import type { RecordedEvent } from "../../src/model/event.ts";
import { NOTHING_MOVED } from "../../src/store/authority.ts";
import type { EventStore } from "../../src/store/event-store.ts";
import {
  chunkBench,
  PACE,
  SHAPES,
  startTraffic,
  STREAMS,
  type ChunkBench,
} from "../support/chunk-bench.ts";
import { TEST_LIMITS } from "../support/live-pipeline.ts";
import { seededRandom } from "../support/seeded-random.ts";
import { brokenStreams } from "../support/unbroken-streams.ts";

const ROWS = 600;
const never = new AbortController().signal;
const spillDirectory = mkdtempSync(join(tmpdir(), "banyan-rebaseline-chunks-"));
afterAll(() => rmSync(spillDirectory, { recursive: true, force: true }));

const yes = (): Promise<boolean> => Promise.resolve(true);

async function rebaseline(
  b: ChunkBench,
  more: Partial<PipelineOptions> = {},
  signal = never,
): Promise<RebaselineResult> {
  const source = b.db.open();
  const pace = { ...PACE, baselineChunkRowsMax: 50 };
  const { store } = b;
  const own = { name: "chunks", source, store, streams: STREAMS, limits: TEST_LIMITS, pace };
  try {
    const options = { ...own, spillDirectory, baseline: "chunked", ...more } as const;
    return (await rebaselinePipeline(options, yes, signal))!;
  } finally {
    await source.close();
  }
}

/** Runs the pipeline up to now, and loses its place. @returns the checkpoint */
async function lose(b: ChunkBench): Promise<string> {
  {
    await using running = await b.start({ baseline: "snapshot" });
    await running.until(() => running.status()?.phase === "tail");
    await running.reach();
    await running.stop();
  }
  const { checkpoint } = (await b.store.pipeline("chunks"))!;
  await b.sql(`SELECT pg_drop_replication_slot('${b.db.slot}')`);
  return checkpoint!;
}

/** What nobody saw: rows that change, move, vanish and come. */
const UNSEEN = `
  UPDATE ticket SET n = n + 1 WHERE id % 3 = 0;
  DELETE FROM remark WHERE ticket_id IN (7, 8, 9, ${ROWS});
  DELETE FROM ticket WHERE id IN (7, 8, 9, ${ROWS});
  INSERT INTO ticket VALUES (7000);
  INSERT INTO remark VALUES (70000, 7000), (70001, NULL);
  UPDATE remark SET ticket_id = 1 WHERE id BETWEEN 20 AND 60;
  UPDATE remark SET n = 5 WHERE id % 4 = 0;
  DELETE FROM customer WHERE id IN (SELECT id FROM customer ORDER BY id LIMIT 40);
  UPDATE parcel SET no = no + 100000 WHERE no % 9 = 0;
  DELETE FROM leg WHERE id % 2 = 0;`;

async function eventsOf(store: EventStore, stream: string): Promise<RecordedEvent[]> {
  const events: RecordedEvent[] = [];
  for await (const event of store.readStream(stream)) events.push(event);
  return events;
}

async function untilChunks(b: ChunkBench, type: string, count: number): Promise<void> {
  for (let n = 0; n < 3_000; n++) {
    const { baselines = [] } = (await b.store.pipeline("chunks"))!;
    const record = baselines.find(({ stream }) => stream === type);
    if ((record?.gap === undefined ? 0 : record.chunksRead) >= count) return;
    await sleep(10);
  }
  throw new Error(`${type} was not read anew`);
}

/**
 * How many aggregates have how many events that tell of a gap; those that have begun since, with what the log
 * told of them, are left out.
 */
async function gapsOf(store: EventStore, type: string): Promise<Record<number, number>> {
  const gaps = new Map<string, number>();
  const begunSince = new Set<string>();
  for await (const events of store.readStreamType(type, never)) {
    for (const { stream, type: is, data, version } of events) {
      const isGap = is.endsWith("HistoryGapped") && !Object.hasOwn(data as object, "$continues");
      gaps.set(stream, (gaps.get(stream) ?? 0) + Number(isGap));
      if (version === 1 && !is.endsWith("Baselined")) begunSince.add(stream);
    }
  }
  const counts: Record<number, number> = {};
  for (const [stream, count] of gaps) {
    if (count === 0 && begunSince.has(stream)) continue;
    counts[count] = (counts[count] ?? 0) + 1;
  }
  return counts;
}

describe.each(["full", "default"] as const)("with replica identity %s", (identity) => {
  test("aggregates are read anew in chunks beside the log, each once, and those that vanished meanwhile are told as gone", async () => {
    const seed = Number(process.env["BANYAN_TEST_SEED"] ?? Date.now() % 1_000_000);
    process.stderr.write(`seed ${seed}\n`);
    await using b = await chunkBench(identity, ROWS);
    // Out of the traffic's reach, and in the first chunk.
    await b.sql("INSERT INTO ticket VALUES (-5), (-6); INSERT INTO remark VALUES (-5, -5)");
    const from = await lose(b);
    await b.sql(`${UNSEEN} DELETE FROM ticket WHERE id < 0; DELETE FROM remark WHERE id = -5`);
    const busy = await Promise.all(
      [1, 2].map((i) => startTraffic(b, seededRandom(seed * 10 + i), ROWS)),
    );
    const told: StreamBaseline[] = [];
    let chunks = 0;
    const going = rebaseline(b, {
      onBaseline: (plans) => void told.push(...plans),
      onProgress: ({ baseline }) => void (chunks = baseline?.chunks ?? 0),
    });
    // One that nobody saw go comes back while others are read, with other children.
    await untilChunks(b, "ticket", 1);
    await b.sql("INSERT INTO ticket VALUES (-5, 88); INSERT INTO remark VALUES (80000, -5)");
    const done = await going;
    expect(chunks).toBeGreaterThan(3 * (ROWS / 50));
    expect(told.filter(({ isChunked }) => isChunked)).toHaveLength(3);
    expect(done).toMatchObject({ from, moved: 0, unfinished: [] });
    expect(done.to > from).toBe(true);
    expect(done.gone).toBeGreaterThan(40);
    await using running = await b.start();
    for (const one of busy) await one.stop();
    await running.reach();
    expect(await brokenStreams(b.store, SHAPES)).toEqual([]);
    expect(await b.store.quarantine.count("chunks")).toBe(0);
    expect(await running.verify()).toMatchObject({ state: "equal", samples: [] });
    let gapped = 0;
    for (const type of Object.keys(STREAMS)) {
      const { 1: once = 0, ...more } = await gapsOf(b.store, type);
      expect(more).toEqual({});
      gapped += once;
    }
    expect(gapped).toBe(done.restated + done.gone);
    const [, gap] = await eventsOf(b.store, "ticket--6");
    expect(gap).toMatchObject({
      type: "TicketHistoryGapped",
      version: 2,
      origin: "baseline",
      data: { $gap: { from }, $root: null, remarks: [] },
    });
    const [, gone, returned] = await eventsOf(b.store, "ticket--5");
    expect(gone!.data).toMatchObject({ $gap: { isGone: true }, $root: null });
    expect(returned).toMatchObject({ type: "TicketAmended", data: { $op: "insert" } });
    await running.stop();
  });
});

test("a place that is lost again in the midst is begun anew: what was reached has its second gap from there, the others one from the first", async () => {
  await using b = await chunkBench("default", ROWS);
  const first = await lose(b);
  await b.sql(UNSEEN);
  const stop = new AbortController();
  const pace = { ...PACE, baselineChunkRowsMax: 5 };
  const going = rebaseline(b, { pace }, stop.signal);
  await untilChunks(b, "ticket", 3);
  // The log tells the one that was reached, and not the other.
  await b.sql("UPDATE ticket SET n = n + 1 WHERE id IN (2, 590)");
  while ((await eventsOf(b.store, "ticket-2")).length < 3) await sleep(5);
  stop.abort();
  const half = await going;
  expect(half.unfinished).toContain("ticket");
  const record = (await b.store.pipeline("chunks"))!;
  expect(record.phase).not.toBe("tail");
  const second = record.checkpoint!;
  await b.sql(`SELECT pg_drop_replication_slot('${b.db.slot}')`);
  await b.sql(
    "UPDATE ticket SET n = n + 1; DELETE FROM ticket WHERE id IN (3, 598); DELETE FROM remark WHERE ticket_id IN (3, 598)",
  );
  const done = await rebaseline(b);
  expect(done).toMatchObject({ from: second, unfinished: [] });
  await using running = await b.start();
  await running.reach();
  expect(await brokenStreams(b.store, SHAPES)).toEqual([]);
  expect(await running.verify()).toMatchObject({ state: "equal", samples: [] });
  const gapsFrom = async (stream: string): Promise<unknown[]> =>
    (await eventsOf(b.store, stream)).flatMap(({ data }) => {
      const { $gap: gap } = data as { $gap?: { from: string; isGone: boolean } };
      return gap === undefined ? [] : [gap.isGone ? `${gap.from} gone` : gap.from];
    });
  expect((await eventsOf(b.store, "ticket-2")).map(({ type }) => type)).toEqual([
    "TicketBaselined",
    "TicketHistoryGapped",
    "TicketAmended",
    "TicketHistoryGapped",
  ]);
  expect(await gapsFrom("ticket-2")).toEqual([first, second]);
  expect(await gapsFrom("ticket-3")).toEqual([first, `${second} gone`]);
  expect(await gapsFrom("ticket-590")).toEqual([first]);
  expect(await gapsFrom("ticket-598")).toEqual([`${first} gone`]);
  expect(await gapsFrom(`ticket-${ROWS}`)).toEqual([`${first} gone`]);
  await running.stop();
});

test.each(["full", "default"] as const)(
  "what has moved stays as its events have it, and what goes back to legacy meanwhile is read anew (%s)",
  async (identity) => {
    await using b = await chunkBench(identity, ROWS);
    const from = await lose(b);
    await b.sql(`${UNSEEN}
      UPDATE ticket SET n = 70 WHERE id IN (10, 400);
      INSERT INTO remark VALUES (80001, 10), (80002, 400);`);
    const moved = new Set(["ticket-7", "ticket-10", "ticket-14", "ticket-400"]);
    let looks = 0;
    const authority = {
      ...NOTHING_MOVED,
      hasMoved: true,
      hasBegun: true,
      isMoved: (stream: string) => moved.has(stream),
      epochOf: (type: string) => {
        // The first is ahead of the first chunk of the type, the second behind all that was read of it.
        if (type === "ticket" && ++looks === 2)
          for (const stream of ["ticket-10", "ticket-400"]) moved.delete(stream);
        return type === "ticket" && looks >= 2 ? 2 : 1;
      },
    };
    const told: StreamBaseline[] = [];
    const onBaseline = (plans: readonly StreamBaseline[]): void => void told.push(...plans);
    const going = rebaseline(b, { authority, onBaseline });
    await untilChunks(b, "ticket", 1);
    await b.sql("UPDATE ticket SET n = n + 1 WHERE id IN (10, 400)");
    const done = await going;
    expect(done).toMatchObject({ unfinished: [], moved: 1 });
    expect(told.filter(({ isChunked }) => isChunked)).toHaveLength(3);
    for (const stream of ["ticket-7", "ticket-14"])
      expect(await eventsOf(b.store, stream)).toHaveLength(1);
    for (const stream of ["ticket-10", "ticket-400"]) {
      const gap = (await eventsOf(b.store, stream))[1]!;
      expect(gap).toMatchObject({ type: "TicketHistoryGapped", data: { $gap: { from } } });
    }
    await using running = await b.start();
    await running.reach();
    expect(await brokenStreams(b.store, SHAPES)).toEqual([]);
    // The service alone knows what became of it.
    const { samples } = await running.verify();
    expect([...new Set(samples.map(({ stream }) => stream))]).toEqual(["ticket-7"]);
    await running.stop();
  },
);

test.each(["full", "default"] as const)(
  "what the service makes while the chunks before are read stays as its events have it, and what legacy made is read (%s)",
  async (identity) => {
    const { ticket } = STREAMS;
    const streams = { ticket: ticket! };
    await using b = await chunkBench(identity, ROWS, streams);
    await lose(b);
    // All new ones fall into buckets that have moved.
    const isMoved = (stream: string): boolean => Number(stream.slice("ticket-".length)) > 9_000;
    const bucketOf = (stream: string): number => (isMoved(stream) ? 7 : 7_000);
    const authority = { ...NOTHING_MOVED, hasMoved: true, hasBegun: true, isMoved, bucketOf };
    const client = new pg.Client({ connectionString: b.storeUrl });
    await client.connect();
    // To which the commit holds it too.
    await client.query(
      `INSERT INTO banyan.rollouts (pipeline, stream_type, stage, share, salt) VALUES ('chunks', 'ticket', 'canary', 5000, 'x')`,
    );
    const going = rebaseline(b, { streams, authority });
    await untilChunks(b, "ticket", 1);
    const decide = (version: number, data: object): Promise<unknown> =>
      client.query(
        `INSERT INTO banyan.events (event_id, time, version, mapping_version, origin, stream_id, type, actor, data)
         SELECT gen_random_uuid(), now(), $1, (SELECT max(version) FROM banyan.mappings), 'native', 'ticket-9001', 'TicketAmended', 'Ada', $2`,
        [version, JSON.stringify({ $row: "ticket", id: 9_001, ...data })],
      );
    await decide(1, { $op: "insert", n: 1 });
    const echo = JSON.stringify({ pipeline: "chunks", stream: "ticket-9001", version: 1 });
    await b.sql(`
      BEGIN;
      SELECT pg_logical_emit_message(true, 'banyan.echo', '${echo}');
      INSERT INTO ticket VALUES (9001, 1);
      COMMIT;
      INSERT INTO ticket VALUES (9002)`);
    // Not in the rows when they are read.
    await decide(2, { $op: "update", n: 2, $was: { n: 1 } });
    await client.end();
    expect(await going).toMatchObject({ unfinished: [], restated: ROWS + 1, moved: 1 });
    const told = await eventsOf(b.store, "ticket-9001");
    expect(told.map(({ origin, data }) => [origin, data["n"]])).toEqual([
      ["native", 1],
      ["native", 2],
    ]);
    expect(await eventsOf(b.store, "ticket-9002")).toMatchObject([{ type: "TicketHistoryGapped" }]);
    expect(await b.store.quarantine.count("chunks")).toBe(0);
  },
);

test("many aggregates that are gone are told in chunks as small as others, with few rows between them", async () => {
  const { ticket } = STREAMS;
  const streams = { ticket: ticket! };
  await using b = await chunkBench("default", ROWS, streams);
  await lose(b);
  await b.sql("DELETE FROM remark WHERE ticket_id > 10; DELETE FROM ticket WHERE id > 10");
  const before = (await b.store.readAll(undefined, 10_000)).events.length;
  const done = await rebaseline(b, { streams });
  expect(done).toMatchObject({ restated: 10, gone: ROWS - 10 });
  expect((await b.store.pipeline("chunks"))!.baselines![0]!.chunksRead).toBeGreaterThan(ROWS / 60);
  const { events } = await b.store.readAll(undefined, 10_000);
  const byPosition = new Map<unknown, number>();
  for (const { sourcePosition } of events.slice(before))
    byPosition.set(sourcePosition, (byPosition.get(sourcePosition) ?? 0) + 1);
  expect(Math.max(...byPosition.values())).toBeLessThanOrEqual(50);
  await using running = await b.start({ streams });
  await running.reach();
  expect(await running.verify()).toMatchObject({ state: "equal", samples: [] });
  await running.stop();
});
