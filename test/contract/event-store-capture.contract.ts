import { setTimeout as sleep } from "node:timers/promises";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { batchOf, event, position, streamOf, tailing, type OpenedStore } from "./event-batches.ts";
import type {
  BaselineRecord,
  ImageChange,
  Ledger,
  ParkedChange,
} from "../../src/store/event-store.ts";

const SOURCE = "test://source";
const NOTHING = batchOf([]);
/** So often it is looked whether a server has let go of a session, twenty milliseconds apart. */
const LOOKS_MAX = 2_000;

/** What one fenced writer per pipeline must show. */
export function captureContract(open: () => Promise<OpenedStore>): void {
  test("what is staged in several parts is there after the commit, and not before", async () => {
    await using opened = await open();
    const { store } = opened;
    const writer = await store.openCapture("shop", SOURCE);
    await writer.stage({ events: batchOf([{ stream: "order-1", version: 1 }]) });
    await writer.stage({
      events: batchOf([
        { stream: "order-1", version: 2 },
        { stream: "order-2", version: 1 },
      ]),
    });
    expect(await streamOf(store, "order-1")).toEqual([]);
    expect((await store.readAll(undefined, 10)).events).toEqual([]);
    expect(await writer.versions(["order-1", "order-2"])).toEqual([0, 0]);
    expect((await store.pipeline("shop"))!.checkpoint).toBeUndefined();
    await writer.commit(tailing(1));
    expect((await streamOf(store, "order-1")).map(({ version }) => version)).toEqual([1, 2]);
    expect(await writer.versions(["order-2", "order-3", "order-1", "order-1"])).toEqual([
      1, 0, 2, 2,
    ]);
    expect(await writer.versions([])).toEqual([]);
    await writer.close();
  });

  test("the tables of a pipeline are kept by name, with the commit that tells of them", async () => {
    await using opened = await open();
    const { store } = opened;
    const orders = { table: "public.orders", stream: "order", role: "order", since: position(1) };
    const lines = { ...orders, table: "public.lines", role: "lines", seen: "5:9:6,7" };
    const writer = await store.openCapture("shop", SOURCE);
    expect(writer.record.tables).toEqual([]);
    await writer.commit({ ...tailing(1), tables: [orders, lines] });
    expect((await store.pipeline("shop"))!.tables).toEqual([lines, orders]);
    await writer.commit(tailing(2));
    await writer.close();
    const next = await store.openCapture("shop", SOURCE);
    expect(next.record.tables).toEqual([lines, orders]);
    const gone = { ...orders, left: position(3) };
    await next.commit({ ...tailing(3), tables: [gone] });
    expect((await store.pipeline("shop"))!.tables).toEqual([lines, gone]);
    expect((await store.openCapture("other", SOURCE)).record.tables).toEqual([]);
    await next.close();
  });

  test("how far a baseline in chunks has come is kept by stream type, with the commit that tells of it", async () => {
    await using opened = await open();
    const { store } = opened;
    const writer = await store.openCapture("shop", SOURCE);
    expect(writer.record.baselines).toBeUndefined();
    const begun: BaselineRecord = {
      stream: "order",
      position: position(1),
      chunks: [],
      done: false,
      chunksRead: 0,
      rowsRead: 0,
      rowsEstimated: 20,
      bytesRead: 0,
      aggregates: 0,
      events: 0,
    };
    const other = { ...begun, stream: "customer" };
    await writer.commit({ ...tailing(1), baselines: [begun, other] });
    const chunk = { end: ["a", "\\ü"], seen: "5:9:6,7", fence: position(4) };
    const further = { ...begun, told: ["5", ""], chunks: [chunk], chunksRead: 1, rowsRead: 7 };
    await writer.stage({ events: batchOf([{ stream: "order-1", version: 1 }]) });
    await writer.commit({ ...tailing(2), baselines: [further] });
    await writer.stage({ events: batchOf([{ stream: "order-2", version: 1 }]) });
    await writer.rollback();
    await writer.close();
    const next = await store.openCapture("shop", SOURCE);
    const byStream = new Map(next.record.baselines!.map((one) => [one.stream, one]));
    expect([byStream.get("order"), byStream.get("customer")]).toEqual([further, other]);
    const last = { ...further, chunks: [{ seen: "9:9:", fence: position(9) }], done: true };
    await next.commit({ ...tailing(3), baselines: [last] });
    expect((await store.pipeline("shop"))!.baselines).toContainEqual(last);
    await next.close();
  });

  test("a pause of the baseline is asked for by others, and stays through a restart", async () => {
    await using opened = await open();
    const { store } = opened;
    expect(await store.pauseBaseline("shop", true)).toBe(false);
    expect(await store.requests("shop")).toMatchObject({ baselinePaused: false });
    const writer = await store.openCapture("shop", SOURCE);
    expect(await store.pauseBaseline("shop", true)).toBe(true);
    await writer.commit(tailing(1));
    await writer.close();
    await (await store.openCapture("shop", SOURCE)).close();
    expect(await store.requests("shop")).toMatchObject({ baselinePaused: true });
    expect(await store.pauseBaseline("shop", false)).toBe(true);
    expect(await store.requests("shop")).toMatchObject({ baselinePaused: false });
  });

  test("others can tell whether a writer is open, also one that was fenced meanwhile", async () => {
    await using opened = await open();
    const { store } = opened;
    const isCaptured = async (expected: boolean): Promise<void> => {
      // A server needs a moment to let go of a session.
      for (let look = 0; look < LOOKS_MAX; look++) {
        if ((await store.isCaptured("shop")) === expected) return;
        await sleep(20);
      }
      throw new Error(`isCaptured is not ${expected}`);
    };
    expect(await store.isCaptured("shop")).toBe(false);
    const first = await store.openCapture("shop", SOURCE);
    expect(await store.isCaptured("shop")).toBe(true);
    const second = await store.openCapture("shop", SOURCE);
    await first.close();
    expect(await store.isCaptured("shop")).toBe(true);
    await second.close();
    await isCaptured(false);
  });

  test("a pipeline is taken if it is free, and else left to whoever has it", async () => {
    await using opened = await open();
    const { store } = opened;
    const writer = await store.openCapture("shop", SOURCE, "if-free");
    await expect(store.openCapture("shop", SOURCE, "if-free")).rejects.toMatchObject({
      code: "PIPELINE_FENCED",
    });
    // That it was asked for has changed nothing.
    await writer.commit(tailing(1));
    await writer.close();
    for (let look = 0; look < LOOKS_MAX && (await store.isCaptured("shop")); look++)
      await sleep(20);
    await (await store.openCapture("shop", SOURCE, "if-free")).close();
  });

  test("streams to be read anew are asked for once, and settled with the commit of their events", async () => {
    await using opened = await open();
    const { store } = opened;
    expect(await store.requestRebaseline("shop", ["order-1"], "why")).toBe(0);
    const writer = await store.openCapture("shop", SOURCE);
    const { quarantineGeneration: before } = await writer.commit(tailing(1));
    const asked = ["order-2", "order-1", "order-2", String.raw`order-a\,b`];
    expect(await store.requestRebaseline("shop", asked, "why")).toBe(3);
    expect(await store.requestRebaseline("shop", ["order-1"], "again")).toBe(0);
    const { quarantineGeneration: after } = await writer.commit(tailing(2));
    expect(after).toBeGreaterThan(before);
    const all = await store.rebaselineRequests("shop", "0", 10);
    expect(all.map(({ stream }) => stream).sort()).toEqual(asked.slice(1).sort());
    expect(all.map(({ reason }) => reason)).toEqual(["why", "why", "why"]);
    const [first, second] = await store.rebaselineRequests("shop", "0", 2);
    expect(await store.rebaselineRequests("shop", first!.id, 1)).toEqual([second]);
    expect(await store.rebaselineRequests("other", "0", 10)).toEqual([]);
    const rebaselined = { ids: [first!.id, second!.id], seen: "5:9:6,7", fence: position(5) };
    await writer.stage({ events: NOTHING, rebaselined });
    await writer.rollback();
    expect(await store.rebaselineRequests("shop", "0", 10)).toHaveLength(3);
    await writer.stage({ events: NOTHING, rebaselined });
    await writer.commit(tailing(3));
    expect(await store.rebaselineRequests("shop", "0", 10)).toHaveLength(1);
    const done = await store.rebaselined("shop", position(4));
    expect(done.flatMap(({ streams }) => streams).sort()).toEqual(
      [first!.stream, second!.stream].sort(),
    );
    expect(done[0]).toMatchObject({ seen: "5:9:6,7", fence: position(5) });
    expect(await store.rebaselined("shop", position(5))).toEqual([]);
    expect(await store.requestRebaseline("shop", [first!.stream], "once more")).toBe(1);
    const ids = (await store.rebaselineRequests("shop", "0", 10)).map(({ id }) => Number(id));
    const last = `${Math.max(...ids)}`;
    expect(await store.rebaselineTally("shop", "0")).toEqual({ last, waiting: 2, readAnew: 2 });
    const behind = { last, waiting: 2, readAnew: 1 };
    expect(await store.rebaselineTally("shop", first!.id)).toEqual(behind);
    await store.withdrawRebaselines("shop", [first!.stream]);
    expect(await store.rebaselineTally("shop", first!.id)).toEqual({ ...behind, waiting: 1 });
    expect(await store.rebaselineTally("shop", last)).toEqual({ last, waiting: 0, readAnew: 0 });
    expect(await store.rebaselineTally("other", "7")).toEqual({
      last: "7",
      waiting: 0,
      readAnew: 0,
    });
    await writer.close();
  });

  test("how often requests were begun is noted at once, and what is taken back is asked for no more", async () => {
    await using opened = await open();
    const { store } = opened;
    const writer = await store.openCapture("shop", SOURCE);
    await writer.commit(tailing(1));
    await store.requestRebaseline("shop", ["order-1", "order-2", "order-3"], "why");
    const attemptsOf = async (): Promise<Record<string, number>> => {
      const requests = await store.rebaselineRequests("shop", "0", 10);
      return Object.fromEntries(requests.map(({ stream, attempts }) => [stream, attempts]));
    };
    expect(await attemptsOf()).toEqual({ "order-1": 0, "order-2": 0, "order-3": 0 });
    const ids = (await store.rebaselineRequests("shop", "0", 2)).map(({ id }) => id);
    const [first, second] = await store.rebaselineRequests("shop", "0", 2);
    await store.noteAttempts(ids, 1);
    await store.noteAttempts([first!.id], 1);
    await store.noteAttempts([second!.id], -1);
    await store.noteAttempts([second!.id], -1);
    const all = { "order-1": 0, "order-2": 0, "order-3": 0 };
    expect(await attemptsOf()).toEqual({ ...all, [first!.stream]: 2 });
    expect(await store.withdrawRebaselines("other")).toBe(0);
    expect(await store.withdrawRebaselines("shop", [first!.stream, "order-9"])).toBe(1);
    expect(await attemptsOf()).not.toHaveProperty(first!.stream);
    expect(await store.withdrawRebaselines("shop")).toBe(2);
    expect(await attemptsOf()).toEqual({});
    expect(await store.rebaselined("shop", position(0))).toEqual([]);
    // Asked for once more it has died of nothing.
    expect(await store.requestRebaseline("shop", [first!.stream], "once more")).toBe(1);
    expect(await attemptsOf()).toEqual({ [first!.stream]: 0 });
    await writer.close();
  });

  test("streams that cannot be read anew are settled without anything being told of them", async () => {
    await using opened = await open();
    const { store } = opened;
    const writer = await store.openCapture("shop", SOURCE);
    await writer.commit(tailing(1));
    await store.requestRebaseline("shop", ["order-1", "order-x"], "why");
    const requests = await store.rebaselineRequests("shop", "0", 10);
    const refused = requests.flatMap(({ id, stream }) => (stream === "order-x" ? [id] : []));
    await writer.stage({ events: NOTHING, refused });
    await writer.rollback();
    expect(await store.rebaselineRequests("shop", "0", 10)).toHaveLength(2);
    await writer.stage({ events: NOTHING, refused });
    await writer.commit(tailing(2));
    const left = await store.rebaselineRequests("shop", "0", 10);
    expect(left.map(({ stream }) => stream)).toEqual(["order-1"]);
    expect(await store.rebaselined("shop", position(0))).toEqual([]);
    await writer.close();
  });

  test("images that are only missing replace none, neither a committed nor a staged one", async () => {
    await using opened = await open();
    const writer = await opened.store.openCapture("shop", SOURCE);
    const image = (key: string, text: string) => ({ table: "t", key, image: text });
    await writer.stage({ events: NOTHING, newImages: [image("1", "first")] });
    await writer.commit(tailing(1));
    await writer.stage({ events: NOTHING, images: [image("2", "staged")] });
    const many = Array.from({ length: 12_000 }, (_, i) => image(`many ${i}`, "new"));
    const missing = [image("1", "late"), image("2", "late"), image("3", "late"), ...many];
    await writer.stage({ events: NOTHING, missingImages: missing });
    await writer.commit(tailing(2));
    expect(await writer.images("t", ["1", "2", "3", "many 11999"])).toEqual([
      "first",
      "staged",
      "late",
      "new",
    ]);
    await writer.close();
  });

  test("images of rows that had none are there for later stages, as any others", async () => {
    await using opened = await open();
    const { store } = opened;
    const writer = await store.openCapture("shop", SOURCE);
    const image = (key: string, text: string) => ({ table: "t", key, image: text });
    const events = batchOf([{ stream: "order-1", version: 1 }]);
    await writer.stage({ events, newImages: [image("1", '{"ä":"🌳"}'), image("2", "{}")] });
    expect(await writer.images("t", ["2", "3", "1"])).toEqual(["{}", undefined, '{"ä":"🌳"}']);
    await writer.stage({ events: NOTHING, images: [{ table: "t", key: "2", image: undefined }] });
    await writer.commit(tailing(1));
    await writer.stage({ events: NOTHING, newImages: [image("4", "{}")] });
    await writer.rollback();
    expect(await writer.images("t", ["1", "2", "4"])).toEqual(['{"ä":"🌳"}', undefined, undefined]);
    await writer.close();
  });

  test("images of a table are forgotten some at a time, with the commit, and of no other table", async () => {
    await using opened = await open();
    const { store } = opened;
    const writer = await store.openCapture("shop", SOURCE);
    const other = await store.openCapture("other", SOURCE);
    const image = (key: string, table = "t") => ({ table, key, image: "{}" });
    const newImages = [..."cabz".split("").map((key) => image(key)), image("é"), image("a", "u")];
    await writer.stage({ events: NOTHING, newImages });
    await writer.commit(tailing(1));
    await other.stage({ events: NOTHING, newImages: [image("a")] });
    await other.commit(tailing(1));
    const all = ["a", "b", "c", "z", "é"];
    const left = async (): Promise<readonly string[]> => {
      const found = await writer.images("t", all);
      return all.filter((_, i) => found[i] !== undefined);
    };
    expect(await writer.forgetImages("t", undefined, 2)).toBe("b");
    await writer.rollback();
    expect(await left()).toEqual(all);
    expect(await writer.forgetImages("t", undefined, 2)).toBe("b");
    await writer.commit(tailing(2));
    expect(await left()).toEqual(["c", "z", "é"]);
    expect(await writer.forgetImages("t", "b", 2)).toBe("z");
    expect(await writer.forgetImages("t", "z", 2)).toBeUndefined();
    expect(await writer.forgetImages("none", undefined, 2)).toBeUndefined();
    await writer.commit(tailing(3));
    expect(await left()).toEqual([]);
    expect(await writer.images("u", ["a"])).toEqual(["{}"]);
    expect(await other.images("t", ["a"])).toEqual(["{}"]);
    await writer.close();
    await other.close();
  });

  test("images of a table that was renamed are found under its new name, with the commit, in place of what was there", async () => {
    await using opened = await open();
    const { store } = opened;
    const writer = await store.openCapture("shop", SOURCE);
    const other = await store.openCapture("other", SOURCE);
    const image = (table: string, key: string, text: string) => ({ table, key, image: text });
    const newImages = [image("t", "1", "{}"), image("u", "1", "old"), image("u", "2", "old")];
    await writer.stage({ events: NOTHING, newImages: [...newImages, image("t2", "1", "apart")] });
    await writer.commit(tailing(1));
    await other.stage({ events: NOTHING, newImages: [image("t", "1", "others")] });
    await other.commit(tailing(1));
    await writer.commit({ ...tailing(2), renamed: [{ from: "t", to: "u" }] });
    expect(await writer.images("t", ["1"])).toEqual([undefined]);
    expect(await writer.images("u", ["1", "2"])).toEqual(["{}", undefined]);
    expect(await writer.images("t2", ["1"])).toEqual(["apart"]);
    expect(await other.images("t", ["1"])).toEqual(["others"]);
    const exchanged = [
      { from: "u", to: "t2" },
      { from: "t2", to: "u" },
    ];
    await writer.commit({ ...tailing(3), renamed: exchanged });
    expect(await writer.images("u", ["1"])).toEqual(["apart"]);
    expect(await writer.images("t2", ["1"])).toEqual(["{}"]);
    await writer.close();
    await other.close();
  });

  test("the streams of a type are listed by id, a page at a time, with whether any event was captured", async () => {
    await using opened = await open();
    const { store } = opened;
    const writer = await store.openCapture("shop", SOURCE);
    const captured = ["order-2", "order-10", "order-1", "order-é", "order-", "orders-1", "orde-1"];
    await writer.stage({
      events: batchOf(
        [...captured, "order-1"].map((stream, i) => ({
          stream,
          version: i < captured.length ? 1 : 2,
          context: { mappingVersion: 1 },
        })),
      ),
    });
    await writer.commit(tailing(1));
    await store.append("order-10", [event()], "any");
    await store.append("order-native", [event()], "none");
    const told: string[] = [];
    let after: string | undefined;
    for (let page = 0; page < 9; page++) {
      const some = await store.listStreams("order", after, 2);
      for (const { stream, isCaptured } of some) told.push(isCaptured ? stream : `(${stream})`);
      if (some.length < 2) break;
      after = some.at(-1)!.stream;
    }
    expect(told).toEqual(["order-", "order-1", "order-10", "order-2", "(order-native)", "order-é"]);
    expect(await store.listStreams("parcel", undefined, 2)).toEqual([]);
    await writer.close();
  });

  test("where streams stand is told newest first, as far back as asked for", async () => {
    await using opened = await open();
    const { store } = opened;
    const recent = async (eventsMax: number): Promise<readonly string[]> => {
      const told: string[] = [];
      const pages = store.recentVersions(eventsMax, new AbortController().signal);
      for await (const { streams, versions } of pages)
        streams.forEach((stream, i) => told.push(`${stream} ${versions[i]}`));
      return told;
    };
    expect(await recent(10)).toEqual([]);
    const writer = await store.openCapture("shop", SOURCE);
    await writer.stage({
      events: batchOf([
        { stream: "order-1", version: 1 },
        { stream: "order-2", version: 1 },
        { stream: "order-1", version: 2 },
      ]),
    });
    expect(await recent(10)).toEqual([]);
    await writer.commit(tailing(1));
    await store.append("order-ä", [event()], "none");
    await writer.stage({ events: batchOf([{ stream: "order-2", version: 2 }]) });
    await writer.commit(tailing(2));
    expect(await recent(10)).toEqual([
      "order-2 2",
      "order-ä 1",
      "order-1 2",
      "order-2 1",
      "order-1 1",
    ]);
    expect(await recent(2)).toEqual(["order-2 2", "order-ä 1"]);
    expect(await recent(0)).toEqual([]);
    await writer.close();
    const aborted = store.recentVersions(10, AbortSignal.abort(new Error("stop")));
    await expect(aborted[Symbol.asyncIterator]().next()).rejects.toThrow("stop");
  });

  test("an event is read back as it was captured", async () => {
    await using opened = await open();
    const { store } = opened;
    const writer = await store.openCapture("shop", SOURCE);
    const context = {
      sourceTransaction: "42",
      correlationId: "c",
      causationId: "of all",
      actor: "Zoë",
      metadata: '{"reason":"\\"why\\" \\\\ not"}',
      mappingVersion: 7,
    };
    const data = {
      name: 'ä "q" \\ \n \u2028 🌳',
      big: "9223372036854775807",
      none: null,
      list: [1, "x"],
    };
    await writer.stage({
      events: batchOf([
        {
          stream: "order-ä,1",
          version: 1,
          id: "01000000-0000-8000-8000-0000000000ff",
          type: "Placed",
          timeUs: 1_234_567_890_123_456,
          data,
          context,
        },
        { stream: "order-ä,1", version: 2, causationId: "its own", context },
      ]),
    });
    await writer.commit(tailing(1));
    const [first, second] = await streamOf(store, "order-ä,1");
    expect(first).toMatchObject({
      id: "01000000-0000-8000-8000-0000000000ff",
      source: SOURCE,
      stream: "order-ä,1",
      version: 1,
      type: "Placed",
      time: "2009-02-13T23:31:30.123456Z",
      origin: "capture",
      schemaVersion: 1,
      sourcePosition: position(1),
      ...context,
      metadata: { reason: '"why" \\ not' },
      data,
    });
    expect(second).toMatchObject({ causationId: "its own" });
    await writer.close();
  });

  test("any batch is read back as it was staged, whatever its size", async () => {
    await using opened = await open();
    const { store } = opened;
    const writer = await store.openCapture("shop", SOURCE);
    // Any text but what text cannot keep: U+0000 and half a surrogate pair.
    const text = fc
      .string({ unit: "binary", maxLength: 40 })
      .map((value) => value.replaceAll(/[\0\p{Surrogate}]/gu, ""));
    const one = fc.record({
      data: fc.dictionary(
        text,
        fc.oneof(
          text,
          fc.integer(),
          fc.boolean(),
          fc.constant(null),
          fc.array(text, { maxLength: 3 }),
        ),
        { maxKeys: 4 },
      ),
      timeUs: fc.integer({ min: -62_135_596_800_000_000, max: 9_000_000_000_000_000 }),
      type: text.filter((value) => value !== ""),
      actor: fc.option(text, { nil: undefined }),
      causationId: fc.option(text, { nil: undefined }),
    });
    let round = 0;
    await fc.assert(
      fc.asyncProperty(
        fc.array(one, { minLength: 1, maxLength: 5 }),
        fc.constantFrom(1, 3, 700),
        async (kinds, length) => {
          const stream = `s-${++round}`;
          const said = Array.from({ length }, (_, i) => ({
            ...kinds[i % kinds.length]!,
            stream,
            version: i + 1,
          }));
          const batch = batchOf(
            said.map(({ actor, causationId, ...rest }) => ({
              ...rest,
              context: { actor },
              ...(causationId === undefined ? {} : { causationId }),
            })),
          );
          await writer.stage({ events: batch });
          await writer.commit(tailing(undefined));
          const read = await streamOf(store, stream);
          expect(
            read.map(({ type, data, actor, causationId }) => ({ type, data, actor, causationId })),
          ).toEqual(
            said.map(({ type, data, actor, causationId }) => ({ type, data, actor, causationId })),
          );
        },
      ),
      { numRuns: Number(process.env["BANYAN_PROPERTY_RUNS"] ?? 25), seed: seed() },
    );
    await writer.close();
  });

  test("a rollback drops everything that was staged, and the writer goes on", async () => {
    await using opened = await open();
    const { store } = opened;
    const writer = await store.openCapture("shop", SOURCE);
    const parked = parkedChange("order-9", 1);
    const images = [{ table: "t", key: "1", image: "{}" }];
    await writer.stage({
      events: batchOf([{ stream: "order-1", version: 1 }]),
      images,
      parked: [parked],
    });
    await writer.rollback();
    await writer.rollback();
    await writer.stage({ events: batchOf([{ stream: "order-1", version: 1, type: "Second" }]) });
    await writer.commit(tailing(1));
    expect((await streamOf(store, "order-1")).map(({ type }) => type)).toEqual(["Second"]);
    expect(await writer.images("t", ["1"])).toEqual([undefined]);
    expect(await store.quarantine.list()).toEqual([]);
    await writer.close();
  });

  test("a writer that is closed before its commit leaves nothing", async () => {
    await using opened = await open();
    const { store } = opened;
    const writer = await store.openCapture("shop", SOURCE);
    await writer.stage({ events: batchOf([{ stream: "order-1", version: 1 }]) });
    await writer.close();
    await expect(writer.commit(tailing(1))).rejects.toMatchObject({ code: "INVARIANT_BROKEN" });
    const next = await store.openCapture("shop", SOURCE);
    await next.stage({ events: batchOf([{ stream: "order-1", version: 1, type: "Next" }]) });
    await next.commit(tailing(1));
    expect((await streamOf(store, "order-1")).map(({ type }) => type)).toEqual(["Next"]);
    await next.close();
  });

  test("a pipeline stands as it last committed, its ledger added up", async () => {
    await using opened = await open();
    const { store } = opened;
    expect(await store.pipeline("shop")).toBeUndefined();
    const writer = await store.openCapture("shop", SOURCE);
    expect(writer.record).toMatchObject({
      name: "shop",
      source: SOURCE,
      epoch: 1,
      phase: "new",
      checkpoint: undefined,
    });
    const counted: Ledger = {
      changesIn: 1,
      changesClaimed: 2,
      changesFallback: 3,
      changesUnchanged: 4,
      changesParked: 5,
      changesEchoed: 10,
      events: 6,
      baselined: 7,
      baselineRows: 8,
      transactions: 9,
    };
    await writer.commit(
      tailing(3, {
        phase: "baseline",
        baselinePosition: position(3),
        ledger: counted,
        status: { a: [1] },
      }),
    );
    await writer.commit(
      tailing(undefined, { ledger: { changesIn: -1, events: 2 ** 40 }, status: { b: "ä" } }),
    );
    await writer.commit(tailing(3));
    await writer.close();
    const again = await store.openCapture("shop", SOURCE);
    const record = { ...again.record, updatedAt: "" };
    expect(record).toEqual({
      name: "shop",
      source: SOURCE,
      epoch: 2,
      phase: "tail",
      checkpoint: position(3),
      baselinePosition: position(3),
      tables: [],
      ledger: { ...counted, changesIn: 0, events: 6 + 2 ** 40 },
      status: {},
      updatedAt: "",
    });
    expect(await store.pipeline("shop")).toMatchObject({ epoch: 2, checkpoint: position(3) });
    expect((await store.pipeline("shop"))!.updatedAt).toMatch(/^\d{4}-\d\d-\d\dT/);
    await again.close();
  });

  test("a checkpoint never goes back, and nothing of such a commit is written", async () => {
    await using opened = await open();
    const { store } = opened;
    const writer = await store.openCapture("shop", SOURCE);
    await writer.commit(tailing(5));
    await writer.stage({ events: batchOf([{ stream: "order-1", version: 1 }]) });
    await expect(writer.commit(tailing(4))).rejects.toMatchObject({ code: "INVARIANT_BROKEN" });
    expect(await streamOf(store, "order-1")).toEqual([]);
    expect(await store.pipeline("shop")).toMatchObject({ checkpoint: position(5) });
    await writer.close();
  });

  test("a new writer fences the old one, whatever it had open, and loses nothing itself", async () => {
    await using opened = await open();
    const { store } = opened;
    for (const staged of [true, false]) {
      const pipeline = `shop-${staged}`;
      const stream = `order-${staged}`;
      const old = await store.openCapture(pipeline, SOURCE);
      if (staged) await old.stage({ events: batchOf([{ stream, version: 1, type: "Old" }]) });
      const next = await store.openCapture(pipeline, SOURCE);
      expect(next.record.epoch).toBe(old.record.epoch + 1);
      await next.stage({ events: batchOf([{ stream, version: 1, type: "New" }]) });
      await next.commit(tailing(1));
      const late = async (): Promise<void> => {
        if (!staged) await old.stage({ events: batchOf([{ stream: `${stream}-2`, version: 1 }]) });
        await old.commit(tailing(9));
      };
      await expect(late()).rejects.toMatchObject({ code: "PIPELINE_FENCED", recovery: "operator" });
      expect((await streamOf(store, stream)).map(({ type }) => type)).toEqual(["New"]);
      expect(await streamOf(store, `${stream}-2`)).toEqual([]);
      expect(await store.pipeline(pipeline)).toMatchObject({ checkpoint: position(1) });
      await next.commit(tailing(2));
      await Promise.all([old.close(), next.close()]);
    }
  });

  test("a writer that wakes up after it was fenced holds up nobody with what it stages", async () => {
    await using opened = await open();
    const { store } = opened;
    for (const length of [1, 800]) {
      const place = { stream: `order-${length}`, version: 1 };
      const others = Array.from({ length }, (_, i) => ({ stream: `x${length}-${i}`, version: 1 }));
      const old = await store.openCapture("shop", SOURCE);
      const next = await store.openCapture("shop", SOURCE);
      // Never ended: its process is stopped at this very point.
      const late = old.stage({ events: batchOf([place, ...others]) }).catch((e: unknown) => e);
      await late;
      const begunMs = performance.now();
      await next.stage({ events: batchOf([place, ...others]) });
      await next.commit(tailing(length));
      expect(performance.now() - begunMs).toBeLessThan(5_000);
      await expect(old.commit(tailing(length + 1))).rejects.toMatchObject({
        code: "PIPELINE_FENCED",
      });
      await Promise.all([old.close(), next.close()]);
    }
  });

  test("a taken place in a stream is a conflict that undoes the whole commit and ends the writer", async () => {
    await using opened = await open();
    const { store } = opened;
    await store.append("order-1", [event("Native")], "none");
    for (const length of [1, 800]) {
      const writer = await store.openCapture("shop", SOURCE);
      await writer.stage({ events: batchOf([{ stream: "order-2", version: 1 }]) });
      const others = Array.from({ length }, (_, i) => ({ stream: `order-x${i}`, version: 1 }));
      const staged = writer.stage({
        events: batchOf([...others, { stream: "order-1", version: 1 }]),
      });
      await expect(staged).rejects.toMatchObject({
        code: "STREAM_VERSION_CONFLICT",
        recovery: "retry",
      });
      await expect(writer.commit(tailing(1))).rejects.toMatchObject({
        code: "STREAM_VERSION_CONFLICT",
      });
      await expect(writer.stage({ events: NOTHING })).rejects.toMatchObject({
        code: "STREAM_VERSION_CONFLICT",
      });
      await writer.rollback();
      await writer.close();
    }
    expect((await store.readAll(undefined, 100)).events.map(({ type }) => type)).toEqual([
      "Native",
    ]);
    const writer = await store.openCapture("shop", SOURCE);
    const [version] = await writer.versions(["order-1"]);
    await writer.stage({ events: batchOf([{ stream: "order-1", version: version! + 1 }]) });
    await writer.commit(tailing(1));
    expect(await streamOf(store, "order-1")).toHaveLength(2);
    await writer.close();
  });

  test("an event id that is stored already is a bug, not a second event", async () => {
    await using opened = await open();
    const { store } = opened;
    const known = event();
    await store.append("order-1", [known], "none");
    const writer = await store.openCapture("shop", SOURCE);
    const staged = writer.stage({
      events: batchOf([{ stream: "order-2", version: 1, id: known.id }]),
    });
    await expect(staged).rejects.toMatchObject({ code: "INVARIANT_BROKEN" });
    await writer.close();
    expect(await streamOf(store, "order-2")).toEqual([]);
  });

  test("a pipeline with history keeps its source; one without takes the new one", async () => {
    await using opened = await open();
    const { store } = opened;
    const first = await store.openCapture("shop", "test://one");
    await first.commit(tailing(undefined, { phase: "baseline" }));
    await first.close();
    const again = await store.openCapture("shop", "test://one");
    expect(again.record.phase).toBe("baseline");
    await again.close();
    const second = await store.openCapture("shop", "test://two");
    // Whatever was begun was begun in the other source.
    expect(second.record.phase).toBe("new");
    await second.stage({ events: batchOf([{ stream: "order-1", version: 1 }]) });
    await second.commit(tailing(1));
    expect((await streamOf(store, "order-1"))[0]!.source).toBe("test://two");
    await expect(store.openCapture("shop", "test://one")).rejects.toMatchObject({
      code: "SOURCE_CHANGED",
    });
    // The mistake has not fenced who runs rightly.
    await second.commit(tailing(2));
    expect(await store.pipeline("shop")).toMatchObject({
      source: "test://two",
      checkpoint: position(2),
    });
    await second.close();
  });

  test("a mapping has one number, by its fingerprint", async () => {
    await using opened = await open();
    const { store } = opened;
    const definition = { streams: { order: { root: "orders", roles: {}, events: {} } } };
    const writer = await store.openCapture("shop", SOURCE);
    const first = await writer.mappingVersion("f1", definition);
    const second = await writer.mappingVersion("f2", { streams: {} });
    expect(await writer.mappingVersion("f1", definition)).toBe(first);
    expect(second).not.toBe(first);
    expect(await store.mappings()).toEqual(
      new Map<number, object>([
        [first, definition],
        [second, { streams: {} }],
      ]),
    );
    await writer.close();
  });

  test("row images: the last entry of a key wins, staged ones are seen, removed ones are gone", async () => {
    await using opened = await open();
    const { store } = opened;
    const writer = await store.openCapture("shop", SOURCE);
    const stage = (images: ImageChange[]): Promise<void> =>
      writer.stage({ events: NOTHING, images });
    const set = (key: string, image: string | undefined, table = "t"): ImageChange => ({
      table,
      key,
      image,
    });
    await stage([
      set("1", "a"),
      set("2", "b"),
      set("1", "c"),
      set("3", "d"),
      set("3", undefined),
      set("1", "other", "u"),
    ]);
    expect(await writer.images("t", ["2", "1", "3", "1"])).toEqual(["b", "c", undefined, "c"]);
    await stage([set("1", undefined), set("1", "e"), set("2", undefined)]);
    expect(await writer.images("t", ["1", "2"])).toEqual(["e", undefined]);
    await writer.commit(tailing(1));
    expect(await writer.images("t", ["1", "2"])).toEqual(["e", undefined]);
    expect(await writer.images("u", ["1"])).toEqual(["other"]);
    const many = Array.from({ length: 12_000 }, (_, i) => set(`k\\"${i}ä`, `{"i":"${i}"}`));
    await stage(many);
    await stage(many.slice(0, 6_000).map(({ key }) => set(key, `${key}!`)));
    await writer.commit(tailing(2));
    const read = await writer.images(
      "t",
      many.map(({ key }) => key),
    );
    expect(read.slice(0, 2)).toEqual([`${many[0]!.key}!`, `${many[1]!.key}!`]);
    expect(read.slice(6_000)).toEqual(many.slice(6_000).map(({ image }) => image));
    const other = await store.openCapture("other", SOURCE);
    expect(await other.images("t", ["1"])).toEqual([undefined]);
    await Promise.all([writer.close(), other.close()]);
  });

  describe("quarantine", () => quarantineContract(open));
}

