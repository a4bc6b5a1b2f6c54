import { describe, expect, test } from "vitest";
import { serviceBench, STREAMS } from "./service-bench.ts";
import { streamOf } from "../contract/event-batches.ts";
import { BanyanError } from "../../src/model/errors.ts";
import { bucketOf } from "../../src/rollout/bucket.ts";
import { aggregateStore } from "../../src/service/aggregate-store.ts";
import { requestContext } from "../../src/service/request-context.ts";

const NOW = "2026-01-31T10:00:00.123Z";
const PLACED = { status: "placed", total: "12.5", updated_at: NOW } as const;
const live = () => requestContext({});
const shadow = (correlation = "c-1") =>
  requestContext({ "banyan-mode": "shadow", "banyan-correlation": correlation });

type Bench = Awaited<ReturnType<typeof serviceBench>>;

async function placed(bench: Bench, id = "1"): Promise<void> {
  const { orders } = bench;
  await orders.create(
    live(),
    () => [
      orders.events.OrderPlaced({
        id,
        ...PLACED,
        lines: [{ order_id: id, no: 1, sku: "a", price: "5" }],
      }),
    ],
    { id },
  );
}

describe("a decision", () => {
  test("is stored as a captured event would be: whole rows, canonical values, old values, who and why", async () => {
    const bench = await serviceBench();
    await placed(bench);
    const { orders, store } = bench;
    const context = requestContext(
      { "banyan-correlation": "c-1", "idempotency-key": "k-1" },
      { actor: "Ada", reason: "she asked", causationId: "cause" },
    );
    const result = await orders.execute(context, "1", (order, version) => {
      expect(version).toBe(1);
      expect(order).toEqual({
        id: "1",
        status: "placed",
        total: "12.50",
        note: null,
        rating: null,
        details: null,
        updated_at: "2026-01-31T10:00:00.123Z",
        lines: [{ order_id: "1", no: 1, sku: "a", price: "5.00" }],
      });
      return [
        orders.events.OrderPaid({ updated_at: "2026-02-01T00:00:00.100000Z" }),
        orders.events.OrderRated({ rating: 5 }),
        orders.events.LineRepriced({ no: 1, price: "6" }),
      ];
    });
    expect(result).toMatchObject({ outcome: "stored", id: "1", version: 4 });
    expect(result.state).toMatchObject({ status: "paid", rating: 5, lines: [{ price: "6.00" }] });
    const events = await streamOf(store, "order-1");
    expect(events.map(({ type, data, time }) => ({ type, data, time: time.slice(0, 10) }))).toEqual(
      [
        {
          type: "OrderPlaced",
          data: {
            id: "1",
            status: "placed",
            total: "12.50",
            note: null,
            rating: null,
            details: null,
            updated_at: "2026-01-31T10:00:00.123Z",
            lines: [{ order_id: "1", no: 1, sku: "a", price: "5.00" }],
          },
          time: "2026-01-31",
        },
        {
          type: "OrderPaid",
          data: {
            id: "1",
            status: "paid",
            updated_at: "2026-02-01T00:00:00.1Z",
            $was: { status: "placed", updated_at: "2026-01-31T10:00:00.123Z" },
          },
          time: "2026-02-01",
        },
        {
          type: "OrderRated",
          data: { id: "1", $was: { rating: null }, $data: { stars: 5 } },
          time: expect.any(String),
        },
        {
          type: "LineRepriced",
          data: { order_id: "1", no: 1, price: "6.00", $was: { price: "5.00" } },
          time: expect.any(String),
        },
      ],
    );
    expect(events[1]).toMatchObject({
      origin: "native",
      mappingVersion: 1,
      correlationId: "c-1",
      causationId: "cause",
      actor: "Ada",
      metadata: { reason: "she asked" },
    });
    const loaded = await orders.load("1");
    expect(loaded).toEqual({ id: "1", version: 4, state: result.state });
  });

  test("told as the rows that are to be becomes the events of the config's rules", async () => {
    const bench = await serviceBench();
    await placed(bench);
    const { orders } = bench;
    const { events, state } = await orders.execute(live(), "1", (order) => [
      orders.become({
        ...order!,
        status: "paid",
        total: "20",
        details: '{"bb":1,"a":[true]}',
        lines: [{ order_id: "1", no: 2, sku: "b", price: "20" }],
      }),
    ]);
    expect(events).toMatchObject([
      { type: "LineRemoved", data: { no: 1, $was: { sku: "a" } } },
      { type: "OrderPaid", data: { status: "paid", $was: { status: "placed" } } },
      {
        type: "OrderAmended",
        data: {
          $row: "order",
          $op: "update",
          total: "20.00",
          details: '{"a": [true], "bb": 1}',
          $was: { total: "12.50" },
        },
      },
      { type: "LineAdded", data: { no: 2, sku: "b" } },
    ]);
    expect(state).toMatchObject({ total: "20.00", lines: [{ no: 2 }] });
    const gone = await orders.execute(live(), "1", () => [orders.become(undefined)]);
    expect(gone.events.map(({ type }) => type)).toEqual(["LineRemoved", "OrderDeleted"]);
    expect(gone.state).toBeUndefined();
    const anew = await orders.create(
      live(),
      (id) => [
        orders.become({
          id,
          ...PLACED,
          note: null,
          rating: null,
          details: null,
          lines: [{ order_id: id, no: 1, sku: "a", price: "1" }],
        }),
      ],
      { id: "2" },
    );
    expect(anew.events).toMatchObject([{ type: "OrderPlaced", data: { lines: [{ sku: "a" }] } }]);
  });

  test("is made anew when somebody was quicker, and given up after ten times", async () => {
    const bench = await serviceBench();
    await placed(bench);
    const { orders } = bench;
    let decisions = 0;
    const noted = await orders.execute(live(), "1", async (_, version) => {
      decisions += 1;
      if (decisions <= 3) {
        await orders.execute(live(), "1", () => [
          orders.events.OrderNoted({ note: `other ${decisions}` }),
        ]);
      }
      return [orders.events.OrderNoted({ note: `on ${version}` })];
    });
    expect({ decisions, version: noted.version }).toEqual({ decisions: 4, version: 5 });
    let tries = 0;
    const hopeless = orders.execute(live(), "1", async () => {
      tries += 1;
      await orders.execute(live(), "1", () => [orders.events.OrderNoted({ note: `${tries}!` })]);
      return [orders.events.OrderNoted({ note: "mine" })];
    });
    await expect(hopeless).rejects.toMatchObject({ code: "STREAM_VERSION_CONFLICT" });
    expect(tries).toBe(10);
  });

  test("many at once on one aggregate all find their place", async () => {
    const bench = await serviceBench();
    await placed(bench);
    const { orders } = bench;
    const rate = () =>
      orders.execute(live(), "1", (order) => [
        orders.events.OrderRated({ rating: (order!.rating ?? 0) + 1 }),
      ]);
    const results = await Promise.all([rate(), rate(), rate(), rate(), rate()]);
    expect(results.map(({ version }) => version).sort((a, b) => a - b)).toEqual([2, 3, 4, 5, 6]);
    expect((await orders.load("1")).state!.rating).toBe(5);
  });

  test("that nothing happens stores nothing", async () => {
    const bench = await serviceBench();
    await placed(bench);
    expect(await bench.orders.execute(live(), "1", () => [])).toMatchObject({
      outcome: "unchanged",
      version: 1,
    });
  });
});

