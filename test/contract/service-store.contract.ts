import { randomUUID } from "node:crypto";
import { describe, expect, test } from "vitest";
import { event, streamOf } from "./event-batches.ts";
import type { NewEvent } from "../../src/model/event.ts";
import { bucketOf } from "../../src/rollout/bucket.ts";
import type { Stage } from "../../src/rollout/stage.ts";
import type { EventStore } from "../../src/store/event-store.ts";
import type { Claim, Proposal } from "../../src/store/service-store.ts";

export interface OpenedServiceStore extends AsyncDisposable {
  readonly store: EventStore;
  /** Of the stream type `order` of pipeline `shop`, with salt `s`. */
  moveTo(stage: Stage, share?: number): Promise<void>;
  /** Reserves ids for `order`, or for rows of one of its roles, with the buckets given. */
  reserve(
    name: string,
    ids: readonly { readonly id: string; readonly bucket: number }[],
  ): Promise<void>;
  proposals(): Promise<readonly Proposal[]>;
}

const SALT = "s";

/** What every service store must do. `open` gives an empty store. */
export function serviceStoreContract(name: string, open: () => Promise<OpenedServiceStore>): void {
  describe(`service store contract: ${name}`, () => {
    describe("append", () => appendContract(open));
    describe("claims", () => claimContract(open));
    describe("ids", () => idContract(open));

    test("streams are found by a value that an event of theirs gives a column, the oldest first", async () => {
      await using at = await open();
      const { store } = at;
      const say = async (stream: string, data: Record<string, unknown>): Promise<void> =>
        void (await store.append(stream, [event("Said", data)], "any"));
      await say("order-2", { email: "o'a@x", rating: 7 });
      await say("order-1", { email: "b@x", paid: true });
      await say("orders-1", { email: "o'a@x" });
      await say("order-1", { email: "o'a@x", $was: { email: "b@x" } });
      await say("order-2", { email: null });
      await say("order-3", { note: "o'a@x" });
      const naming = (column: string, value: string, limit = 10) =>
        store.services.streamsNaming("order", column, value, limit);
      expect(await naming("email", "o'a@x")).toEqual(["order-2", "order-1"]);
      expect(await naming("email", "o'a@x", 1)).toEqual(["order-2"]);
      expect(await naming("email", "b@x")).toEqual(["order-1"]);
      expect(await naming("rating", "7")).toEqual(["order-2"]);
      expect(await naming("paid", "true")).toEqual(["order-1"]);
      expect(await naming("email", "null")).toEqual([]);
      expect(await naming("o'ther", "o'a@x")).toEqual([]);
    });

    test("a proposal is kept, and nothing of it is in the stream", async () => {
      await using at = await open();
      const proposal = {
        pipeline: "shop",
        correlationId: randomUUID(),
        stream: "order-1",
        decidedOn: 3,
        events: [{ type: "OrderPaid", data: { id: "1", total: "12.50" } }],
      };
      await at.store.services.propose(proposal);
      await at.store.services.propose({ ...proposal, events: [] });
      const inputs = { "product-a b": 4, "customer-1": 0 };
      await at.store.services.propose({ ...proposal, inputs });
      expect(await at.proposals()).toEqual([
        proposal,
        { ...proposal, events: [] },
        { ...proposal, inputs },
      ]);
      expect(await streamOf(at.store, "order-1")).toEqual([]);
    });
  });
}

