import { expect, test } from "vitest";
import { openAggregates } from "banyan";
import { SERVICE_TABLES, STREAMS } from "./service-bench.ts";
import { openServiceStore } from "../connectors/postgres/service-store-fixture.ts";
import { streamOf } from "../contract/event-batches.ts";
import { compileMapping } from "../../src/mapping/compile.ts";
import { requestContext } from "../../src/service/request-context.ts";

const PLACED = { status: "placed", total: "1", updated_at: "2026-01-31T10:00:00Z" } as const;

test("two services at work on one aggregate lose nothing, and each command is stored once", async () => {
  await using opened = await openServiceStore("two_services");
  const { store, database } = opened;
  const writer = await store.openCapture("shop", "test://shop");
  await writer.mappingVersion("first", compileMapping(STREAMS, SERVICE_TABLES).definition());
  await writer.close();
  await opened.moveTo("canary", 10_000);
  await opened.reserve("order", [{ id: "7", bucket: 0 }]);
  const open = () => openAggregates({ store: database.url, pipeline: "shop", streams: STREAMS });
  const services = await Promise.all([open(), open()]);
  try {
    const both = services.map((service) => service.aggregates("order"));
    const [orders] = both;
    const { id } = await orders!.create(requestContext({}), (newId) => [
      orders!.events.OrderPlaced({ id: newId, ...PLACED }),
    ]);
    expect(id).toBe("7");
    // Each command is sent to both services at once, as a client does that got no answer.
    const rated = await Promise.all(
      Array.from({ length: 4 }, (_, n) => n).flatMap((n) =>
        both.map((orderings) =>
          orderings.execute(requestContext({ "idempotency-key": `k-${n}` }), id, (order) => [
            orderings.events.OrderRated({ rating: (order!.rating ?? 0) + 1 }),
          ]),
        ),
      ),
    );
    expect(rated.filter(({ outcome }) => outcome === "stored")).toHaveLength(4);
    expect(rated.filter(({ outcome }) => outcome === "repeated")).toHaveLength(4);
    for (const orderings of both) {
      expect(await orderings.load(id)).toMatchObject({ version: 5, state: { rating: 4 } });
    }
    const told = await streamOf(store, "order-7");
    expect(told.map(({ origin, mappingVersion }) => [origin, mappingVersion])).toEqual(
      Array.from({ length: 5 }, () => ["native", 1]),
    );
    await services[0].check();
  } finally {
    await Promise.all(services.map((service) => service.close()));
  }
});