describe("a command that comes again", () => {
  test("is not decided again: its first result comes back, whatever has happened since", async () => {
    const bench = await serviceBench();
    await placed(bench);
    const { orders, moveTo, store } = bench;
    const again = () => requestContext({ "idempotency-key": "k-1" });
    let decisions = 0;
    const pay = () =>
      orders.execute(again(), "1", () => {
        decisions += 1;
        return [orders.events.OrderPaid(), orders.events.OrderNoted({ note: "paid" })];
      });
    const first = await pay();
    await orders.execute(live(), "1", () => [orders.events.OrderNoted({ note: "later" })]);
    moveTo("legacy");
    const second = await pay();
    expect(second).toEqual({ ...first, outcome: "repeated", events: [] });
    expect(second.state!.note).toBe("paid");
    expect(decisions).toBe(1);
    expect(await streamOf(store, "order-1")).toHaveLength(4);
  });

  test("made several times at once is stored once, a creation too", async () => {
    const bench = await serviceBench();
    const { orders, store } = bench;
    for (let id = 1; id <= 9; id++) store.services.reserve("shop", "order", String(id), 0);
    const create = () =>
      orders.create(requestContext({ "idempotency-key": "k" }), (id) => [
        orders.events.OrderPlaced({ id, ...PLACED }),
      ]);
    const created = await Promise.all([create(), create(), create()]);
    expect(new Set(created.map(({ id }) => id)).size).toBe(1);
    expect(created.map(({ outcome }) => outcome).sort()).toEqual([
      "repeated",
      "repeated",
      "stored",
    ]);
    const { id } = created[0]!;
    const note = () =>
      orders.execute(requestContext({ "idempotency-key": "n" }), id, () => [
        orders.events.OrderNoted({ note: "x" }),
      ]);
    const noted = await Promise.all([note(), note(), note()]);
    expect(noted.map(({ outcome }) => outcome).sort()).toEqual(["repeated", "repeated", "stored"]);
    expect(await streamOf(store, `order-${id}`)).toHaveLength(2);
    const later = await create();
    expect(later).toMatchObject({ outcome: "repeated", id, version: 1 });
    // Those of the two that came too late are given back.
    for (let left = 0; left < 8; left++) expect(await orders.newId(live())).not.toBe(id);
    await expect(orders.newId(live())).rejects.toMatchObject({ code: "RESERVED_IDS_EMPTY" });
  });

  test("is told apart within a request by a word", async () => {
    const bench = await serviceBench();
    await placed(bench);
    const { orders } = bench;
    const context = requestContext({ "idempotency-key": "k" });
    const note = (text: string, command?: string) =>
      orders.execute(
        context,
        "1",
        () => [orders.events.OrderNoted({ note: text })],
        command === undefined ? {} : { command },
      );
    expect((await note("one")).outcome).toBe("stored");
    expect((await note("two")).outcome).toBe("repeated");
    expect((await note("two", "second")).outcome).toBe("stored");
  });
});