function appendContract(open: () => Promise<OpenedServiceStore>): void {
  const to = (stream: string, expected: number, events: readonly NewEvent[] = [event()]) => ({
    pipeline: "shop",
    stream,
    expected,
    mappingVersion: 7,
    events,
  });

  test.each([
    ["legacy", 0, []],
    ["shadow", 0, []],
    ["canary", 0, []],
    ["canary", 3_000, "its buckets"],
    ["new", 0, "all"],
    ["complete", 0, "all"],
  ] as const)("at %s, %i, just what has moved takes events", async (stage, share, which) => {
    await using at = await open();
    await at.moveTo(stage, share);
    const stored: string[] = [];
    const ids = Array.from({ length: 40 }, (_, i) => String(i));
    for (const id of ids) {
      const appended = at.store.services.append(to(`order-${id}`, 0));
      const isStored = await appended.then(
        () => true,
        (error: unknown) => {
          expect(error).toMatchObject({ code: "AUTHORITY_ELSEWHERE", recovery: "retry" });
          return false;
        },
      );
      if (isStored) stored.push(id);
      expect(await streamOf(at.store, `order-${id}`)).toHaveLength(isStored ? 1 : 0);
    }
    const moved = ids.filter(
      (id) => which === "all" || (which === "its buckets" && bucketOf(id, SALT) < share),
    );
    expect(stored).toEqual(moved);
    if (which === "its buckets") expect(moved.length % ids.length).toBeGreaterThan(0);
  });

  test("a stream type that nobody has begun to move takes none, nor one of another migration", async () => {
    await using at = await open();
    await at.moveTo("new");
    for (const wrong of [to("customer-1", 0), { ...to("order-1", 0), pipeline: "other" }]) {
      await expect(at.store.services.append(wrong)).rejects.toMatchObject({
        code: "AUTHORITY_ELSEWHERE",
      });
    }
  });

  test("events are native, have the mapping version and all that was said, and follow one another", async () => {
    await using at = await open();
    await at.moveTo("new");
    const said: NewEvent = {
      id: randomUUID(),
      type: "OrderPaid",
      data: { id: "1", total: "12.50", list: [1, null, "ü"] },
      time: "2026-01-31T10:00:00.123456Z",
      correlationId: "c",
      causationId: "k",
      actor: "Ada",
      metadata: { reason: "first" },
    };
    const { services } = at.store;
    expect(await services.append(to("order-1", 0, [said, event("B")]))).toEqual({
      outcome: "stored",
      firstVersion: 1,
      lastVersion: 2,
    });
    expect(await services.append(to("order-1", 2, [event("C")]))).toMatchObject({
      firstVersion: 3,
    });
    const [first, ...more] = await streamOf(at.store, "order-1");
    expect(first).toMatchObject({ ...said, version: 1, origin: "native", mappingVersion: 7 });
    expect(more.map(({ type, version }) => [type, version])).toEqual([
      ["B", 2],
      ["C", 3],
    ]);
  });

  test("the expected version is really checked, also when many come at once", async () => {
    await using at = await open();
    await at.moveTo("new");
    const { services } = at.store;
    const all = await Promise.allSettled(
      Array.from({ length: 12 }, () => services.append(to("order-1", 0))),
    );
    expect(all.filter(({ status }) => status === "fulfilled")).toHaveLength(1);
    for (const one of all) {
      if (one.status === "rejected")
        expect(one.reason).toMatchObject({ code: "STREAM_VERSION_CONFLICT" });
    }
    for (const expected of [0, 2, 3]) {
      await expect(services.append(to("order-1", expected))).rejects.toMatchObject({
        code: "STREAM_VERSION_CONFLICT",
      });
    }
    expect(await streamOf(at.store, "order-1")).toHaveLength(1);
  });

  test("events that are stored are known, wherever authority has gone, and nothing is stored twice", async () => {
    await using at = await open();
    await at.moveTo("new");
    const events = [event(), event()];
    const { services } = at.store;
    const results = await Promise.all(
      Array.from({ length: 6 }, () => services.append(to("order-1", 0, events))),
    );
    expect(results.map(({ outcome }) => outcome).sort()).toEqual([
      ...Array<string>(5).fill("known"),
      "stored",
    ]);
    await at.moveTo("legacy");
    expect(await services.append(to("order-1", 0, events))).toEqual({ outcome: "known" });
    expect(await services.append(to("order-2", 0, [event(), events[1]!]))).toEqual({
      outcome: "known",
    });
    expect(await services.streamOfEvent(events[1]!.id)).toBe("order-1");
    expect(await services.streamOfEvent(randomUUID())).toBeUndefined();
    expect(await streamOf(at.store, "order-1")).toHaveLength(2);
    expect(await streamOf(at.store, "order-2")).toHaveLength(0);
  });
}

