import { expect, test } from "vitest";
import { openTestStore } from "../connectors/postgres/event-store-fixture.ts";
import { sourceDatabase } from "../connectors/postgres/source-support.ts";
import { openCapture } from "../support/pipeline-capture.ts";
import { stream, table } from "../../src/mapping/rules.ts";

const STREAMS = { item: stream(table("item"), { otherwise: "ItemAmended" }) };

test("a baseline of aggregates that the store knows already is refused, and not tried for ever", async () => {
  await using source = await sourceDatabase(
    "occupied",
    "CREATE TABLE item (id int PRIMARY KEY); INSERT INTO item VALUES (1)",
    "item",
  );
  await using opened = await openTestStore("occupied_store");
  const options = { openSource: () => source.open(), store: opened.store, streams: STREAMS };
  await using first = await openCapture({ ...options, name: "first" });
  await first.catchUp();
  await source.query(
    "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE database = current_database()",
  );
  await using second = await openCapture({ ...options, name: "second" });
  await expect(second.catchUp()).rejects.toMatchObject({
    code: "STORE_OCCUPIED",
    recovery: "operator",
  });
  const { events } = await opened.store.readAll(undefined, 10);
  expect(events.map(({ stream: id, version }) => `${id} ${version}`)).toEqual(["item-1 1"]);
});
