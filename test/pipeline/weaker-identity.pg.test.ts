import { expect, test } from "vitest";
import { child, stream, table, type StreamRef } from "../../src/mapping/rules.ts";
import { requestRebaseline } from "../../src/pipeline/rebaseline-plan.ts";
import type { ChangeSource } from "../../src/source/change-source.ts";
import type { EventStore } from "../../src/store/event-store.ts";
import { openTestStore } from "../connectors/postgres/event-store-fixture.ts";
import { sourceDatabase } from "../connectors/postgres/source-support.ts";
import { chunkBench, PACE, SHAPES, STREAMS } from "../support/chunk-bench.ts";
import { startPipeline, type LivePipeline } from "../support/live-pipeline.ts";
import { brokenStreams, type StreamShape } from "../support/unbroken-streams.ts";

/*
 * The log carries whole old rows when a baseline in chunks begins, and no longer does in its midst: what
 * it then says of a row whose image nobody kept is parked, and never left out or taken for something else.
 */

const ROWS = 1_500;
/** The first of a stream that is parked, and others behind it. */
const MISSING = /BEFORE_IMAGE_MISSING|BEHIND_QUARANTINE/;

/** A source that rests behind some chunks, of whatever type, until it is let go on. */
function restingSource(inner: ChangeSource, chunks: number) {
  let left = chunks;
  let tellReached!: () => void;
  let goOn!: () => void;
  const reached = new Promise<void>((resolve) => (tellReached = resolve));
  const going = new Promise<void>((resolve) => (goOn = resolve));
  const openChunks: ChangeSource["openChunks"] = (tables) => {
    const reader = inner.openChunks(tables);
    return {
      close: () => reader.close(),
      async open(signal) {
        const snapshot = await reader.open(signal);
        const close = async (): Promise<void> => {
          await snapshot.close();
          left -= 1;
          if (left > 0) return;
          tellReached();
          await going;
        };
        return overriding(snapshot, { close });
      },
    };
  };
  return { source: overriding(inner, { openChunks }), reached, goOn };
}

/** The same with some methods of its own. */
function overriding<T extends object>(inner: T, own: Partial<T>): T {
  return new Proxy(inner, {
    get(target, name) {
      const of = name in own ? own : target;
      const value: unknown = Reflect.get(of, name, of);
      return typeof value === "function" ? (value.bind(of) as unknown) : value;
    },
  });
}

/** Of each parked change why it is, and the key of its row. */
async function parkedOf(store: EventStore, pipeline: string): Promise<Map<string, string>> {
  const parked = new Map<string, string>();
  for (const { code, change } of await store.quarantine.list({ pipeline })) {
    const { before, after } = change as Record<"before" | "after", { cells: { id: string } }>;
    parked.set((before ?? after).cells.id, code);
  }
  return parked;
}

/** What is parked and what differs are all that there is, and gone once their streams are read anew. */
async function mendByRebaseline(
  running: LivePipeline,
  store: EventStore,
  name: string,
  type: string,
): Promise<void> {
  const parked = await store.quarantine.streams(name);
  const streams = new Set(parked.map(({ stream: id }) => id));
  for (let i = 1; i <= 20; i++) streams.add(`${type}-${i}`);
  await requestRebaseline(store, name, [...streams], "their old rows are not known");
  await running.until(async () => (await store.rebaselineRequests(name, "0", 1)).length === 0);
  await running.reach();
  expect(await store.quarantine.count(name)).toBe(0);
  expect(await running.verify()).toMatchObject({ state: "equal", samples: [] });
}

test("a table that is made to log keys alone in the midst of a baseline: what is not known is parked, the rest is told", async () => {
  const streams = { ticket: STREAMS["ticket"]! };
  const shapes = { ticket: SHAPES["ticket"]! };
  await using b = await chunkBench("full", ROWS, streams);
  const { source, reached, goOn } = restingSource(b.db.open(), 5);
  await using running = await b.start({ source });
  await Promise.race([reached, running.until(() => false)]);
  await b.sql("ALTER TABLE remark REPLICA IDENTITY DEFAULT");
  // Remark i is of ticket i + 1: told, and not read before the end.
  await b.sql("DELETE FROM remark WHERE id = 3");
  await b.sql("UPDATE remark SET n = n + 1 WHERE id = 5");
  await b.sql("UPDATE remark SET ticket_id = 1499, n = n + 1 WHERE id = 6");
  await b.sql("DELETE FROM remark WHERE id = 1480");
  await b.sql("UPDATE remark SET n = n + 1 WHERE id = 1490");
  // One that came since has an image.
  await b.sql("INSERT INTO remark VALUES (9001, 11), (9002, 12), (9003, 1450)");
  await b.sql("UPDATE remark SET n = n + 1 WHERE id IN (9001, 9003)");
  await b.sql("DELETE FROM remark WHERE id = 9002");
  await running.reach();
  goOn();
  await running.until(() => running.status()?.phase === "tail");
  await running.reach();
  // Those of the last chunks have their images by now.
  await b.sql("UPDATE remark SET n = n + 1 WHERE id BETWEEN 1470 AND 1478");
  await running.reach();
  expect(await brokenStreams(b.store, shapes)).toEqual([]);
  const parked = await parkedOf(b.store, "chunks");
  for (const id of ["3", "5", "6"]) expect(`${id} ${parked.get(id)}`).toMatch(MISSING);
  for (const id of ["9001", "9002", "1471"]) expect([id, parked.get(id)]).toEqual([id, undefined]);
  await mendByRebaseline(running, b.store, "chunks", "ticket");
  expect(await brokenStreams(b.store, shapes)).toEqual([]);
  await running.stop();
});

