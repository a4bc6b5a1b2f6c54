import { expect, test } from "vitest";
import { stream, table } from "../../src/mapping/rules.ts";
import { openTestStore } from "../connectors/postgres/event-store-fixture.ts";
import { sourceDatabase } from "../connectors/postgres/source-support.ts";
import { startPipeline, type LivePipeline } from "../support/live-pipeline.ts";

const STREAMS = { item: stream(table("item"), { otherwise: "ItemAmended" }) };

/**
 * While the log tells old rows itself, nobody asks for the images that Banyan keeps. When it stops to,
 * they are asked for again, and must not be those of long ago.
 */
test.each(["runs", "is started again each time"])(
  "a table that has replica identity full for a while loses no change, as the pipeline %s",
  async (mode) => {
    await using db = await sourceDatabase(
      "identity",
      "CREATE TABLE item (id int PRIMARY KEY, a text, b text); INSERT INTO item VALUES (1, 'x', 'x'), (2, 'x', 'x'), (3, 'x', 'x')",
      "item",
    );
    await using opened = await openTestStore("identity_store");
    const start = (): Promise<LivePipeline> =>
      startPipeline({
        name: "identity",
        openSource: () => db.open(),
        store: opened.store,
        streams: STREAMS,
      });
    let pipeline = await start();
    const step = async (...statements: string[]): Promise<void> => {
      for (const sql of statements) await db.query(sql);
      await pipeline.reach();
      if (mode === "runs") return;
      await pipeline[Symbol.asyncDispose]();
      pipeline = await start();
    };
    await pipeline.reach();
    await step("UPDATE item SET b = 'y' WHERE id = 1");
    await step("ALTER TABLE item REPLICA IDENTITY FULL", "UPDATE item SET a = 'full' WHERE id = 1");
    await step("UPDATE item SET id = 4 WHERE id = 2", "DELETE FROM item WHERE id = 3");
    await step("INSERT INTO item VALUES (3, 'again', 'again')");
    await step("ALTER TABLE item REPLICA IDENTITY DEFAULT");
    // Back to what it was before: to an image of that time nothing changes.
    await step("UPDATE item SET a = 'x' WHERE id = 1");
    await step("UPDATE item SET b = 'z' WHERE id = 4", "DELETE FROM item WHERE id = 3");
    const report = await pipeline.verify();
    expect(report).toMatchObject({ state: "equal", samples: [], compared: 2 });
    const events = [];
    for await (const { data } of opened.store.readStream("item-1")) events.push(data["$was"]);
    expect(events.slice(1)).toEqual([{ b: "x" }, { a: "x" }, { a: "full" }]);
    await pipeline[Symbol.asyncDispose]();
  },
);
