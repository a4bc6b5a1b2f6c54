import { expect, test } from "vitest";
import { stream, table, type StreamRef } from "../../src/mapping/rules.ts";
import { requestRebaseline, requireStreams } from "../../src/pipeline/rebaseline-plan.ts";
import type { NotReadAnew } from "../../src/pipeline/status.ts";
import type { EventStore } from "../../src/store/event-store.ts";
import { openTestStore } from "../connectors/postgres/event-store-fixture.ts";
import { sourceDatabase } from "../connectors/postgres/source-support.ts";
import { beforeChunks } from "../support/before-chunks.ts";
import { chunkBench, SHAPES, STREAMS, startTraffic } from "../support/chunk-bench.ts";
import { startPipeline, TEST_LIMITS, type LivePipeline } from "../support/live-pipeline.ts";
import { seededRandom } from "../support/seeded-random.ts";
import { brokenStreams } from "../support/unbroken-streams.ts";

const ROWS = 200;
/** Enough for a baseline in chunks to be paused in its midst. */
const MANY_ROWS = 1_500;
/** So long that in a test nothing is ever idle. */
const NEVER_IDLE = { ...TEST_LIMITS, idleMs: 600_000 };

async function untilSettled(running: LivePipeline, store: EventStore, name: string): Promise<void> {
  await running.until(async () => (await store.rebaselineRequests(name, "0", 1)).length === 0);
}

async function typesOf(store: EventStore, id: string): Promise<string[]> {
  const types: string[] = [];
  for await (const { type } of store.readStream(id)) types.push(type);
  return types;
}

test("what cannot be read anew is settled with a note and holds up nothing, also what was asked for before a type left the config", async () => {
  const { parcel: _parcel, ...streams } = STREAMS;
  await using b = await chunkBench("full", ROWS, streams);
  {
    await using first = await b.start({ baseline: "snapshot" });
    await first.reach();
    await first.stop();
  }
  const asked = [
    "ticket-abc",
    "ticket-1",
    "ticket-1,2",
    "ticket-01",
    "parcel-a,1",
    "ticket",
    "customer-1",
    "ticket-99999",
    "ticket-2",
  ];
  await requestRebaseline(b.store, "chunks", asked, "a test asked for it");
  const notes: NotReadAnew[] = [];
  await using running = await b.start({ onNotReadAnew: (note) => void notes.push(note) });
  await untilSettled(running, b.store, "chunks");
  await running.reach();
  const noted = new Map(notes.map(({ stream: id, why }) => [id, why]));
  expect([...noted.keys()].sort()).toEqual(
    asked.filter((id) => id !== "ticket-1" && id !== "ticket-2").sort(),
  );
  expect(noted.get("ticket-abc")).toMatch(/"abc" is not a whole number/);
  expect(noted.get("parcel-a,1")).toBe("the config has no stream type parcel");
  expect(noted.get("ticket-99999")).toBe("neither the source nor the store has anything of it");
  expect(running.status()!.notReadAnew).toEqual(notes);
  for (const id of ["ticket-1", "ticket-2"])
    expect(await typesOf(b.store, id)).toEqual(["TicketBaselined", "TicketHistoryGapped"]);
  for (const id of ["ticket-99999", "ticket-01"]) expect(await typesOf(b.store, id)).toEqual([]);
  expect(await running.verify()).toMatchObject({ state: "equal" });
  await running.stop();
});

test("a mistyped stream is refused when it is asked for, with its place and what is next", async () => {
  await using b = await chunkBench("full", 3);
  await b.store.migrate();
  const options = { source: b.db.open(), store: b.store, streams: STREAMS };
  await requireStreams(options, ["ticket-1", "parcel-a,1", String.raw`ticket-\0`]);
  await expect(
    requireStreams(options, ["ticket-1", "ticket-abc", "parcel-1", "nothing-7"]),
  ).rejects.toMatchObject({
    code: "USAGE",
    message: expect.stringMatching(
      /ticket-abc: .*whole number.*parcel-1: .*nothing-7: /,
    ) as unknown,
    hint: expect.stringContaining("customer-1") as unknown,
  });
});

