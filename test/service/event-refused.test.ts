import { expect, test } from "vitest";
import { serviceBench } from "./service-bench.ts";
import { streamOf } from "../contract/event-batches.ts";
import type { Draft } from "../../src/service/event-types.ts";
import { requestContext } from "../../src/service/request-context.ts";

/* What the compiler would have said, and what it cannot know: nothing of it is stored. */

const ROW = { id: "1", status: "placed", total: "1.00", updated_at: "2026-01-31T10:00:00Z" };
const of = (type: string, data: object = {}): Draft => ({ type, data: { ...data } });

test.each<readonly [string, RegExp, readonly Draft[]]>([
  [
    "an event that there is not",
    /OrderPayed of order-1: no rule of the config/,
    [of("OrderPayed")],
  ],
  ["the fallback by name", /no rule of the config/, [of("OrderAmended", { total: "1" })]],
  ["a column that there is not", /no column "paid"/, [of("OrderPaid", { paid: true })]],
  [
    "a column that the event does not tell of",
    /does not tell of "total"/,
    [of("OrderPaid", { total: "3" })],
  ],
  [
    "a condition that does not hold",
    /conditions do not hold/,
    [of("OrderPaid", { status: "cancelled" })],
  ],
  ["a change that is none", /nothing changes/, [of("OrderPaid"), of("OrderPaid")]],
  ["another aggregate", /"id" names another aggregate/, [of("OrderPaid", { id: "2" })]],
  ["a row that is there", /such a row already/, [of("OrderPlaced", ROW)]],
  ["a row that is not there", /no such row/, [of("LineRepriced", { no: 7, price: "1" })]],
  ["half a key", /"no" is part of the key and missing/, [of("LineRepriced", { price: "1" })]],
  ["a number for text", /"note" must be text/, [of("OrderNoted", { note: 5 })]],
  ["text for a number", /"rating" must be a whole number/, [of("OrderRated", { rating: "5" })]],
  [
    "too many digits",
    /"price" must be at most 2 digits behind/,
    [of("LineRepriced", { no: 1, price: "1.005" })],
  ],
  [
    "too large a number",
    /"price" must be at most 8 digits before/,
    [of("LineRepriced", { no: 1, price: "123456789" })],
  ],
  [
    "a number that is none",
    /"price" must be a decimal number/,
    [of("LineRepriced", { no: 1, price: "1,5" })],
  ],
  [
    "a time that is none",
    /"updated_at" must be a time/,
    [of("OrderPaid", { updated_at: "2026-01-31 10:00" })],
  ],
  [
    "a time without zone",
    /"updated_at" must be a time/,
    [of("OrderPaid", { updated_at: "2026-01-31T10:00:00" })],
  ],
  ["half a character", /"note" must be text without/, [of("OrderNoted", { note: "\ud800" })]],
  [
    "two rows with one key",
    /two rows of lines/,
    [
      of("OrderDeleted"),
      of("LineRemoved", { no: 1 }),
      of("OrderPlaced", { ...ROW, lines: [1, 2].map(() => ({ no: 1, sku: "a", price: "1" })) }),
    ],
  ],
  ["JSON that is none", /"details" must be JSON/, [{ next: { ...ROW, details: "{", lines: [] } }]],
  [
    "JSON with a number that would change",
    /numbers/,
    [{ next: { ...ROW, details: '{"a":1.50}', lines: [] } }],
  ],
])("%s is refused, and nothing is stored", async (_, message, drafts) => {
  const { orders, store } = await serviceBench();
  const line = { order_id: "1", no: 1, sku: "a", price: "5" };
  await orders.create(
    requestContext({}),
    () => [
      orders.events.OrderPlaced({
        ...(ROW as { id: string; status: "placed"; total: string; updated_at: string }),
        lines: [line],
      }),
    ],
    { id: "1" },
  );
  const refused = orders.execute(requestContext({}), "1", () => drafts as never);
  await expect(refused).rejects.toMatchObject({
    code: "EVENT_REFUSED",
    message: expect.stringMatching(message) as string,
  });
  expect(await streamOf(store, "order-1")).toHaveLength(1);
});

test("a store that has never captured the type says what to run", async () => {
  const { MemoryEventStore } = await import("../../connectors/memory/event-store.ts");
  const { aggregateStore } = await import("../../src/service/aggregate-store.ts");
  const { STREAMS } = await import("./service-bench.ts");
  const orders = aggregateStore(new MemoryEventStore(), "shop", STREAMS).aggregates("order");
  await expect(orders.load("1")).rejects.toMatchObject({
    code: "PIPELINE_UNKNOWN",
    hint: expect.stringContaining("banyan run") as string,
  });
});
