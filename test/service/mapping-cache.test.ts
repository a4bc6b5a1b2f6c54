import { expect, test } from "vitest";
import { SERVICE_TABLES, STREAMS } from "./service-bench.ts";
import { compileMapping } from "../../src/mapping/compile.ts";
import type { MappingDefinition } from "../../src/model/mapping-definition.ts";
import { MappingCache } from "../../src/service/mapping-cache.ts";
import type { EventStore } from "../../src/store/event-store.ts";

test("a version that was stored later than a higher one is known with the next read", async () => {
  const definition = compileMapping(STREAMS, SERVICE_TABLES).definition();
  const stored = new Map<number, MappingDefinition>([
    [1, definition],
    [3, definition],
  ]);
  const store = { mappings: () => Promise.resolve(new Map(stored)) } as unknown as EventStore;
  const cache = new MappingCache(store, STREAMS);
  expect((await cache.of("order")).version).toBe(3);
  stored.set(2, definition);
  const { folder } = await cache.knowing("order", 2);
  const placed = {
    type: "OrderPlaced",
    data: { id: "7", status: "placed", total: "1.00", lines: [] },
    stream: "order-7",
    version: 1,
    mappingVersion: 2,
  };
  const state = new Map();
  folder.apply(state, placed);
  expect(folder.toJson("order", state)).toMatchObject({ id: "7", status: "placed" });
});