test("a creation that is refused gives its id back", async () => {
  const { orders, store } = await serviceBench();
  store.services.reserve("shop", "order", "70");
  for (let i = 0; i < 3; i++) {
    const refused = orders.create(live(), () => {
      throw new Error("no");
    });
    await expect(refused).rejects.toThrow("no");
  }
  expect((await orders.create(live(), () => [])).outcome).toBe("unchanged");
  expect(await orders.newId(live())).toBe("70");
});

describe("authority", () => {
  test("elsewhere means that nothing is stored", async () => {
    const bench = await serviceBench();
    await placed(bench);
    const { orders, moveTo, store } = bench;
    moveTo("canary", bucketOf("1", "s"));
    const note = () => orders.execute(live(), "1", () => [orders.events.OrderNoted({ note: "x" })]);
    await expect(note()).rejects.toMatchObject({ code: "AUTHORITY_ELSEWHERE", recovery: "retry" });
    moveTo("canary", bucketOf("1", "s") + 1);
    expect((await note()).outcome).toBe("stored");
    expect(await streamOf(store, "order-1")).toHaveLength(2);
  });

  test("decides which ids there are for new aggregates", async () => {
    const { orders, opened, moveTo, store } = await serviceBench("canary", 100);
    await expect(orders.newId(live())).rejects.toMatchObject({
      code: "RESERVED_IDS_EMPTY",
      hint: expect.stringContaining("banyan rollout run") as string,
    });
    store.services.reserve("shop", "order", "70", 100);
    store.services.reserve("shop", "order", "71", 99);
    expect(await orders.newId(live())).toBe("71");
    const article = await opened.aggregates("article").newId(live());
    expect(bucketOf(article, "s")).toBeLessThan(100);
    await expect(orders.newRowId(live(), "lines")).rejects.toMatchObject({ code: "EVENT_REFUSED" });
    moveTo("shadow");
    await expect(orders.newId(live())).rejects.toMatchObject({ code: "AUTHORITY_ELSEWHERE" });
    expect(await orders.newId(shadow())).toMatch(/^-\d+$/);
    expect(await opened.aggregates("article").newId(shadow())).toMatch(/^[0-9a-f-]{36}$/);
  });
});

