import { expect, test, vi } from "vitest";
import { Shopper, type Wish } from "./shopper.ts";
import { openTwoShops, type LoopName, type TwoShops } from "./two-shops.ts";
import { tellEvent } from "../../src/cli/story.ts";
import type { RecordedEvent } from "../../src/model/event.ts";
import type { Stage } from "../../src/rollout/stage.ts";
import { seededRandom } from "../support/seeded-random.ts";

/*
 * The whole way round on the real shop: what legacy does is captured, what the new shop does is written
 * back, and orders go over and come back in between, while every process is killed and begun again.
 * Whatever happens, rows are the folds, echoes are no events, and nothing waits anywhere.
 */

const ORDERS = 24;
const isNightly = process.env["BANYAN_TEST_BUDGET"] === "nightly";
const GROUPS_PER_STAGE = isNightly ? 40 : 5;
const REQUESTS_PER_GROUP = 5;
vi.setConfig({ testTimeout: isNightly ? 900_000 : 400_000 });

type Random = (below: number) => number;

/**
 * In the order of products: legacy takes stock line by line, and refuses one of two orders that take the same
 * pieces the other way round (a deadlock), which the new shop does not.
 */
function lines(below: Random): readonly object[] {
  const skus = Array.from({ length: 1 + below(3) }, () => `SKU-0000${1 + below(9)}`);
  return skus.sort().map((sku) => ({ sku, quantity: 1 + below(8) }));
}

/** @param into an order that this one may be merged into */
function wishOf(below: Random, n: number, into: string | undefined): Wish {
  const wishes: readonly Wish[] = [
    { method: "PUT", verb: "", body: { lines: lines(below), note: `„${n}“ \\ {"a"}` } },
    { method: "POST", verb: "/pay", body: { cardWorks: below(2) === 0 } },
    { method: "POST", verb: "/pay", body: { cardWorks: true } },
    {
      method: "POST",
      verb: "/ship",
      body: { carrier: "Bote, schnell", parcelsG: [1, below(900)] },
    },
    { method: "POST", verb: "/ship", body: { carrier: "post", parcelsG: [] } },
    { method: "POST", verb: "/deliver" },
    { method: "POST", verb: "/cancel" },
    { method: "POST", verb: "/refund" },
    { method: "POST", verb: "/save" },
    { method: "DELETE", verb: "" },
    ...(into === undefined ? [] : [{ method: "POST", verb: "/merge", body: { into } } as const]),
  ];
  return wishes[below(wishes.length)]!;
}

async function history({ store }: TwoShops, stream: string): Promise<readonly RecordedEvent[]> {
  const events: RecordedEvent[] = [];
  for await (const event of store.readStream(stream)) events.push(event);
  return events;
}

/** Captured events of orders that are stored by now. */
async function captured({ events }: TwoShops): Promise<number> {
  const { rows } = await events.query(
    "SELECT count(*)::int AS n FROM banyan.events WHERE origin = 'capture' AND stream_id LIKE 'order-%'",
  );
  return (rows[0] as { n: number }).n;
}

const PAY: Wish = { method: "POST", verb: "/pay", body: { cardWorks: true } };

/** In each a witness does one thing more, on whichever side it is then. */
const STAGES: readonly {
  readonly stage: Stage;
  readonly share: number;
  readonly killed?: LoopName;
  readonly act?: Wish;
}[] = [
  { stage: "legacy", share: 0, act: PAY },
  { stage: "shadow", share: 0, killed: "capture" },
  { stage: "canary", share: 4_000, killed: "daemon" },
  {
    stage: "new",
    share: 0,
    act: { method: "POST", verb: "/ship", body: { carrier: "post", parcelsG: [2, 3] } },
  },
  { stage: "legacy", share: 0, killed: "daemon", act: { method: "POST", verb: "/deliver" } },
  { stage: "new", share: 0, act: { method: "POST", verb: "/refund" } },
  { stage: "canary", share: 6_000 },
];