test("a key that only the source can judge holds up none of those beside it", async () => {
  await using db = await sourceDatabase(
    "visits",
    `CREATE TABLE visit (at timestamp PRIMARY KEY, n int NOT NULL DEFAULT 0);
     ALTER TABLE visit REPLICA IDENTITY FULL;
     INSERT INTO visit SELECT '2026-01-01'::timestamp + i * interval '1 day' FROM generate_series(0, 9) i`,
    "visit",
  );
  await using opened = await openTestStore("visits");
  const streams: Readonly<Record<string, StreamRef>> = {
    visit: stream(table("visit"), { otherwise: "VisitAmended" }),
  };
  const good = Array.from({ length: 9 }, (_, i) => `visit-2026-01-0${i + 1} 00:00:00`);
  const bad = ["visit-soon", "visit-2026-1-3", "visit-2026-99-01 00:00:00"];
  const notes: string[] = [];
  await using running = await startPipeline({
    name: "visits",
    openSource: () => db.open(),
    store: opened.store,
    streams,
    more: { onNotReadAnew: ({ stream: id }) => void notes.push(id) },
  });
  await running.reach();
  await requestRebaseline(opened.store, "visits", [...good, ...bad], "a test asked for it");
  await untilSettled(running, opened.store, "visits");
  expect(notes.sort()).toEqual(bad.sort());
  for (const id of good)
    expect(await typesOf(opened.store, id)).toEqual(["VisitBaselined", "VisitHistoryGapped"]);
  for (const id of bad) expect(await typesOf(opened.store, id)).toEqual([]);
  await running.stop();
});

test("under traffic that never rests streams are read anew, those too that waited for the baseline of their type", async () => {
  await using b = await chunkBench("default", MANY_ROWS);
  await b.store.migrate();
  const busy = await startTraffic(b, seededRandom(8), MANY_ROWS);
  // No more than a few chunks are read before the pause is heard, which may take a moment.
  let goOn!: () => void;
  const isPaused = new Promise<void>((resolve) => (goOn = resolve));
  let opened = 0;
  const source = beforeChunks(b.db.open(), async () => {
    opened += 1;
    if (opened > 3) await isPaused;
  });
  await using running = await b.start({ limits: NEVER_IDLE, source });
  await running.until(() => (running.status()?.baseline?.chunks ?? 0) > 0);
  await b.store.pauseBaseline("chunks", true);
  await running.until(() => running.status()!.baseline!.paused);
  goOn();
  const unfinished = (await b.store.pipeline("chunks"))!.baselines!.filter(({ done }) => !done);
  expect(unfinished.map(({ stream: type }) => type)).toContain("ticket");
  // More than one page.
  const ids = Array.from({ length: ROWS }, (_, i) => i + 1);
  const asked = [...ids.map((id) => `ticket-${id}`), ...ids.map((id) => `ticket-${id + ROWS}`)];
  await requestRebaseline(b.store, "chunks", asked, "a test asked for it");
  await running.reach();
  expect(await b.store.rebaselineRequests("chunks", "0", 1)).toHaveLength(1);
  await b.store.pauseBaseline("chunks", false);
  await untilSettled(running, b.store, "chunks");
  expect(running.status()!.phase).toBe("tail");
  await busy.stop();
  await running.stop();
  await using second = await b.start();
  await second.reach();
  expect(await brokenStreams(b.store, SHAPES)).toEqual([]);
  expect(await second.verify()).toMatchObject({ state: "equal", samples: [] });
  await second.stop();
});

