import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { EventBuffer } from "../../src/mapping/event-buffer.ts";
import type { EventContext } from "../../src/model/event.ts";
import type { Position } from "../../src/model/position.ts";
import { StreamVersions } from "../../src/pipeline/stream-versions.ts";
import type { StreamVersionPage } from "../../src/store/event-store.ts";

const CONTEXT = { origin: "capture", mappingVersion: 1 } as EventContext;

function eventsOf(streams: readonly string[]): EventBuffer {
  const events = new EventBuffer();
  for (const stream of streams) events.push(stream, "T", 0, "1/1" as Position, "{}", CONTEXT);
  return events;
}

/** A store whose committed versions a test sets, and which remembers what it was asked. */
function storeOf(committed: Record<string, number>) {
  const asked: string[] = [];
  return {
    committed,
    asked,
    lookup: (streams: readonly string[]) => {
      asked.push(...streams);
      return Promise.resolve(streams.map((stream) => committed[stream] ?? 0));
    },
  };
}

async function* pagesOf(
  ...pages: readonly (readonly (readonly [stream: string, version: number])[])[]
): AsyncGenerator<StreamVersionPage> {
  for (const page of pages)
    yield { streams: page.map(([stream]) => stream), versions: page.map(([, version]) => version) };
}

const numbered = (from: number, count: number): string[] =>
  Array.from({ length: count }, (_, i) => `s-${from + i}`);