function claimContract(open: () => Promise<OpenedServiceStore>): void {
  const claiming = (
    id: string,
    expected: number,
    claims: readonly Claim[],
    events = [event()],
  ) => ({
    ...{ pipeline: "shop", stream: `order-${id}`, expected, mappingVersion: 7, events },
    claims,
  });
  const email = (value: string | undefined): Claim => ({ column: "email", value });

  test("of many that claim one value at once one is stored, with its events", async () => {
    await using at = await open();
    await at.moveTo("new");
    const { services } = at.store;
    const ids = Array.from({ length: 12 }, (_, i) => String(i));
    const all = await Promise.all(
      ids.map((id) =>
        services.append(claiming(id, 0, [email("a@x"), { column: "no", value: id }])),
      ),
    );
    const stored = ids.filter((_, i) => all[i]!.outcome === "stored");
    expect(stored).toHaveLength(1);
    const by = { stream: `order-${stored[0]}`, column: "email", version: 1 };
    for (const [i, appended] of all.entries()) {
      const isStored = ids[i] === stored[0];
      if (!isStored) expect(appended).toEqual({ outcome: "taken", by });
      expect(await streamOf(at.store, `order-${i}`)).toHaveLength(isStored ? 1 : 0);
    }
    // What was not stored has claimed nothing of its other columns.
    const other = ids.find((id) => id !== stored[0])!;
    const appended = services.append(claiming("99", 0, [{ column: "no", value: other }]));
    expect(await appended).toMatchObject({ outcome: "stored" });
  });

  test("a value is free for others once its stream claims another, or none", async () => {
    await using at = await open();
    await at.moveTo("new");
    const { services } = at.store;
    const outcome = async (id: string, version: number, value: string | undefined) =>
      (await services.append(claiming(id, version, [email(value)]))).outcome;
    expect(await outcome("1", 0, "a@x")).toBe("stored");
    expect(await outcome("1", 1, "a@x")).toBe("stored");
    expect(await outcome("2", 0, "a@x")).toBe("taken");
    expect(await outcome("1", 2, "b@x")).toBe("stored");
    expect(await outcome("2", 0, "a@x")).toBe("stored");
    expect(await outcome("1", 3, "a@x")).toBe("taken");
    expect(await outcome("2", 1, undefined)).toBe("stored");
    expect(await outcome("1", 3, "a@x")).toBe("stored");
    const [other] = [await services.append(claiming("3", 0, [{ column: "no", value: "a@x" }]))];
    expect(other.outcome).toBe("stored");
  });

  test("what is stored already is known, and claims nothing again", async () => {
    await using at = await open();
    await at.moveTo("new");
    const { services } = at.store;
    const first = claiming("1", 0, [email("a@x")]);
    await services.append(first);
    await services.append(claiming("1", 1, [email(undefined)]));
    await services.append(claiming("2", 0, [email("a@x")]));
    expect(await services.append(first)).toEqual({ outcome: "known" });
    await expect(services.append(claiming("1", 7, [email("a@x")]))).rejects.toMatchObject({
      code: "STREAM_VERSION_CONFLICT",
    });
    const appended = await services.append(claiming("1", 2, [email("a@x")]));
    expect(appended).toMatchObject({ outcome: "taken", by: { stream: "order-2" } });
  });

  test("a claim is released by its version, and not when it was made anew", async () => {
    await using at = await open();
    await at.moveTo("new");
    const { services } = at.store;
    await services.append(claiming("1", 0, [email("a@x")]));
    await services.append(claiming("1", 1, [email("a@x")]));
    const held = { stream: "order-1", column: "email" };
    await services.release("shop", { ...held, version: 1 });
    await services.release("other", { ...held, version: 2 });
    const second = claiming("2", 0, [email("a@x")]);
    const by = { ...held, version: 2 };
    expect(await services.append(second)).toEqual({ outcome: "taken", by });
    await services.release("shop", by);
    expect(await services.append(second)).toMatchObject({ outcome: "stored" });
  });
}

