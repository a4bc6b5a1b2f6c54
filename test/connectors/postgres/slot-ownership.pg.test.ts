import { describe, expect, test } from "vitest";
import { openTestStore } from "./event-store-fixture.ts";
import { sourceDatabase, startOf } from "./source-support.ts";
import { BANYAN_TABLE, runUntil } from "./run-support.ts";

const PLAN = { tables: [{ name: "public.item" }] };
const never = new AbortController().signal;

describe("a slot of the configured name that exists before history begins", () => {
  test("is left alone, because it may hold another pipeline's place in the log", async () => {
    await using db = await sourceDatabase("slot owner", BANYAN_TABLE, "item");
    // Another pipeline, which is not running now, with history in a store of its own.
    const position = await startOf(db.open(), PLAN);
    await db.query("INSERT INTO item VALUES (1, 'still to be read')");
    const source = db.open();
    await expect(source.openBaseline(PLAN, never)).rejects.toMatchObject({
      code: "SOURCE_NOT_READY",
      hint: expect.stringContaining("pg_drop_replication_slot") as unknown,
    });
    const stop = new AbortController();
    for await (const group of source.stream(position, stop.signal)) {
      expect(group[0]!.changes).toHaveLength(1);
      stop.abort();
    }
  });

  test("keeps its place when a pipeline with an empty store is pointed at it", async () => {
    await using db = await sourceDatabase("slot owner", BANYAN_TABLE, "item");
    await startOf(db.open(), PLAN);
    const place = async (): Promise<unknown> =>
      (
        await db.query(
          "SELECT confirmed_flush_lsn FROM pg_replication_slots WHERE slot_name = $1",
          [db.slot],
        )
      ).rows[0];
    const before = await place();
    await using opened = await openTestStore("slot_owner_store");
    for (let attempt = 0; attempt < 2; attempt++) {
      await expect(runUntil(db, opened.store, () => true)).rejects.toMatchObject({
        code: "SOURCE_NOT_READY",
      });
    }
    expect(await place()).toEqual(before);
  });
});
