import { randomUUID } from "node:crypto";
import { describe, expect, test } from "vitest";
import { batchOf, type CapturedEvent, type OpenedStore } from "./event-batches.ts";
import type { EventStore, FeedCursor } from "../../src/store/event-store.ts";
import type { ReverseConflict } from "../../src/store/reverse-store.ts";

const EMPTY = { phase: "tail", checkpoint: undefined, ledger: {}, status: {} } as const;

async function decide(store: EventStore, stream: string, types: readonly string[]): Promise<void> {
  const events = types.map((type) => ({ id: randomUUID(), type, data: { n: type } }));
  await store.append(stream, events, "any");
}

async function capture(store: EventStore, events: readonly CapturedEvent[]): Promise<void> {
  const writer = await store.openCapture("shop", "test://source");
  await writer.stage({ events: batchOf(events) });
  await writer.commit(EMPTY);
  await writer.close();
}

const conflict = (stream: string, more: Partial<ReverseConflict> = {}): ReverseConflict => ({
  stream,
  version: 3,
  table: "public.orders",
  key: "1",
  columns: ["total", 'a "näme",'],
  reason: "somebody else has changed the row",
  ...more,
});

/** What the way back relies on in every store. */
export function reverseStoreContract(name: string, open: () => Promise<OpenedStore>): void {
  describe(`the way back in the ${name} store`, () => {
    test("is shown native events alone, once and in order, in pages of any size", async () => {
      await using opened = await open();
      const { store } = opened;
      const { reverse } = store;
      expect(await reverse.natives(undefined, 10)).toMatchObject({ natives: [], isEnd: true });
      await capture(store, [
        { stream: "order-1", version: 1 },
        { stream: "order-2", version: 1 },
      ]);
      await decide(store, "order-1", ["A", "B"]);
      await capture(store, [{ stream: "order-3", version: 1 }]);
      await decide(store, "order-2", ["C"]);
      const all = [
        { stream: "order-1", version: 2 },
        { stream: "order-1", version: 3 },
        { stream: "order-2", version: 2 },
      ];
      for (const limit of [1, 2, 3, 100]) {
        const seen: { stream: string; version: number }[] = [];
        let cursor: FeedCursor | undefined;
        for (let pages = 0, isEnd = false; !isEnd; pages++) {
          expect(pages).toBeLessThan(10);
          const page = await reverse.natives(cursor, limit);
          expect(page.natives.length).toBeLessThanOrEqual(limit);
          seen.push(...page.natives.map(({ stream, version }) => ({ stream, version })));
          ({ isEnd, next: cursor } = page);
        }
        expect(seen).toEqual(all);
        expect((await store.readAll(cursor, 10)).events).toEqual([]);
      }
    });

    test("reads streams one after the other, each range in its order", async () => {
      await using opened = await open();
      const { store } = opened;
      await decide(store, "order-1", ["A", "B", "C"]);
      await decide(store, "order-2", ["D"]);
      await decide(store, "order-3", ["E", "F"]);
      const seen: string[] = [];
      const ranges = [
        { stream: "order-3", fromVersion: 1, toVersion: 2_147_483_647 },
        { stream: "order-9", fromVersion: 1, toVersion: 5 },
        { stream: "order-2", fromVersion: 2, toVersion: 1 },
        { stream: "order-1", fromVersion: 2, toVersion: 3 },
      ];
      for await (const page of store.reverse.readStreams(ranges))
        seen.push(
          ...page.map(
            ({ stream, version, type, origin, data }) =>
              `${stream} ${version} ${type} ${origin} ${String(data["n"])}`,
          ),
        );
      expect(seen).toEqual([
        "order-3 1 E native E",
        "order-3 2 F native F",
        "order-1 2 B native B",
        "order-1 3 C native C",
      ]);
    });

    test("notes progress for the one that took over last, and nothing for another", async () => {
      await using opened = await open();
      const { reverse } = opened.store;
      expect(await reverse.status("shop", 5)).toBeUndefined();
      const first = await reverse.takeOver("shop");
      expect(first.cursor).toBeUndefined();
      await decide(opened.store, "order-1", ["A"]);
      const { next } = await reverse.natives(undefined, 1);
      await reverse.save("shop", first.epoch, { cursor: next, applied: 2 });
      await reverse.save("shop", first.epoch, { applied: 3 });
      const second = await reverse.takeOver("shop");
      expect(second).toEqual({ epoch: first.epoch + 1, cursor: next });
      const late = { applied: 100, conflicts: [conflict("order-1")] };
      await expect(reverse.save("shop", first.epoch, late)).rejects.toMatchObject({
        code: "PIPELINE_FENCED",
      });
      await expect(reverse.save("other", 1, {})).rejects.toMatchObject({ code: "PIPELINE_FENCED" });
      expect(await reverse.status("shop", 5)).toMatchObject({
        applied: 5,
        lagSeconds: 0,
        cursor: next,
        conflicts: 0,
        samples: [],
      });
    });

    test("keeps conflicts until they are settled, and says which to try", async () => {
      await using opened = await open();
      const { reverse } = opened.store;
      const { epoch } = await reverse.takeOver("shop");
      await reverse.takeOver("other");
      await reverse.save("shop", epoch, {
        conflicts: [conflict("order-1"), conflict("order-2", { columns: [] })],
      });
      const found = (await reverse.status("shop", 5))!;
      expect(
        found.samples
          .map(({ foundAt: _foundAt, ...rest }) => rest)
          .toSorted((a, b) => (a.stream < b.stream ? -1 : 1)),
      ).toEqual([conflict("order-1"), conflict("order-2", { columns: [] })]);
      expect((await reverse.status("shop", 1))!).toMatchObject({ conflicts: 2 });
      expect(await reverse.conflictsToTry("shop", 60, 10)).toEqual([]);
      expect(await reverse.retryConflicts("shop", "order-9")).toBe(0);
      expect(await reverse.retryConflicts("shop", "order-2")).toBe(1);
      expect(await reverse.conflictsToTry("shop", 60, 10)).toEqual(["order-2"]);
      // Tried and found again: asked for no more, and found as long ago as before.
      await reverse.save("shop", epoch, { conflicts: [conflict("order-2", { version: 7 })] });
      expect(await reverse.conflictsToTry("shop", 60, 10)).toEqual([]);
      expect(await reverse.retryConflicts("shop")).toBe(2);
      expect(await reverse.conflictsToTry("shop", 60, 1)).toHaveLength(1);
      expect(await reverse.conflictsToTry("other", 0, 10)).toEqual([]);
      await reverse.save("shop", epoch, { settled: ["order-1", "order-5"] });
      const left = (await reverse.status("shop", 5))!.samples;
      const before = found.samples.find(({ stream }) => stream === "order-2")!.foundAt;
      expect(left).toEqual([{ ...conflict("order-2", { version: 7 }), foundAt: before }]);
    });

    test("says of each event whether it is in the rows, in conflict, or not known yet", async () => {
      await using opened = await open();
      const { store } = opened;
      const { reverse } = store;
      await decide(store, "order-1", ["A", "B", "C", "D"]);
      await decide(store, "order-2", ["E"]);
      const of = (stream: string, version: number) => reverse.outcomeOf("shop", stream, version);
      expect(await of("order-1", 1)).toEqual({ outcome: "waiting" });
      const { epoch } = await reverse.takeOver("shop");
      expect(await of("order-1", 1)).toEqual({ outcome: "waiting" });
      const { next } = await reverse.natives(undefined, 4);
      await reverse.save("shop", epoch, { cursor: next, conflicts: [conflict("order-1")] });
      expect(await of("order-1", 2)).toEqual({ outcome: "written" });
      for (const version of [3, 4])
        expect(await of("order-1", version)).toEqual({
          outcome: "conflict",
          reason: "somebody else has changed the row",
        });
      expect(await of("order-2", 1)).toEqual({ outcome: "waiting" });
      expect(await of("order-9", 1)).toEqual({ outcome: "waiting" });
      expect(await reverse.outcomeOf("other", "order-1", 1)).toEqual({ outcome: "waiting" });
      const { next: end } = await reverse.natives(next, 4);
      await reverse.save("shop", epoch, { cursor: end, settled: ["order-1"] });
      expect(await of("order-1", 4)).toEqual({ outcome: "written" });
      expect(await of("order-2", 1)).toEqual({ outcome: "written" });
    });

    test("counts the ids at hand, each once", async () => {
      await using opened = await open();
      const { reverse } = opened.store;
      const of = { below: 10_000, room: 0 };
      await reverse.reserveIds("shop", "order/shipments", ["1", "9007199254740993"], of);
      await reverse.reserveIds("shop", "order/shipments", ["1", "2"], of);
      await reverse.reserveIds("other", "order/shipments", ["4"], of);
      expect(await reverse.idsAtHand("shop", "order/shipments", 1)).toBe(3);
      expect(await reverse.idsAtHand("shop", "order", 10_000)).toBe(0);
    });
  });
}
