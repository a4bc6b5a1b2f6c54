import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, describe, expect, test } from "vitest";
import { requestRebaseline, streamsOfTypes } from "../../src/pipeline/rebaseline-plan.ts";
import { rebaselinePipeline } from "../../src/pipeline/rebaseline.ts";
import type { RecordedEvent } from "../../src/model/event.ts";
import type { EventStore } from "../../src/store/event-store.ts";
import {
  chunkBench,
  SHAPES,
  STREAMS,
  startTraffic,
  type ChunkBench,
} from "../support/chunk-bench.ts";
import { TEST_LIMITS } from "../support/live-pipeline.ts";
import { seededRandom } from "../support/seeded-random.ts";
import { brokenStreams } from "../support/unbroken-streams.ts";

const ROWS = 300;
const never = new AbortController().signal;
const spillDirectory = mkdtempSync(join(tmpdir(), "banyan-rebaseline-"));
afterAll(() => rmSync(spillDirectory, { recursive: true, force: true }));

const yes = (): Promise<boolean> => Promise.resolve(true);

function optionsOf(b: ChunkBench) {
  const source = b.db.open();
  const { store } = b;
  return { name: "chunks", source, store, streams: STREAMS, limits: TEST_LIMITS, spillDirectory };
}

/** Runs the pipeline up to now. */
async function catchUp(b: ChunkBench): Promise<void> {
  await using running = await b.start({ baseline: "snapshot" });
  await running.until(() => running.status()?.phase === "tail");
  await running.reach();
  await running.stop();
}

async function eventsOf(store: EventStore, stream: string): Promise<RecordedEvent[]> {
  const events: RecordedEvent[] = [];
  for await (const event of store.readStream(stream)) events.push(event);
  return events;
}

describe.each(["full", "default"] as const)("with replica identity %s", (identity) => {
  test("after the slot was lost every aggregate says from where its history is not known, and goes on from its rows", async () => {
    await using b = await chunkBench(identity, ROWS);
    // Out of the traffic's reach.
    await b.sql("INSERT INTO ticket VALUES (-7), (-8), (-9); INSERT INTO remark VALUES (-8, -8)");
    await catchUp(b);
    const from = (await b.store.pipeline("chunks"))!.checkpoint!;
    const options = optionsOf(b);
    await expect(rebaselinePipeline(options, yes, never)).rejects.toMatchObject({ code: "USAGE" });
    await b.sql(`SELECT pg_drop_replication_slot('${b.db.slot}')`);
    // What nobody saw.
    await b.sql(`UPDATE ticket SET n = n + 1 WHERE id % 3 = 0;
      DELETE FROM ticket WHERE id IN (-7, -8, 7, 8); DELETE FROM remark WHERE ticket_id IN (-8, 7, 8);
      INSERT INTO ticket VALUES (7000); UPDATE remark SET ticket_id = 1 WHERE id < 20; DELETE FROM leg WHERE id % 2 = 0`);
    const asked: unknown[] = [];
    const no = (plan: unknown): Promise<boolean> => {
      asked.push(plan);
      return Promise.resolve(false);
    };
    expect(await rebaselinePipeline(options, no, never)).toBeUndefined();
    expect(asked).toEqual([
      { from, reason: expect.stringMatching(/^replication slot .* does not exist$/) as unknown },
    ]);
    const busy = await startTraffic(b, seededRandom(11), ROWS);
    const told: number[] = [];
    const onEvents = (aggregates: number): void => void told.push(aggregates);
    const done = (await rebaselinePipeline(options, yes, never, onEvents))!;
    expect(told).toEqual(told.toSorted((a, b) => a - b));
    expect(told.at(-1)).toBe(done.restated + done.gone);
    expect(done.gone).toBeGreaterThanOrEqual(2);
    await using running = await b.start();
    await sleep(500);
    await busy.stop();
    await running.reach();
    expect(await brokenStreams(b.store, SHAPES)).toEqual([]);
    expect(await running.verify()).toMatchObject({ state: "equal", samples: [] });
    const gaps = await eventsOf(b.store, "ticket--9");
    expect(gaps[1]).toMatchObject({
      type: "TicketHistoryGapped",
      version: 2,
      origin: "baseline",
      data: { $gap: { from, to: done.to, isGone: false }, id: -9 },
    });
    const [, gone] = await eventsOf(b.store, "ticket--8");
    expect(gone).toMatchObject({
      type: "TicketHistoryGapped",
      data: { $gap: { isGone: true }, $root: null, remarks: [] },
    });
    expect((await eventsOf(b.store, "ticket-7000"))[0]).toMatchObject({
      type: "TicketHistoryGapped",
      version: 1,
    });
    await running.stop();
    await options.source.close();
  });

  test("streams that are read anew under live traffic tell nothing twice and lose nothing", async () => {
    const seed = Number(process.env["BANYAN_TEST_SEED"] ?? Date.now() % 1_000_000);
    process.stderr.write(`seed ${seed}\n`);
    const random = seededRandom(seed);
    await using b = await chunkBench(identity, ROWS);
    const busy = await Promise.all(
      [1, 2, 3].map((i) => startTraffic(b, seededRandom(seed * 10 + i), ROWS)),
    );
    await using running = await b.start();
    await running.until(() => running.status()?.phase === "tail");
    let restated = 0;
    for (let n = 0; n < 12; n++) {
      const ids = Array.from({ length: 40 }, () => 1 + Math.floor(ROWS * random()));
      const legs = ids.slice(0, 5).map((id) => `parcel-${["a", "B", "ä", "Z", "_"][id % 5]},${id}`);
      const streams = [...ids.map((id) => `ticket-${id}`), ...legs, String.raw`ticket-\0`];
      restated += await requestRebaseline(b.store, "chunks", streams, "a test asked for it");
      expect(await requestRebaseline(b.store, "chunks", streams.slice(0, 3), "again")).toBeLessThan(
        4,
      );
      await running.until(async () => {
        const left = await b.store.rebaselineRequests("chunks", "0", 1);
        return left.length === 0;
      });
    }
    expect(restated).toBeGreaterThan(200);
    for (const one of busy) await one.stop();
    await running.reach();
    expect(await brokenStreams(b.store, SHAPES)).toEqual([]);
    const report = await running.verify();
    expect(report).toMatchObject({ state: "equal", samples: [] });
    // Of three types, of which the traffic leaves at least a third.
    expect(report.present).toBeGreaterThan(ROWS);
    await running.stop();
  });
});

