import fc from "fast-check";
import { expect, test } from "vitest";
import { MemoryEventStore } from "../../connectors/memory/event-store.ts";
import { stream, table } from "../../src/mapping/rules.ts";
import { keyOfStream } from "../../src/mapping/stream-id.ts";
import type { TableMapper } from "../../src/mapping/table-mapper.ts";
import { StoredStreams } from "../../src/pipeline/stored-streams.ts";
import type { ChunkKey, OrderColumn } from "../../src/source/change-source.ts";
import { compareKeyTexts } from "../../src/source/key-order.ts";
import { event } from "../contract/event-batches.ts";
import { compile, shape } from "../support/mapping-fixtures.ts";
import { budget } from "../support/random-budget.ts";

const never = new AbortController().signal;

function rootOf(columns: string): TableMapper {
  const orders = shape("public.orders", columns);
  const streams = { order: stream(table("orders"), { otherwise: "OrderAmended" }) };
  return compile(streams, [orders]).mapperOf(orders)!;
}

async function storeOf(ids: readonly string[]): Promise<MemoryEventStore> {
  const store = new MemoryEventStore();
  for (const id of [...ids, "orders-1", "orde-1"]) await store.append(id, [event()], "none");
  return store;
}

/** All of them, range by range, as a rebaseline asks; some ranges twice, as after a chunk that failed. */
async function readAll(
  streams: StoredStreams,
  steps: () => number,
): Promise<readonly (readonly string[])[]> {
  const ranges: string[][] = [];
  let after: ChunkKey | undefined;
  for (let n = 0; n < 10_000; n++) {
    const count = 1 + (steps() % 5);
    if (steps() % 3 === 0) await streams.bound(after, 1 + (steps() % 9), never);
    const end = await streams.bound(after, count, never);
    const range = streams.range(after, end).map((one) => one.stream);
    ranges.push(range);
    if (end === undefined) return ranges;
    expect(range).toHaveLength(count);
    after = end;
  }
  throw new Error("it has no end");
}

test("streams come in the order of the root's key, whatever their number and that of those in memory", async () => {
  const root = rootOf("*region:text *no:int8 n:int4");
  const order: readonly OrderColumn["as"][] = ["bytes", "integer"];
  const id = fc
    .tuple(fc.constantFrom("a", "B", "ä", "a,b", "z\\"), fc.integer({ min: -20, max: 1_200 }))
    .map(([region, no]) => `order-${region.replaceAll(/[\\,]/g, String.raw`\$&`)},${no}`);
  await fc.assert(
    fc.asyncProperty(
      fc.uniqueArray(id, { maxLength: 80 }),
      fc.integer({ min: 1, max: 30 }),
      fc.array(fc.nat(), { minLength: 1, maxLength: 30 }),
      async (ids, streamsMax, draws) => {
        const store = await storeOf(ids);
        let n = 0;
        const steps = (): number => draws[n++ % draws.length]!;
        const streams = new StoredStreams({ store, streamType: "order", root, order, streamsMax });
        const read = (await readAll(streams, steps)).flat();
        expect(read).toEqual(
          ids.toSorted((a, b) => compareKeyTexts(keyOfStream(a), keyOfStream(b), order)),
        );
      },
    ),
    budget(100),
  );
});

test("those whose key has a NULL, or is none that a row could have, lie behind all others", async () => {
  const ids = ["order-7", String.raw`order-\0`, "order-abc", "order-10", "order--3"];
  const store = await storeOf(ids);
  for (const streamsMax of [1, 100]) {
    const options = { store, streamType: "order", root: rootOf("*id:int4 n:int4"), streamsMax };
    const streams = new StoredStreams({ ...options, order: ["integer"] });
    expect(await streams.bound(undefined, 1, never)).toEqual(["-3"]);
    expect(await streams.bound(["-3"], 1, never)).toEqual(["7"]);
    expect(streams.range(["-3"], ["9"]).map((one) => one.stream)).toEqual(["order-7"]);
    expect(await streams.bound(["7"], 2, never)).toBeUndefined();
    const rest = streams.range(["7"], undefined).map((one) => one.stream);
    expect([rest[0], rest.slice(1).toSorted()]).toEqual([
      "order-10",
      [String.raw`order-\0`, "order-abc"],
    ]);
  }
});