describe("in shadow", () => {
  test("a decision becomes a proposal, with the version it was made on, and so does a refusal", async () => {
    const bench = await serviceBench();
    await placed(bench);
    const { orders, moveTo, store } = bench;
    moveTo("shadow");
    const done = await orders.execute(shadow("c-1"), "1", () => [orders.events.OrderPaid()]);
    expect(done).toMatchObject({ outcome: "proposed", version: 1, state: { status: "paid" } });
    const refused = orders.execute(shadow("c-2"), "1", () => {
      throw new Error("no");
    });
    await expect(refused).rejects.toThrow("no");
    await orders.execute(shadow("c-3"), "1", () => []);
    await orders.refuse(shadow("c-4"), "1");
    await orders.refuse(live(), "1");
    const made = await orders.create(shadow("c-5"), (id) => [
      orders.events.OrderPlaced({ id, ...PLACED }),
    ]);
    expect(made.outcome).toBe("proposed");
    expect(store.dual.proposals.some(({ inputs }) => inputs !== undefined)).toBe(false);
    const looking = shadow("c-6");
    await orders.load("1", looking);
    await orders.load("no such", looking);
    await orders.create(looking, (id) => [orders.events.OrderPlaced({ id, ...PLACED })]);
    await orders.execute(looking, "1", () => []);
    expect(store.dual.proposals.slice(5).map(({ inputs }) => inputs)).toEqual([
      { "order-1": 1, "order-no such": 0 },
      { "order-no such": 0 },
    ]);
    expect(store.dual.proposals.slice(0, 5)).toMatchObject([
      {
        correlationId: "c-1",
        stream: "order-1",
        decidedOn: 1,
        events: [{ type: "OrderPaid", data: { status: "paid" } }],
      },
      { correlationId: "c-2", stream: "order-1", decidedOn: 1, events: [] },
      { correlationId: "c-3", stream: "order-1", decidedOn: 1, events: [] },
      { correlationId: "c-4", stream: "order-1", decidedOn: 1, events: [] },
      {
        correlationId: "c-5",
        stream: `order-${made.id}`,
        decidedOn: 0,
        events: [{ type: "OrderPlaced" }],
      },
    ]);
    expect(await streamOf(store, "order-1")).toHaveLength(1);
    expect((await orders.load("1")).state).toMatchObject({ status: "placed" });
  });
});