test("differences are gone after their streams were read anew, also those that wait in quarantine and those that only one side has", async () => {
  await using b = await chunkBench("full", ROWS);
  await catchUp(b);
  const publication = `"${b.db.publication.replaceAll('"', '""')}"`;
  await b.sql(`ALTER PUBLICATION ${publication} DROP TABLE ticket`);
  await b.sql(
    "UPDATE ticket SET n = 99 WHERE id = 5; DELETE FROM ticket WHERE id = 6; INSERT INTO ticket VALUES (5000)",
  );
  await b.sql(`ALTER PUBLICATION ${publication} ADD TABLE ticket`);
  {
    await using running = await b.start();
    await running.reach();
    expect(await running.verify()).toMatchObject({ state: "different" });
    await running.stop();
  }
  const options = optionsOf(b);
  const streams = await streamsOfTypes(options, ["ticket"], never);
  expect(streams).toEqual(expect.arrayContaining(["ticket-5", "ticket-6", "ticket-5000"]));
  expect(await requestRebaseline(b.store, "chunks", streams, "differs")).toBe(streams.length);
  await using running = await b.start();
  await running.until(
    async () => (await b.store.rebaselineRequests("chunks", "0", 1)).length === 0,
  );
  await b.sql("UPDATE ticket SET n = n + 1 WHERE id IN (4, 5, 5000)");
  await running.reach();
  expect(await running.verify()).toMatchObject({ state: "equal", samples: [] });
  const { baselinePosition } = (await b.store.pipeline("chunks"))!;
  expect((await eventsOf(b.store, "ticket-5"))[1]!.data).toMatchObject({
    $gap: { from: baselinePosition, reason: "differs", isGone: false },
    n: 99,
  });
  expect((await eventsOf(b.store, "ticket-5")).map(({ type }) => type)).toEqual([
    "TicketBaselined",
    "TicketHistoryGapped",
    "TicketAmended",
  ]);
  await running.stop();
  await options.source.close();
});
