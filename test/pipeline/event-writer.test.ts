import { expect, test } from "vitest";
import { MemoryEventStore } from "../../connectors/memory/event-store.ts";
import { compileMapping } from "../../src/mapping/compile.ts";
import { child, inserted, stream, table } from "../../src/mapping/rules.ts";
import type { SourceTable } from "../../src/model/table.ts";
import { foldStreams } from "../../src/projection/fold-streams.ts";
import { Folder } from "../../src/projection/fold.ts";
import { change, shape, transaction } from "../support/mapping-fixtures.ts";
import { startPipeline } from "../support/live-pipeline.ts";
import { eventually, partOf, ScriptedLog } from "../support/scripted-log.ts";

const orders = table<{ id: string }>("orders");
const lines = table<{ id: string; order_id: string }>("lines");
const streams = {
  order: stream(orders, {
    children: { lines: child(lines, { order_id: "id" }) },
    events: { OrderPlaced: inserted(orders, { with: [lines] }) },
    otherwise: "OrderAmended",
  }),
};

/** As the catalogue has it: its columns have numbers. */
const numbered = (of: SourceTable): SourceTable => ({
  ...of,
  columns: of.columns.map((column, i) => ({ ...column, number: i + 1 })),
});

/**
 * A schema change in the middle of a batch: what came before it is told by the mapping of its own
 * time, though the root's table, whose event takes the child's rows along, did not change.
 */
test("each side of a schema change is told by its own mapping, however the log is batched", async () => {
  const ordersShape = shape("public.orders", "*id:int8 note");
  const before = shape("public.lines", "*id:int8 order_id:int8 sku");
  const after = shape("public.lines", "*id:int8 order_id:int8 article");
  const store = new MemoryEventStore();
  const log = new ScriptedLog([numbered(ordersShape), numbered(before)]);
  await using pipeline = await startPipeline({
    name: "orders",
    openSource: () => log,
    store,
    streams,
  });
  await pipeline.until(() => pipeline.status()?.phase === "tail");
  log.tables = [numbered(ordersShape), numbered(after)];
  const place = (id: string, of: SourceTable) => [
    change("insert", ordersShape, 1, undefined, [id, "x"]),
    change("insert", of, 2, undefined, [`${id}1`, id, `thing ${id}`]),
  ];
  log.emit(
    partOf(1, place("1", before)),
    partOf(2, place("2", before)),
    partOf(3, place("3", after)),
    partOf(4, place("4", after)),
  );
  await eventually(() => log.acknowledged.includes(transaction(4).end));
  const { events } = await store.readAll(undefined, 100);
  const versions = events.map(({ mappingVersion }) => mappingVersion);
  expect(versions[0]).toBe(versions[1]);
  expect(versions[2]).toBe(versions[3]);
  expect(versions[2]).toBeGreaterThan(versions[1]!);
  expect(pipeline.drifts).toMatchObject([{ renamed: [{ from: "sku", to: "article" }] }]);

  const folder = new Folder(await store.mappings(), compileMapping(streams, []).inverses());
  const articles: unknown[] = [];
  const never = new AbortController().signal;
  for await (const { state } of foldStreams(store.readStreamType("order", never), folder))
    articles.push(folder.toJson("order", state)["lines"]);
  expect(articles).toEqual(
    ["1", "2", "3", "4"].map((id) => [{ id: `${id}1`, order_id: id, article: `thing ${id}` }]),
  );
  await pipeline.stop();
});