describe("effects", () => {
  test("run once, after the events are stored, in order", async () => {
    const bench = await serviceBench();
    await placed(bench);
    const { orders, store } = bench;
    const seen: string[] = [];
    const context = live();
    await context.effects(() => void seen.push("asked before"));
    let decisions = 0;
    await orders.execute(context, "1", async () => {
      decisions += 1;
      await context.effects(async () => {
        seen.push(`mail at ${(await streamOf(store, "order-1")).length}`);
      });
      if (decisions === 1) {
        await orders.execute(live(), "1", () => [orders.events.OrderNoted({ note: "quicker" })]);
      }
      return [orders.events.OrderPaid()];
    });
    await context.effects(() => void seen.push("asked after"));
    expect(seen).toEqual(["asked before", "mail at 3", "asked after"]);
  });

  test("what one throws is told, and makes no second decision of one that is stored", async () => {
    const bench = await serviceBench();
    await placed(bench);
    const { orders, store } = bench;
    const context = live();
    let decisions = 0;
    const executed = orders.execute(context, "1", async () => {
      decisions += 1;
      // As of another aggregate that the effect writes to.
      await context.effects(() =>
        Promise.reject(new BanyanError("STREAM_VERSION_CONFLICT", "another was quicker")),
      );
      return [orders.events.OrderPaid()];
    });
    await expect(executed).rejects.toThrow("another was quicker");
    expect(decisions).toBe(1);
    expect(await streamOf(store, "order-1")).toHaveLength(2);
  });

  test("of two decisions at once would be mixed: the second is refused, the first goes on", async () => {
    const bench = await serviceBench();
    await placed(bench);
    const { orders, store } = bench;
    const context = live();
    const seen: string[] = [];
    const first = orders.execute(context, "1", async () => {
      await context.effects(() => void seen.push("of the first"));
      return [orders.events.OrderPaid()];
    });
    const second = orders.execute(context, "1", () => []);
    await expect(second).rejects.toMatchObject({ code: "SERVICE_REQUEST_INVALID" });
    await first;
    expect(seen).toEqual(["of the first"]);
    expect(await streamOf(store, "order-1")).toHaveLength(2);
    await orders.execute(context, "1", () => [], { command: "another" });
  });

  test.each([
    "in shadow",
    "for a refusal",
    "for what was stored before",
    "when nothing happens",
    "without authority",
  ])("do not run %s", async (why) => {
    const bench = await serviceBench();
    await placed(bench);
    const { orders, moveTo } = bench;
    const context = why === "in shadow" ? shadow() : requestContext({ "idempotency-key": "k" });
    if (why === "for what was stored before") {
      await orders.execute(requestContext({ "idempotency-key": "k" }), "1", () => [
        orders.events.OrderPaid(),
      ]);
    }
    if (why === "without authority") moveTo("legacy");
    let runs = 0;
    await context.effects(() => void (runs += 1));
    await orders
      .execute(context, "1", async () => {
        await context.effects(() => void (runs += 1));
        if (why === "for a refusal") throw new Error("no");
        return why === "when nothing happens" ? [] : [orders.events.OrderPaid()];
      })
      .catch(() => undefined);
    await context.effects(() => void (runs += 1));
    expect(runs).toBe(0);
  });
});

