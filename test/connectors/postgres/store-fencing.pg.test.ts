import pg from "pg";
import { expect, test } from "vitest";
import { openTestStore } from "./event-store-fixture.ts";
import { batchOf, position, streamOf, tailing } from "../../contract/event-batches.ts";

const SOURCE = "test://source";
/** Far below the 30 seconds for which a session waits for a lock. */
const QUICK_MS = 8_000;

test("a successor does not wait for a writer that is stuck in its transaction, whatever it had staged", async () => {
  await using opened = await openTestStore("fencing");
  const { store } = opened;
  const old = await store.openCapture("shop", SOURCE);
  await old.stage({
    events: batchOf([{ stream: "order-1", version: 1, type: "Old" }]),
    images: [{ table: "t", key: "1", image: "{}" }],
    parked: [parkedChange()],
  });
  const begunMs = performance.now();
  const next = await store.openCapture("shop", SOURCE);
  await next.stage({
    events: batchOf([{ stream: "order-1", version: 1, type: "New" }]),
    images: [{ table: "t", key: "1", image: '{"new":1}' }],
  });
  await next.commit(tailing(1));
  expect(performance.now() - begunMs).toBeLessThan(QUICK_MS);
  await expect(old.commit(tailing(2))).rejects.toMatchObject({ code: "PIPELINE_FENCED" });
  expect(await next.images("t", ["1"])).toEqual(['{"new":1}']);
  expect((await streamOf(store, "order-1")).map(({ type }) => type)).toEqual(["New"]);
  await Promise.all([old.close(), next.close()]);
});

test("a successor does not wait for a commit that was sent in part", async () => {
  await using opened = await openTestStore("fencing");
  const { store, database } = opened;
  const before = await store.openCapture("shop", SOURCE);
  await before.close();
  // The writer as the server sees it when the network broke between its last statement and its COMMIT.
  const stuck = new pg.Client(database.url);
  stuck.on("error", () => undefined);
  await stuck.connect();
  await stuck.query(
    `UPDATE banyan.pipelines SET writer_pid = a.pid, writer_since = a.backend_start
       FROM pg_stat_activity a WHERE a.pid = pg_backend_pid()`,
  );
  await stuck.query("BEGIN");
  await stuck.query(
    "SELECT banyan.advance_pipeline(id, epoch, 'tail', $1, NULL, '{}', '{1,1,1,1,1,1,1,1,1}') FROM banyan.pipelines",
    [position(7)],
  );
  const begunMs = performance.now();
  const next = await store.openCapture("shop", SOURCE);
  expect(performance.now() - begunMs).toBeLessThan(QUICK_MS);
  expect(next.record).toMatchObject({ epoch: 2, checkpoint: undefined });
  await next.commit(tailing(1));
  await next.close();
  await stuck.end();
});

test("a config that names another source ends nobody's transaction", async () => {
  await using opened = await openTestStore("fencing");
  const { store } = opened;
  const writer = await store.openCapture("shop", SOURCE);
  await writer.commit(tailing(1));
  await writer.stage({
    events: batchOf([{ stream: "order-1", version: 1 }]),
    images: [{ table: "t", key: "1", image: "{}" }],
  });
  await expect(store.openCapture("shop", "test://another")).rejects.toMatchObject({
    code: "SOURCE_CHANGED",
  });
  await writer.commit(tailing(2));
  expect(await streamOf(store, "order-1")).toHaveLength(1);
  await writer.close();
});

test("a writer that is taken over in the middle of a COPY is fenced and leaves nothing", async () => {
  await using opened = await openTestStore("fencing");
  const { store } = opened;
  const many = Array.from({ length: 60_000 }, (_, i) => ({ stream: `order-${i}`, version: 1 }));
  const old = await store.openCapture("shop", SOURCE);
  let staged = 0;
  const staging = (async () => {
    for (; staged < 100; staged++) {
      const events = many.map((one) => ({ ...one, stream: `${one.stream}-${staged}` }));
      await old.stage({ events: batchOf(events) });
    }
  })();
  // Looked at below; it may fail before that.
  staging.catch(() => undefined);
  while (staged < 1) await new Promise((resolve) => setTimeout(resolve, 5));
  const next = await store.openCapture("shop", SOURCE);
  await next.stage({ events: batchOf(many.slice(0, 1_000)) });
  await next.commit(tailing(1));
  await expect(staging).rejects.toMatchObject({ code: "PIPELINE_FENCED" });
  expect(staged).toBeLessThan(100);
  const { rows } = await opened.database.query("SELECT count(*)::int AS n FROM banyan.events");
  expect(rows).toEqual([{ n: 1_000 }]);
  await Promise.all([old.close(), next.close()]);
});

function parkedChange() {
  return {
    stream: "order-9",
    position: position(1),
    sourceTransaction: "1",
    table: "t",
    operation: "update",
    code: "VALUE_UNMAPPABLE",
    reason: "no",
    change: {},
  };
}