test("a stream that the process died of too often is set aside with a note, and those beside it are read anew", async () => {
  await using b = await chunkBench("default", ROWS);
  {
    await using first = await b.start({ baseline: "snapshot" });
    await first.reach();
    await first.stop();
  }
  const asked = ["ticket-1", "ticket-2", "ticket-3"];
  await requestRebaseline(b.store, "chunks", asked, "a test asked for it");
  const requests = await b.store.rebaselineRequests("chunks", "0", 10);
  const idOf = (id: string): string => requests.find(({ stream: of }) => of === id)!.id;
  for (let n = 0; n < 3; n++) await b.store.noteAttempts([idOf("ticket-2")], 1);
  await b.store.noteAttempts([idOf("ticket-3")], 1);
  const notes: NotReadAnew[] = [];
  await using running = await b.start({ onNotReadAnew: (note) => void notes.push(note) });
  await untilSettled(running, b.store, "chunks");
  expect(notes).toEqual([
    { stream: "ticket-2", why: expect.stringMatching(/died 3 times/) as unknown },
  ]);
  expect(await typesOf(b.store, "ticket-2")).toEqual(["TicketBaselined"]);
  for (const id of ["ticket-1", "ticket-3"])
    expect(await typesOf(b.store, id)).toEqual(["TicketBaselined", "TicketHistoryGapped"]);
  await running.reach();
  expect(await running.verify()).toMatchObject({ state: "equal" });
  await running.stop();
});

test("a failure that is told is no death: what it met is tried again and not set aside", async () => {
  await using b = await chunkBench("default", ROWS);
  {
    await using first = await b.start({ baseline: "snapshot" });
    await first.reach();
    await first.stop();
  }
  await requestRebaseline(b.store, "chunks", ["ticket-1"], "a test asked for it");
  for (let n = 0; n < 4; n++) {
    const source = b.db.open();
    const open = source.openChunks.bind(source);
    // When nothing was staged, and when all was.
    const openChunks: typeof open = (tables) => {
      if (n % 2 === 0) throw new Error("no chunk today");
      const close = (): Promise<void> => Promise.reject(new Error("no chunk today"));
      const reader = open(tables);
      return { open: (signal) => reader.open(signal), close };
    };
    Object.assign(source, { openChunks });
    await using failing = await b.start({ source });
    await expect(failing.until(() => false)).rejects.toThrow("no chunk today");
  }
  expect(await b.store.rebaselineRequests("chunks", "0", 10)).toMatchObject([{ attempts: 0 }]);
  await using running = await b.start();
  await untilSettled(running, b.store, "chunks");
  expect(await typesOf(b.store, "ticket-1")).toEqual(["TicketBaselined", "TicketHistoryGapped"]);
  await running.stop();
});

test("streams of a table that has no index to find their rows by are read by the thousand, and not 200 for each reading of all of it", async () => {
  const { ticket } = STREAMS;
  const streams = { ticket: ticket! };
  const rows = 450;
  for (const index of ["is there", "is missing"]) {
    await using b = await chunkBench("default", rows, streams);
    if (index === "is missing") await b.sql("DROP INDEX remark_ticket_id_idx");
    const source = b.db.open();
    const open = source.openChunks.bind(source);
    let opened = 0;
    const openChunks: typeof open = (tables) => {
      opened += 1;
      return open(tables);
    };
    Object.assign(source, { openChunks });
    await using running = await b.start({ source, baseline: "snapshot" });
    await running.reach();
    const asked = Array.from({ length: rows }, (_, i) => `ticket-${i + 1}`);
    await requestRebaseline(b.store, "chunks", asked, "a test asked for it");
    await untilSettled(running, b.store, "chunks");
    // With it, some at first, and then as many as that has taken little time for.
    expect([index, opened === 1]).toEqual([index, index === "is missing"]);
    await running.reach();
    expect(await brokenStreams(b.store, { ticket: SHAPES["ticket"]! })).toEqual([]);
    expect(await typesOf(b.store, `ticket-${rows}`)).toHaveLength(2);
    expect(await running.verify()).toMatchObject({ state: "equal" });
    await running.stop();
  }
});