describe("a rule over several aggregates", () => {
  test("knows who has a value now, and tells what it looked at", async () => {
    const bench = await serviceBench();
    const { orders } = bench;
    for (const id of ["1", "2", "3"]) await placed(bench, id);
    const note = (id: string, text: string) =>
      orders.execute(live(), id, () => [orders.events.OrderNoted({ note: text })]);
    await note("1", "it's");
    await note("2", "it's");
    await note("3", "other");
    await note("1", "no more");
    expect(await orders.holders("note", "it's")).toEqual(["2"]);
    await orders.execute(live(), "2", () => [orders.become(undefined)]);
    expect(await orders.holders("note", "it's")).toEqual([]);
    expect(await orders.holders("status", "placed")).toEqual(["1", "3"]);
    expect(await orders.holders("note", "null")).toEqual([]);
    const context = shadow();
    await orders.holders("note", "other", context);
    expect([...context.inputs]).toEqual([["order-3", 2]]);
    await expect(orders.holders("nope" as "note", "x")).rejects.toMatchObject({
      code: "EVENT_REFUSED",
    });
    // Its events have it as stars.
    await expect(orders.holders("rating", "5")).rejects.toThrow(/OrderRated has rating/);
  });

  test("is kept by claims of what an aggregate is given, until it has it no more", async () => {
    const { store, orders: plain } = await serviceBench();
    const orders = aggregateStore(store, "shop", STREAMS).aggregates("order", { unique: ["note"] });
    const place = (id: string, note: string | null, context = live()) =>
      orders.create(context, () => [orders.events.OrderPlaced({ id, ...PLACED, note })], { id });
    const note = (id: string, text: string) =>
      orders.execute(live(), id, () => [orders.events.OrderNoted({ note: text })]);
    const taken = (by: string) => ({
      code: "VALUE_TAKEN",
      detail: { column: "note", stream: `order-${by}` },
    });
    await place("1", "a");
    await place("2", null);
    await place("3", null);
    await expect(note("2", "a")).rejects.toMatchObject(taken("1"));
    expect(await orders.load("2")).toMatchObject({ version: 1, state: { note: null } });
    expect(await place("4", "a", shadow())).toMatchObject({ outcome: "proposed" });
    await note("1", "b");
    await note("2", "a");
    await expect(place("4", "b")).rejects.toMatchObject(taken("1"));
    await orders.execute(live(), "1", () => [orders.become(undefined)]);
    expect(await note("3", "b")).toMatchObject({ outcome: "stored" });
    // As legacy may do while it has authority: nobody has said so to the claims.
    await plain.execute(live(), "3", () => [plain.events.OrderNoted({ note: "c" })]);
    expect(await place("4", "b")).toMatchObject({ outcome: "stored" });
    await expect(note("3", "b")).rejects.toMatchObject(taken("4"));
    await expect(note("3", "é".repeat(501))).rejects.toMatchObject({ code: "EVENT_REFUSED" });
    expect(await note("3", "é".repeat(500))).toMatchObject({ outcome: "stored" });
    const wrong = { unique: ["nope" as "note"] };
    const unknown = aggregateStore(store, "shop", STREAMS).aggregates("order", wrong);
    await expect(unknown.execute(live(), "2", () => [])).rejects.toThrow(/has no column nope/);
  });

  test("of a creation whose value is taken gives the id back", async () => {
    const { store } = await serviceBench();
    const orders = aggregateStore(store, "shop", STREAMS).aggregates("order", { unique: ["note"] });
    store.services.reserve("shop", "order", "7");
    const place = (given?: string) =>
      orders.create(
        live(),
        (id) => [orders.events.OrderPlaced({ id, ...PLACED, note: "a" })],
        given === undefined ? {} : { id: given },
      );
    await place("1");
    await expect(place()).rejects.toMatchObject({ code: "VALUE_TAKEN" });
    expect(await orders.newId(live())).toBe("7");
  });

  test("waits for the legacy rows, not for ever, and in shadow not at all", async () => {
    const bench = await serviceBench();
    const { orders, store } = bench;
    await placed(bench, "1");
    const first = { id: "1", version: 1 };
    const soon = { msMax: 30 };
    expect(await orders.writtenBack(live(), first, soon)).toEqual({ outcome: "waiting" });
    expect(await orders.writtenBack(shadow(), first, soon)).toEqual({ outcome: "written" });
    const { epoch } = await store.reverse.takeOver("shop");
    const { next } = await store.reverse.natives(undefined, 1);
    const late = orders.writtenBack(live(), first);
    await store.reverse.save("shop", epoch, { cursor: next });
    expect(await late).toEqual({ outcome: "written" });
    const paid = await orders.execute(live(), "1", () => [orders.events.OrderPaid()]);
    const refused = { table: "public.orders", key: "1", columns: [], reason: "taken" };
    await store.reverse.save("shop", epoch, {
      conflicts: [{ stream: "order-1", version: 2, ...refused }],
    });
    expect(await orders.writtenBack(live(), paid)).toEqual({
      outcome: "conflict",
      reason: "taken",
    });
    expect(await orders.writtenBack(live(), first)).toEqual({ outcome: "written" });
    const gone = requestContext({}, { signal: AbortSignal.abort() });
    await expect(orders.writtenBack(gone, paid)).rejects.toThrow(/abort/i);
  });
});

describe("the request", () => {
  test("says what it is", () => {
    expect(requestContext({})).toMatchObject({
      mode: "live",
      correlationId: expect.stringMatching(/^[0-9a-f-]{36}$/) as string,
    });
    expect(
      requestContext(
        { "banyan-mode": "shadow", "banyan-correlation": "c", "idempotency-key": "k" },
        { actor: "Ada", reason: "r", metadata: { a: 1 } },
      ),
    ).toMatchObject({
      mode: "shadow",
      correlationId: "c",
      commandId: "k",
      actor: "Ada",
      metadata: { a: 1, reason: "r" },
    });
    for (const headers of [
      { "banyan-mode": "Shadow" },
      { "idempotency-key": "x".repeat(201) },
      { "banyan-correlation": ["a", "b"] },
    ]) {
      expect(() => requestContext(headers)).toThrow(
        expect.objectContaining({ code: "SERVICE_REQUEST_INVALID" }) as Error,
      );
    }
  });
});
