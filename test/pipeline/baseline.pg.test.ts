import { expect, test } from "vitest";
import { child, stream, table } from "../../src/mapping/rules.ts";
import type { StreamRef } from "../../src/mapping/rules.ts";
import type { ChangeSource } from "../../src/source/change-source.ts";
import { openTestStore } from "../connectors/postgres/event-store-fixture.ts";
import { sourceDatabase } from "../connectors/postgres/source-support.ts";
import { startPipeline, type LivePipelineOptions } from "../support/live-pipeline.ts";

const STREAMS: Readonly<Record<string, StreamRef>> = {
  album: stream(table("album"), {
    children: { tracks: child(table("track"), { album_id: "id" }) },
    validTime: "made_at" as never,
    otherwise: "AlbumAmended",
  }),
  label: stream(table("label"), { otherwise: "LabelAmended" }),
};
const DDL = `
  CREATE TABLE album (id int PRIMARY KEY, title text, made_at timestamptz);
  CREATE TABLE track (id int PRIMARY KEY, album_id int, title text);
  CREATE TABLE label (name text PRIMARY KEY)`;

async function bench(fill: string) {
  const db = await sourceDatabase("baseline", `${DDL};${fill}`, "album, track, label");
  const opened = await openTestStore("baseline_store");
  const options: LivePipelineOptions = {
    name: "music",
    openSource: () => db.open(),
    store: opened.store,
    streams: STREAMS,
  };
  return {
    db,
    store: opened.store,
    options,
    async [Symbol.asyncDispose]() {
      await opened[Symbol.asyncDispose]();
      await db[Symbol.asyncDispose]();
    },
  };
}

test("rows without a root, roots without rows, rows of no root and empty tables are all in it", async () => {
  await using b = await bench(`
    INSERT INTO album VALUES (1, 'one', '2020-01-02 03:04:05Z'), (2, 'two', NULL);
    INSERT INTO track VALUES (1, 1, 'a'), (2, 1, 'b'), (3, 9, 'orphan'), (4, NULL, 'loose'), (5, NULL, 'loose too')`);
  await using pipeline = await startPipeline(b.options);
  await pipeline.reach();
  const { ledger } = (await b.store.pipeline("music"))!;
  expect(ledger).toMatchObject({ baselined: 4, baselineRows: 7, events: 4, changesIn: 0 });
  const { events } = await b.store.readAll(undefined, 100);
  expect(
    events
      .map(({ stream: id, data }): [string, unknown] => [id, data])
      .toSorted(([a], [b]) => (a < b ? -1 : 1)),
  ).toEqual([
    [
      "album-1",
      {
        id: 1,
        title: "one",
        made_at: "2020-01-02T03:04:05Z",
        tracks: expect.anything() as unknown,
      },
    ],
    ["album-2", { id: 2, title: "two", made_at: null, tracks: [] }],
    ["album-9", { $root: null, tracks: [{ id: 3, album_id: 9, title: "orphan" }] }],
    [
      String.raw`album-\0`,
      { $root: null, tracks: expect.objectContaining({ length: 2 }) as unknown },
    ],
  ]);
  expect(events.find((event) => event.stream === "album-1")!.time).toBe(
    "2020-01-02T03:04:05.000000Z",
  );
  expect(await pipeline.verify()).toMatchObject({ state: "equal", compared: 7, present: 7 });
  // The orphan's root comes, a loose row gets one, and one of two loses its own.
  await b.db.query("INSERT INTO album VALUES (9, 'nine', now())");
  await b.db.query("UPDATE track SET album_id = 9 WHERE id = 4");
  await b.db.query("UPDATE track SET album_id = NULL WHERE id = 1");
  await pipeline.reach();
  expect(await pipeline.verify()).toMatchObject({ state: "equal", compared: 8, present: 8 });
});

test("of nothing at all is complete, and history begins there", async () => {
  await using b = await bench("");
  await using pipeline = await startPipeline(b.options);
  await pipeline.reach();
  expect((await b.store.pipeline("music"))!).toMatchObject({
    phase: "tail",
    ledger: { baselined: 0, baselineRows: 0, events: 0 },
  });
  await b.db.query("INSERT INTO label VALUES ('first')");
  await pipeline.reach();
  expect(await pipeline.verify()).toMatchObject({ state: "equal", compared: 1 });
});

test("rows of no root, however many, are told in parts that fit into memory", async () => {
  await using b = await bench(`
    INSERT INTO track SELECT i, NULL, repeat('x', 1000) FROM generate_series(1, 5000) i;
    INSERT INTO album VALUES (1, 'one', NULL)`);
  await using pipeline = await startPipeline(b.options);
  await pipeline.reach();
  const versions: number[] = [];
  const times = new Set<string>();
  for await (const event of b.store.readStream(String.raw`album-\0`)) {
    versions.push(event.version);
    times.add(event.time);
    expect(JSON.stringify(event.data).length).toBeLessThan(2 * 1024 * 1024);
  }
  expect(versions.length).toBeGreaterThan(3);
  expect(versions).toEqual(versions.map((_, i) => i + 1));
  expect(times.size).toBe(1);
  expect((await b.store.pipeline("music"))!.ledger).toMatchObject({
    baselined: 2,
    baselineRows: 5_001,
    events: versions.length + 1,
  });
  await b.db.query("UPDATE track SET title = 'y' WHERE id = 4000");
  await b.db.query("DELETE FROM track WHERE id = 1");
  await pipeline.reach();
  expect(await pipeline.verify()).toMatchObject({ state: "equal", compared: 5_000 });
});

test.each(["TRUNCATE track", "ALTER TABLE track ALTER COLUMN title TYPE bytea USING ''"])(
  "is refused, and leaves nothing, when a table is emptied under it: %s",
  async (statement) => {
    await using b = await bench(
      "INSERT INTO track VALUES (1, 1, 'a'); INSERT INTO album VALUES (1, 'x', NULL)",
    );
    const source = b.db.open();
    const open = source.openBaseline.bind(source);
    const emptied: ChangeSource["openBaseline"] = async (plan, signal) => {
      const snapshot = await open(plan, signal);
      await b.db.query(statement);
      return snapshot;
    };
    Object.assign(source, { openBaseline: emptied });
    const broken = await startPipeline({ ...b.options, openSource: () => source });
    await expect(broken.until(() => false)).rejects.toMatchObject({
      code: "SOURCE_NOT_READY",
      detail: { tables: "public.track" },
    });
    await broken[Symbol.asyncDispose]();
    expect((await b.store.readAll(undefined, 10)).events).toEqual([]);
    await using pipeline = await startPipeline(b.options);
    await pipeline.reach();
    expect(await pipeline.verify()).toMatchObject({ state: "equal" });
  },
);

test("that is stopped in the middle leaves nothing, and the next one begins anew", async () => {
  await using b = await bench("INSERT INTO label SELECT i::text FROM generate_series(1, 20000) i");
  const first = await startPipeline(b.options);
  await first.until(() => (first.status()?.baseline?.rowsRead ?? 0) > 0);
  await first.stop().catch((error: unknown) => expect(error).toMatchObject({ name: "AbortError" }));
  await first[Symbol.asyncDispose]();
  if ((await b.store.pipeline("music"))!.checkpoint === undefined)
    expect((await b.store.readAll(undefined, 10)).events).toEqual([]);
  await using second = await startPipeline(b.options);
  await second.reach();
  expect(await second.verify()).toMatchObject({ state: "equal", compared: 20_000 });
  const { baselined } = (await b.store.pipeline("music"))!.ledger;
  expect(baselined).toBe(20_000);
});
