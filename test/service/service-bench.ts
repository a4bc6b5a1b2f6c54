import { MemoryEventStore } from "../../connectors/memory/event-store.ts";
import {
  becomes,
  changed,
  changes,
  child,
  deleted,
  inserted,
  stream,
  table,
  updated,
} from "../../src/mapping/rules.ts";
import { compileMapping } from "../../src/mapping/compile.ts";
import { aggregateStore } from "../../src/service/aggregate-store.ts";
import type { Stage } from "../../src/rollout/stage.ts";
import { shape } from "../support/mapping-fixtures.ts";

const orders = table<{
  id: string;
  status: "placed" | "paid" | "cancelled";
  total: string;
  note: string | null;
  rating: number | null;
  details: string | null;
  updated_at: string;
}>("orders");
const lines = table<{
  order_id: string;
  no: number;
  sku: string;
  price: string;
}>("lines");
const articles = table<{ id: string; name: string }>("articles");

export const STREAMS = {
  order: stream(orders, {
    children: { lines: child(lines, { order_id: "id" }) },
    validTime: "updated_at",
    events: {
      OrderPlaced: inserted(orders, { with: [lines] }),
      OrderPaid: updated(orders, { status: becomes("paid") }, { data: ["updated_at"] }),
      OrderNoted: updated(orders, { note: changes() }),
      OrderRated: updated(orders, changed("rating"), {
        transform: {
          columns: ["rating"],
          to: ({ rating }) => ({ stars: rating }),
          from: ({ stars }) => ({ rating: stars as number }),
        },
      }),
      OrderDeleted: deleted(orders),
      LineAdded: inserted(lines),
      LineRepriced: updated(lines, { price: changes() }),
      LineRemoved: deleted(lines),
    },
    otherwise: "OrderAmended",
  }),
  article: stream(articles, { otherwise: "ArticleAmended" }),
};

export const SERVICE_TABLES = [
  shape(
    "public.orders",
    "*id:int8 status:order_status total:numeric(12,2) note rating:int4 details:jsonb updated_at:timestamptz",
  ),
  shape("public.lines", "*order_id:int8 *no:int4 sku price:numeric(10,2)"),
  shape("public.articles", "*id:uuid name"),
];

/** A memory store that knows the mapping, with all aggregates moved. */
export async function serviceBench(stage: Stage = "new", share = 0) {
  const store = new MemoryEventStore();
  const writer = await store.openCapture("shop", "test://shop");
  const mapping = compileMapping(STREAMS, SERVICE_TABLES);
  await writer.mappingVersion("first", mapping.definition());
  const moveTo = (to: Stage, toShare = 0): void => {
    for (const type of ["order", "article"]) {
      store.services.put("shop", type, { stage: to, share: toShare, salt: "s", epoch: 1 });
    }
  };
  moveTo(stage, share);
  const opened = aggregateStore(store, "shop", STREAMS);
  return { store, writer, mapping, moveTo, opened, orders: opened.aggregates("order") };
}