function idContract(open: () => Promise<OpenedServiceStore>): void {
  const asked = { pipeline: "shop", streamType: "order", form: "integer" } as const;

  test("a reserved id is given once, and only when its bucket has moved", async () => {
    await using at = await open();
    await at.moveTo("canary", 3_000);
    const ids = Array.from({ length: 20 }, (_, i) => ({
      id: String(9_007_199_254_740_990n + BigInt(i)),
      bucket: i * 500,
    }));
    await at.reserve("order", ids);
    const take = (): Promise<string | undefined> => at.store.services.takeId(asked);
    const taken = await Promise.all(Array.from({ length: 9 }, take));
    const given = taken.filter((id) => id !== undefined);
    expect(given.sort()).toEqual(ids.slice(0, 6).map(({ id }) => id));
    expect(await take()).toBeUndefined();
    await at.moveTo("canary", 3_001);
    expect(await take()).toBe(ids[6]!.id);
    await at.moveTo("new");
    expect(await take()).toBe(ids[7]!.id);
    await at.moveTo("legacy");
    await expect(take()).rejects.toMatchObject({ code: "AUTHORITY_ELSEWHERE" });
  });

  test("an id that was given back is given again, to whom its bucket belongs", async () => {
    await using at = await open();
    const id = "77";
    const bucket = bucketOf(id, SALT);
    await at.moveTo("canary", bucket + 1);
    await at.reserve("order", [{ id, bucket }]);
    await at.reserve("order/shipments", [{ id: "5", bucket: 0 }]);
    const { services } = at.store;
    for (let i = 0; i < 2; i++) {
      expect(await services.takeId(asked)).toBe(id);
      await services.giveBack(asked, id);
      expect(await services.takeId({ ...asked, role: "shipments" })).toBe("5");
      await services.giveBack({ ...asked, role: "shipments" }, "5");
    }
    await at.moveTo("canary", bucket);
    if (bucket > 0) expect(await services.takeId(asked)).toBeUndefined();
    await services.giveBack({ ...asked, form: "uuid" }, randomUUID());
  });

  test("ids of child rows are reserved for themselves", async () => {
    await using at = await open();
    await at.moveTo("canary", 1);
    await at.reserve("order", [{ id: "1", bucket: 0 }]);
    await at.reserve("order/shipments", [{ id: "5", bucket: 0 }]);
    const { services } = at.store;
    expect(await services.takeId({ ...asked, role: "shipments" })).toBe("5");
    expect(await services.takeId({ ...asked, role: "shipments" })).toBeUndefined();
    expect(await services.takeId(asked)).toBe("1");
  });

  test.each([1, 100, 5_000])(
    "a UUID is drawn until its bucket is below a share of %i",
    async (share) => {
      await using at = await open();
      await at.moveTo("canary", share);
      const draw = (): Promise<string | undefined> =>
        at.store.services.takeId({ ...asked, form: "uuid" });
      const ids = await Promise.all([draw(), draw(), draw()]);
      expect(new Set(ids).size).toBe(3);
      for (const id of ids) {
        expect(id).toMatch(/^[0-9a-f-]{36}$/);
        expect(bucketOf(id!, SALT)).toBeLessThan(share);
      }
      await at.moveTo("canary", 0);
      await expect(draw()).rejects.toMatchObject({ code: "AUTHORITY_ELSEWHERE" });
      await at.moveTo("new");
      expect(await draw()).toMatch(/^[0-9a-f-]{36}$/);
    },
  );
}