test("orders that go over and come back are the same on both sides, whatever is killed meanwhile", async () => {
  const seed = Number(process.env["BANYAN_TEST_SEED"] ?? Date.now() % 1_000_000);
  process.stdout.write(`seed ${seed}\n`);
  const random = seededRandom(seed);
  const below: Random = (n) => Math.floor(random() * n);
  await using shops = await openTwoShops("round_trip", ORDERS);
  const shopper = new Shopper(shops, random);
  const orders = Array.from({ length: ORDERS }, (_, i) => String(i + 1));
  const witness = (await shopper.create({ customerId: "1", lines: lines(below) }))!;
  const one = (): string => orders[below(orders.length)]!;
  let errand: string | undefined;
  let told: readonly string[] = [];

  for (const { stage, share, killed, act } of STAGES) {
    const request = async (n: number): Promise<void> => {
      if (below(4) > 0) {
        const into = stage === "canary" ? undefined : one();
        await shopper.write(one(), wishOf(below, n, into));
        return;
      }
      const id = await shopper.create({ customerId: String(1 + below(6)), lines: lines(below) });
      if (id !== undefined) orders.push(id);
    };
    // What the new service has begun when it loses an order is stored before that, or refused; the client comes again.
    const begun = Array.from({ length: stage === "legacy" ? REQUESTS_PER_GROUP : 0 }, (_, n) =>
      request(n),
    );
    await shops.switchTo(stage, share);
    shopper.moveTo(stage, share);
    await Promise.all(begun);
    const before = await captured(shops);
    // Made on one side, and deleted on the next.
    if (errand !== undefined)
      expect(await shopper.write(errand, { method: "DELETE", verb: "" })).toBe(200);
    errand = (await shopper.create({ customerId: "2", lines: lines(below) }))!;
    expect(await shopper.write(errand, PAY)).toBe(200);
    if (act !== undefined) expect(await shopper.write(witness, act), act.verb).toBe(200);
    for (let group = 0; group < GROUPS_PER_STAGE; group++) {
      if (killed !== undefined && group === 1) {
        await shops.kill(killed);
        shops.start(killed);
      }
      const under = Array.from({ length: REQUESTS_PER_GROUP }, (_, n) => request(n));
      if (group % 2 === 0) under.push(shopper.changePrices(below(2) === 0 ? 1.1 : 0.9));
      // Compared while all of that is on its way.
      if (group === 3) expect(await shops.verify()).toMatchObject({ state: "equal", samples: [] });
      await Promise.all(under);
    }
    await shops.expectInStep();
    if (stage === "new") expect(await captured(shops), "echoes became events").toBe(before);
    const now = (await history(shops, `order-${witness}`)).map(tellEvent);
    expect(now.slice(0, told.length), "what was told before").toEqual(told);
    told = now;
  }

  expect(told.map((text) => text.split("\n")[0]!.replace(/^.{31}/, "")).slice(1)).toEqual([
    "PaymentCaptured  (by shopper)",
    "OrderPaid  (by shopper)",
    "ParcelsShipped  [native]  (by shopper)",
    "OrderShipped  [native]  (by shopper)",
    "ParcelsDelivered  (by shopper)",
    // The interval, which no rule claims.
    "OrderAmended  (by shopper)",
    "OrderDelivered  (by shopper)",
    "OrderRefunded  [native]  (by shopper)",
    "PaymentRefunded  [native]  (by shopper)",
  ]);
  const { rows } = await shops.events.query(
    "SELECT DISTINCT reason FROM banyan.shadow_writes WHERE verdict = 'fail'",
  );
  expect(rows, "verdicts on a service that does the same").toEqual([]);
  const passed = await shops.events.query(
    "SELECT count(*)::int AS n FROM banyan.shadow_writes WHERE verdict = 'pass'",
  );
  expect((passed.rows[0] as { n: number }).n).toBeGreaterThan(0);
  // A stream is looked up anew when somebody else has appended to it.
  expect(shops.said()).not.toContain("STREAM_VERSION_CONFLICT");
  for (const side of ["legacy", "new"])
    for (const what of ["POST /orders", "POST /pay", "DELETE "])
      expect(shopper.did.get(`${side} ${what}`), `${side} ${what}`).toBeGreaterThan(0);
});

test("what legacy cascades into orders that have moved waits in quarantine, and becomes events when they go back", async () => {
  await using shops = await openTwoShops("round_trip_cascade", ORDERS);
  const shopper = new Shopper(shops, seededRandom(1));
  await shops.switchTo("new", 0);
  shopper.moveTo("new", 0);
  const wanted = [{ sku: "SKU-00001", quantity: 1 }];
  const first = (await shopper.create({ customerId: "1", lines: wanted }))!;
  const second = (await shopper.create({ customerId: "1", lines: wanted }))!;
  await shops.expectInStep();

  await shops.source.query("UPDATE products SET sku = 'RENAMED' WHERE sku = 'SKU-00001'");
  await shops.captured();
  const parked = await shops.store.quarantine.list({ pipeline: "shop" });
  expect(new Set(parked.map(({ code }) => code))).toEqual(new Set(["FOREIGN_WRITE"]));
  expect(parked.map(({ stream }) => stream)).toEqual(
    expect.arrayContaining([`order-${first}`, `order-${second}`]),
  );
  expect(await shops.verify()).toMatchObject({ state: "inconclusive" });

  // Other rows of such an order are the new shop's as before; the one that was changed is a conflict.
  await shopper.write(first, { method: "POST", verb: "/pay", body: { cardWorks: true } });
  const lines = [{ sku: "SKU-00002", quantity: 2 }];
  await shopper.write(second, { method: "PUT", verb: "", body: { lines } });
  await shops.writtenBack();
  const status = await shops.store.reverse.status("shop", 5);
  expect(status?.samples).toMatchObject([
    { stream: `order-${second}`, table: "public.order_lines", columns: ["sku"] },
  ]);

  // Legacy's row is set right, so that the decision can be written; the rest goes back with its cascade.
  await shops.source.query(
    `INSERT INTO products SELECT 'SKU-00001', name, price, currency, tags, box_cm, weight_kg, active, details FROM products WHERE sku = 'RENAMED'`,
  );
  await shops.source.query("UPDATE order_lines SET sku = 'SKU-00001' WHERE order_id = $1", [
    second,
  ]);
  await shops.captured();
  await shops.store.reverse.retryConflicts("shop");
  await shops.until("no conflict is left", async () => {
    return (await shops.store.reverse.status("shop", 0))?.conflicts === 0;
  });
  // What was set back is dropped, the change and its way back.
  const { quarantine } = shops.store;
  const waits = async (stream: string): Promise<boolean> =>
    (await quarantine.streams("shop")).some((one) => one.stream === stream);
  await shops.until("what was set back is dropped", async () => {
    await quarantine.decide("shop", `order-${second}`, "skip");
    return !(await waits(`order-${second}`));
  });
  await shops.switchTo("legacy", 0);
  await quarantine.decide("shop", undefined, "retry");
  await shops.until("nothing is parked", async () => (await quarantine.count("shop")) === 0);
  await shops.expectInStep();
  expect(
    (await history(shops, `order-${first}`)).map(({ type, origin }) => `${type} ${origin}`),
  ).toEqual([
    "OrderPlaced native",
    "PaymentCaptured native",
    "OrderPaid native",
    "OrderAmended capture",
  ]);
});
