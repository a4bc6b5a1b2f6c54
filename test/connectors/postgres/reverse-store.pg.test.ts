import { expect, test } from "vitest";
import { openTestStore } from "./event-store-fixture.ts";
import { event } from "../../contract/event-batches.ts";
import { reverseStoreContract } from "../../contract/reverse-store.contract.ts";

reverseStoreContract("Postgres", () => openTestStore("reverse_store"));

test("of a type that is complete nothing is written back any more, and that is what is said", async () => {
  await using opened = await openTestStore("reverse_ended");
  await opened.store.append("order-1", [event()], "none");
  await opened.database.query(
    "INSERT INTO banyan.rollouts (pipeline, stream_type, stage, salt) VALUES ('shop', 'order', 'complete', 's')",
  );
  const { reverse } = opened.store;
  expect(await reverse.outcomeOf("shop", "order-1", 1)).toEqual({ outcome: "ended" });
  expect(await reverse.outcomeOf("shop", "orders-1", 1)).toEqual({ outcome: "waiting" });
});