function quarantineContract(open: () => Promise<OpenedStore>): void {
  test("lists parked changes per stream in their order, until they are settled", async () => {
    await using opened = await open();
    const { store } = opened;
    const { quarantine } = store;
    const writer = await store.openCapture("shop", SOURCE);
    const parked = [
      parkedChange("order-1", 1),
      parkedChange("order-2", 2),
      parkedChange("order-1", 3),
    ];
    await writer.stage({ events: NOTHING, parked });
    expect(await quarantine.list()).toEqual([]);
    await writer.commit(tailing(1));
    const listed = await quarantine.list({ pipeline: "shop" });
    expect(listed.map(({ id: _id, parkedAt: _at, ...rest }) => rest)).toEqual(
      parked.map((change) => ({ ...change, decision: "none" })),
    );
    expect(listed.every(({ parkedAt }) => !Number.isNaN(Date.parse(parkedAt)))).toBe(true);
    expect((await quarantine.list({ stream: "order-1" })).map((record) => record.position)).toEqual(
      [position(1), position(3)],
    );
    expect(await quarantine.list({ limit: 1 })).toHaveLength(1);
    expect(await quarantine.list({ pipeline: "other" })).toEqual([]);
    expect(await quarantine.streams("shop")).toEqual([
      { stream: "order-1", parked: 2, decision: "none" },
      { stream: "order-2", parked: 1, decision: "none" },
    ]);
    expect(await quarantine.count("shop")).toBe(2);
    await writer.stage({ events: NOTHING, released: [listed[0]!.id, listed[2]!.id] });
    await writer.commit(tailing(2));
    expect(await quarantine.streams("shop")).toEqual([
      { stream: "order-2", parked: 1, decision: "none" },
    ]);
    expect(await quarantine.count("shop")).toBe(1);
    await writer.close();
  });

  test("a decision holds for all pending changes of a stream and raises the generation", async () => {
    await using opened = await open();
    const { store } = opened;
    const { quarantine } = store;
    const writer = await store.openCapture("shop", SOURCE);
    const parked = ["order-1", "order-2", "order-3", "order-1"].map((stream, i) =>
      parkedChange(stream, i + 1),
    );
    await writer.stage({ events: NOTHING, parked });
    const before = (await writer.commit(tailing(1))).quarantineGeneration;
    expect((await writer.commit(tailing(1))).quarantineGeneration).toBe(before);
    expect(await quarantine.decide("shop", "order-1", "skip")).toBe(1);
    const after = (await writer.commit(tailing(1))).quarantineGeneration;
    expect(after).toBeGreaterThan(before);
    expect(await quarantine.streams("shop")).toEqual([
      { stream: "order-1", parked: 2, decision: "skip" },
      { stream: "order-2", parked: 1, decision: "none" },
      { stream: "order-3", parked: 1, decision: "none" },
    ]);
    expect(await quarantine.decide("shop", undefined, "retry")).toBe(3);
    expect((await quarantine.list()).map(({ decision }) => decision)).toEqual([
      "retry",
      "retry",
      "retry",
      "retry",
    ]);
    expect(await quarantine.decide("shop", "order-9", "retry")).toBe(0);
    expect(await quarantine.decide("other", undefined, "retry")).toBe(0);
    // Nothing was decided the last two times.
    expect((await writer.commit(tailing(1))).quarantineGeneration).toBe(after + 1);
    await writer.close();
  });

  test("what fails again is parked as new, behind what was released with it", async () => {
    await using opened = await open();
    const { store } = opened;
    const { quarantine } = store;
    const writer = await store.openCapture("shop", SOURCE);
    await writer.stage({
      events: NOTHING,
      parked: [parkedChange("order-1", 1), parkedChange("order-1", 2)],
    });
    await writer.commit(tailing(1));
    await quarantine.decide("shop", undefined, "retry");
    const released = (await quarantine.list()).map(({ id }) => id);
    await writer.stage({
      events: batchOf([{ stream: "order-1", version: 1 }]),
      parked: [parkedChange("order-1", 2)],
      released,
    });
    await writer.commit(tailing(1));
    const left = await quarantine.list();
    expect(left).toHaveLength(1);
    expect(left[0]).toMatchObject({ position: position(2), decision: "none" });
    expect(released).not.toContain(left[0]!.id);
    expect(await streamOf(store, "order-1")).toHaveLength(1);
    await writer.close();
  });
}

function parkedChange(stream: string, n: number): ParkedChange {
  return {
    stream,
    position: position(n),
    sourceTransaction: String(1000 + n),
    table: "public.orders",
    operation: "update",
    code: "VALUE_UNMAPPABLE",
    reason: 'no "such" value',
    change: { after: ["1", null, "ä\\n"], n },
  };
}

/** Printed by fast-check when a property fails; the environment repeats it. */
function seed(): number {
  return Number(process.env["BANYAN_PROPERTY_SEED"] ?? Date.now() % 1_000_000);
}
