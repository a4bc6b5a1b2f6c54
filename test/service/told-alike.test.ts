import { expect, test } from "vitest";
import { serviceBench, type STREAMS } from "./service-bench.ts";
import type { Draft, StateOf } from "../../src/service/event-types.ts";
import { requestContext } from "../../src/service/request-context.ts";

/*
 * An event that a service names is, member for member, what the capture would make of the same change:
 * `become` asks the mapper of captured changes itself.
 */

type Order = StateOf<(typeof STREAMS)["order"]>;

const LATER = "2026-03-01T12:00:00.5Z";
const LINE = { order_id: "1", no: 1, sku: "a", price: "5.00" };
const ROW: Order = {
  id: "1",
  status: "placed",
  total: "12.50",
  note: null,
  rating: null,
  details: '{"a": 1}',
  updated_at: "2026-01-31T10:00:00.12Z",
  lines: [LINE],
};

type Events = Awaited<ReturnType<typeof serviceBench>>["orders"]["events"];
type Told = Draft<(typeof STREAMS)["order"]>;

test.each<readonly [string, (events: Events) => Told, Order | undefined]>([
  [
    "OrderPaid",
    ({ OrderPaid }) => OrderPaid({ updated_at: LATER }),
    { ...ROW, status: "paid", updated_at: LATER },
  ],
  ["OrderPaid", ({ OrderPaid }) => OrderPaid(), { ...ROW, status: "paid" }],
  ["OrderNoted", ({ OrderNoted }) => OrderNoted({ note: "x" }), { ...ROW, note: "x" }],
  ["OrderRated", ({ OrderRated }) => OrderRated({ rating: 4 }), { ...ROW, rating: 4 }],
  [
    "LineAdded",
    ({ LineAdded }) => LineAdded({ ...LINE, no: 2 }),
    { ...ROW, lines: [LINE, { ...LINE, no: 2 }] },
  ],
  [
    "LineRepriced",
    ({ LineRepriced }) => LineRepriced({ no: 1, price: "6" }),
    { ...ROW, lines: [{ ...LINE, price: "6.00" }] },
  ],
  ["LineRemoved", ({ LineRemoved }) => LineRemoved({ no: 1 }), { ...ROW, lines: [] }],
  ["OrderDeleted", ({ OrderDeleted }) => OrderDeleted(), undefined],
])("%s is told as it would be captured", async (type, name, next) => {
  const told: unknown[] = [];
  for (const isNamed of [true, false]) {
    const { orders, store } = await serviceBench();
    const first = type === "OrderDeleted" ? { ...ROW, lines: [] } : ROW;
    await orders.create(requestContext({}), () => [orders.events.OrderPlaced(first)], { id: "1" });
    await orders.execute(requestContext({}), "1", () => [
      isNamed ? name(orders.events) : orders.become(next),
    ]);
    for await (const event of store.readStream("order-1", { fromVersion: 2 })) {
      const hasOwnTime = JSON.stringify(event.data).includes(LATER);
      told.push({
        type: event.type,
        data: JSON.stringify(event.data),
        time: hasOwnTime && event.time,
      });
    }
  }
  expect(told).toHaveLength(2);
  expect(told[0]).toEqual(told[1]);
  expect(told[0]).toMatchObject({ type });
});

test("OrderPlaced is told as it would be captured, with its lines", async () => {
  const told: string[] = [];
  for (const isNamed of [true, false]) {
    const { orders, store } = await serviceBench();
    const draft = isNamed ? orders.events.OrderPlaced(ROW) : orders.become(ROW);
    await orders.create(requestContext({}), () => [draft], { id: "1" });
    for await (const { type, data, time } of store.readStream("order-1"))
      told.push(JSON.stringify({ type, data, time }));
  }
  expect(told).toHaveLength(2);
  expect(told[0]).toBe(told[1]);
});