describe("stream versions", () => {
  test("go on from what the store has, also twice in one batch, and from 1 in a new stream", async () => {
    const store = storeOf({ "a-1": 7 });
    const versions = new StreamVersions(10);
    const events = eventsOf(["a-1", "b-1", "a-1", "a-1", "b-1"]);
    await versions.assign(events, store.lookup);
    expect(events.versions).toEqual([8, 1, 9, 10, 2]);
    expect(store.asked).toEqual(["a-1", "b-1"]);
  });

  test("of streams written recently are not asked for again", async () => {
    const store = storeOf({});
    const versions = new StreamVersions(10);
    await versions.assign(eventsOf(["a-1"]), store.lookup);
    const later = eventsOf(["a-1", "b-1"]);
    await versions.assign(later, store.lookup);
    expect(later.versions).toEqual([2, 1]);
    expect(store.asked).toEqual(["a-1", "b-1"]);
  });

  test("of a stream that a service has appended to are looked up anew, in every generation", async () => {
    const store = storeOf({ "a-1": 3 });
    const versions = new StreamVersions(2);
    await versions.assign(eventsOf(["a-1", "b-1"]), store.lookup);
    for (const [native, isOnce] of [
      [6, false],
      [9, true],
      [12, false],
    ] as const) {
      versions.overtaken("a-1", native);
      store.committed["a-1"] = native;
      await versions.recall(pagesOf([["a-1", native - 1]]));
      if (native === 12) {
        versions.committed();
        await versions.assign(eventsOf(["c-1"]), store.lookup);
      }
      const events = eventsOf(["a-1", "a-1"]);
      await (isOnce
        ? versions.assignOnce(events, store.lookup)
        : versions.assign(events, store.lookup));
      expect(events.versions).toEqual([native + 1, native + 2]);
    }
  });

  test("of what is staged stay known when somebody tells of an event before it", async () => {
    const store = storeOf({ "a-1": 3 });
    const versions = new StreamVersions(2);
    await versions.assign(eventsOf(["a-1", "a-1"]), store.lookup);
    versions.overtaken("a-1", 5);
    const events = eventsOf(["a-1"]);
    await versions.assign(events, store.lookup);
    expect([events.versions, store.asked]).toEqual([[6], ["a-1"]]);
  });

  test("stay known when a commit ends while others are being looked up", async () => {
    const store = storeOf({});
    const versions = new StreamVersions(2);
    await versions.assign(eventsOf(["a-1", "b-1"]), store.lookup);
    const mixed = eventsOf(["a-1", "c-1", "b-1"]);
    await versions.assign(mixed, (streams) => {
      versions.committed();
      versions.committed();
      return store.lookup(streams);
    });
    expect(mixed.versions).toEqual([2, 1, 2]);
  });

  test("are forgotten some commits after they were used, so that memory is bounded", async () => {
    const store = storeOf({});
    const versions = new StreamVersions(4);
    for (let commit = 0; commit < 50; commit++) {
      await versions.assign(eventsOf(numbered(commit * 4, 4)), store.lookup);
      for (const stream of numbered(commit * 4, 4)) store.committed[stream] = 1;
      versions.committed();
      expect(versions.size).toBeLessThanOrEqual(8);
    }
    store.asked.length = 0;
    const old = eventsOf(["s-0"]);
    await versions.assign(old, store.lookup);
    expect([store.asked, old.versions]).toEqual([["s-0"], [2]]);
  });

  test("of what is staged and not committed are never forgotten: the store does not know them", async () => {
    const store = storeOf({});
    const versions = new StreamVersions(4);
    await versions.assign(eventsOf(["a-1"]), store.lookup);
    for (let slice = 0; slice < 20; slice++)
      await versions.assign(eventsOf(numbered(slice * 4, 4)), store.lookup);
    const again = eventsOf(["a-1", "s-0"]);
    await versions.assign(again, store.lookup);
    expect(again.versions).toEqual([2, 2]);
  });

  test("staged while the commit before is still under way are not forgotten with it", async () => {
    const store = storeOf({});
    const versions = new StreamVersions(2);
    await versions.assign(eventsOf(["a-1", "b-1"]), store.lookup);
    await versions.assign(eventsOf(["c-1"]), store.lookup);
    versions.committed();
    const again = eventsOf(["c-1"]);
    await versions.assign(again, store.lookup);
    expect(again.versions).toEqual([2]);
  });

  test("that the store has told are not asked for; the first that a stream comes with counts", async () => {
    const store = storeOf({ "c-1": 4 });
    const versions = new StreamVersions(10);
    await versions.recall(pagesOf([["a-1", 7], ["b-1", 3]], [["a-1", 6], ["b-1", 2]])); // prettier-ignore
    const events = eventsOf(["a-1", "c-1", "b-1", "a-1"]);
    await versions.assign(events, store.lookup);
    expect([events.versions, store.asked]).toEqual([[8, 5, 4, 9], ["c-1"]]);
  });

  test("are taken over from the store until there is no more room, and no further", async () => {
    const store = storeOf({});
    const versions = new StreamVersions(3);
    let read = 0;
    async function* pages(): AsyncGenerator<StreamVersionPage> {
      for (; read < 100; read++) yield { streams: [`s-${read}`], versions: [read + 1] };
    }
    await versions.recall(pages());
    expect([versions.size, read]).toEqual([6, 6]);
    const events = eventsOf(numbered(0, 6));
    await versions.assign(events, store.lookup);
    expect([events.versions, store.asked]).toEqual([[2, 3, 4, 5, 6, 7], []]);
  });

  test("told late never replace what was written since, not even once that is forgotten", async () => {
    const store = storeOf({ "a-1": 5, "b-1": 5 });
    const versions = new StreamVersions(2);
    let tell!: (page: StreamVersionPage) => void;
    async function* pages(): AsyncGenerator<StreamVersionPage> {
      for (let n = 0; n < 3; n++) yield await new Promise((resolve) => (tell = resolve));
    }
    const page = { streams: ["a-1", "b-1"], versions: [5, 5] };
    const recalling = versions.recall(pages());
    await versions.assign(eventsOf(["a-1"]), async (streams) => {
      // While a version is looked up, which is when pages come.
      tell(page);
      await new Promise(setImmediate);
      return store.lookup(streams);
    });
    const both = eventsOf(["a-1", "b-1"]);
    await versions.assign(both, store.lookup);
    expect([both.versions, store.asked]).toEqual([[7, 6], ["a-1"]]);
    store.committed["a-1"] = 7;
    for (const stream of ["c", "d", "e", "f", "g", "h"]) {
      versions.committed();
      await versions.assign(eventsOf([`${stream}-1`, `${stream}-2`]), store.lookup);
    }
    tell(page);
    await recalling;
    const again = eventsOf(["a-1"]);
    await versions.assign(again, store.lookup);
    expect(again.versions).toEqual([8]);
  });

  test("stand as a Map would have it, whatever comes, and cost few bytes", async () => {
    const seed = Date.now() % 2 ** 31;
    const stream = fc.nat({ max: 3_000 }).map((n) => `item-${"x".repeat(n % 5)}${n}`);
    const batches = fc.array(fc.array(stream, { maxLength: 400 }), { maxLength: 12 });
    await fc.assert(
      fc.asyncProperty(batches, async (batches) => {
        const versions = new StreamVersions(500);
        const committed: Record<string, number> = {};
        for (const streams of batches) {
          const events = eventsOf(streams);
          await versions.assign(events, storeOf({ ...committed }).lookup);
          expect(events.versions).toEqual(
            streams.map((one) => (committed[one] = (committed[one] ?? 0) + 1)),
          );
          versions.committed();
        }
      }),
      { seed, numRuns: 50 },
    );
  });

  test("of a million streams are kept apart", async () => {
    const versions = new StreamVersions(1_000_000);
    const streams = Array.from({ length: 1_000_000 }, (_, i) => `order-${i}`);
    await versions.recall(
      pagesOf(streams.map((stream, i): readonly [string, number] => [stream, i + 1])),
    );
    expect(versions.size).toBe(1_000_000);
    const events = eventsOf(streams);
    await versions.assign(events, () => Promise.reject(new Error("all of them are known")));
    expect(events.versions.every((version, i) => version === i + 2)).toBe(true);
  });

  test("of streams that come once in a commit take no memory, and are right before and after", async () => {
    const store = storeOf({ "s-1": 3 });
    const versions = new StreamVersions(4);
    await versions.assign(eventsOf(["s-0"]), store.lookup);
    const once = eventsOf([...numbered(0, 100), "s-5"]);
    await versions.assignOnce(once, store.lookup);
    expect(once.versions.slice(0, 3)).toEqual([2, 4, 1]);
    expect(once.versions.at(-1)).toBe(2);
    expect(versions.size).toBe(2);
    const next = eventsOf(["s-5", "s-200"]);
    await versions.assignOnce(next, () => Promise.resolve([0]));
    expect(next.versions).toEqual([3, 1]);
    const after = eventsOf(["s-0"]);
    await versions.assign(after, store.lookup);
    expect(after.versions).toEqual([3]);
  });

  test("of streams that come once in a commit are looked up again when it is not made", async () => {
    const store = storeOf({ "a-1": 3, "b-1": 5, "c-1": 7 });
    const versions = new StreamVersions(10);
    await versions.recall(pagesOf([["b-1", 5]]));
    for (const _attempt of [1, 2, 3]) {
      const once = eventsOf(["a-1", "b-1", "c-1"]);
      await versions.assignOnce(once, store.lookup);
      expect(once.versions).toEqual([4, 6, 8]);
      versions.dropped();
    }
    await versions.assignOnce(eventsOf(["a-1", "b-1", "c-1"]), store.lookup);
    versions.kept();
    versions.dropped();
    Object.assign(store.committed, { "a-1": 4, "b-1": 6, "c-1": 8 });
    const after = eventsOf(["a-1", "b-1", "c-1"]);
    await versions.assign(after, store.lookup);
    expect(after.versions).toEqual([5, 7, 9]);
  });

  test("of streams that come once in a commit are not replaced by what the store tells of before", async () => {
    const store = storeOf({ "a-1": 5, "b-1": 5 });
    const versions = new StreamVersions(10);
    let tell!: (page: StreamVersionPage) => void;
    async function* pages(): AsyncGenerator<StreamVersionPage> {
      yield await new Promise((resolve) => (tell = resolve));
    }
    const recalling = versions.recall(pages());
    await versions.assignOnce(eventsOf(["a-1", "b-1"]), store.lookup);
    versions.kept();
    tell({ streams: ["a-1", "b-1"], versions: [5, 5] });
    await recalling;
    Object.assign(store.committed, { "a-1": 6, "b-1": 6 });
    const after = eventsOf(["a-1", "b-1"]);
    await versions.assign(after, store.lookup);
    expect(after.versions).toEqual([7, 7]);
  });
});