const DEVICES = `
  CREATE TABLE device (id int PRIMARY KEY, n int NOT NULL DEFAULT 0);
  CREATE TABLE reading (id int, month int, device_id int NOT NULL, n int NOT NULL DEFAULT 0, PRIMARY KEY (id, month)) PARTITION BY LIST (month);
  CREATE TABLE reading_1 PARTITION OF reading FOR VALUES IN (1);
  CREATE INDEX ON reading (device_id);
  INSERT INTO device SELECT i FROM generate_series(1, ${ROWS}) i;
  INSERT INTO reading SELECT i, 1, i FROM generate_series(1, ${ROWS}) i;
  ALTER TABLE device REPLICA IDENTITY FULL;
  ALTER TABLE reading_1 REPLICA IDENTITY FULL;
  ANALYZE;`;
const devices: Readonly<Record<string, StreamRef>> = {
  device: stream(table("device"), {
    children: { readings: child(table("reading"), { device_id: "id" }) },
    otherwise: "DeviceAmended",
  }),
};
const DEVICE_SHAPES: Readonly<Record<string, StreamShape>> = {
  device: { root: "device", keys: { device: ["id"], readings: ["id", "month"] } },
};

// What is sent is marked by the identity of the table, and what is logged is that of the partition.
test.each([
  ["FULL", "a row marked as whole may be a key"],
  ["DEFAULT", "a row marked as a key may be whole"],
])(
  "a partition that is made in the midst of a baseline logs keys alone: what is not known is parked, the rest is told (the table's identity %s: %s)",
  async (identity) => {
    await using db = await sourceDatabase("devices", DEVICES, "device, reading");
    await db.query(`ALTER TABLE reading REPLICA IDENTITY ${identity}`);
    const publication = `"${db.publication.replaceAll('"', '""')}"`;
    await db.query(`ALTER PUBLICATION ${publication} SET (publish_via_partition_root = true)`);
    await using opened = await openTestStore("devices");
    const { store } = opened;
    const { source, reached, goOn } = restingSource(db.open(), 5);
    await using running = await startPipeline({
      name: "devices",
      openSource: () => db.open(),
      store,
      streams: devices,
      more: { source, baseline: "chunked", pace: { ...PACE, baselineChunkRowsMax: 100 } },
    });
    await Promise.race([reached, running.until(() => false)]);
    await db.query("CREATE TABLE reading_2 PARTITION OF reading FOR VALUES IN (2)");
    // Told before anybody knows that images are needed, and of a device that has yet to be read.
    await db.query(
      "INSERT INTO reading VALUES (8001, 2, 1), (8002, 2, 2), (8003, 2, 3), (8004, 2, 1490), (8005, 2, 4)",
    );
    await db.query("UPDATE reading SET n = n + 1 WHERE id = 8001");
    await db.query("DELETE FROM reading WHERE id IN (8002, 8004)");
    await db.query("UPDATE reading SET device_id = 1480, n = n + 1 WHERE id = 8003");
    await running.reach();
    goOn();
    await running.until(() => running.status()?.phase === "tail");
    await running.reach();
    await db.query("UPDATE reading SET n = n + 1 WHERE id IN (10, 20, 8005)");
    await db.query("INSERT INTO reading VALUES (8100, 2, 19)");
    await db.query("UPDATE reading SET n = n + 1 WHERE id = 8100");
    await db.query("DELETE FROM reading WHERE id = 15");
    await running.reach();
    expect(await brokenStreams(store, DEVICE_SHAPES)).toEqual([]);
    const parked = await parkedOf(store, "devices");
    for (const id of ["8001", "8002", "8003"]) expect(`${id} ${parked.get(id)}`).toMatch(MISSING);
    for (const id of ["10", "15", "8100"]) expect([id, parked.get(id)]).toEqual([id, undefined]);
    await mendByRebaseline(running, store, "devices", "device");
    expect(await brokenStreams(store, DEVICE_SHAPES)).toEqual([]);
    await running.stop();
  },
);

test("changes under the names of partitions, which would be told of no table, are refused before a baseline", async () => {
  await using db = await sourceDatabase("devices", DEVICES, "device, reading");
  await using opened = await openTestStore("devices");
  await using running = await startPipeline({
    name: "devices",
    openSource: () => db.open(),
    store: opened.store,
    streams: devices,
    more: { baseline: "chunked", pace: PACE },
  });
  await expect(running.until(() => false)).rejects.toMatchObject({
    message: expect.stringContaining("names instead of the table's") as unknown,
  });
});
