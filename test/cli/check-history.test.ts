import { expect, test } from "vitest";
import { MemoryEventStore } from "../../connectors/memory/event-store.ts";
import { compareWithHistory, readHistory } from "../../src/cli/check-history.ts";
import { compileMapping } from "../../src/mapping/compile.ts";
import { stream, table } from "../../src/mapping/rules.ts";
import { BanyanError } from "../../src/model/errors.ts";
import type { EventStore } from "../../src/store/event-store.ts";
import { startPipeline } from "../support/live-pipeline.ts";
import { shape } from "../support/mapping-fixtures.ts";
import { eventually, ScriptedLog } from "../support/scripted-log.ts";

const CONFIG = { name: "orders", store: { kind: "postgres", url: "postgres://x/y" } } as const;
const ordersShape = shape("public.orders", "*id:int8 note");
const order = stream(table("orders"), { otherwise: "OrderAmended" });

const refusing = (sqlstate: string) => (): Promise<EventStore> =>
  Promise.reject(
    new BanyanError("STORE_REFUSED", "no way in", { cause: Object.assign(new Error(), { code: sqlstate }) }), // prettier-ignore
  );

async function storeThatRan(): Promise<MemoryEventStore> {
  const store = new MemoryEventStore();
  const openSource = () => new ScriptedLog([ordersShape], { "public.orders": [["1", "a"]] });
  await using pipeline = await startPipeline({ name: "orders", openSource, store, streams: { order } }); // prettier-ignore
  await eventually(async () => (await store.pipeline("orders"))?.phase === "tail");
  await pipeline.stop();
  return store;
}

test("a pipeline that never ran has no history, whether its store is there or not", async () => {
  expect(await readHistory(CONFIG, () => Promise.resolve(new MemoryEventStore()))).toEqual({});
  for (const sqlstate of ["42P01", "3F000", "3D000"])
    expect(await readHistory(CONFIG, refusing(sqlstate))).toEqual({});
  const embedded = { name: "orders", store: { kind: "embedded", directory: "/nowhere/at/all" } } as const; // prettier-ignore
  expect(await readHistory(embedded, refusing("never asked"))).toEqual({});
});

test("a store that cannot be asked is a warning, for the config may be right", async () => {
  expect(await readHistory(CONFIG, refusing("28P01"))).toEqual({
    finding: {
      severity: "warning",
      code: "history-unread",
      message: "the store could not be asked what has run so far: no way in",
    },
  });
});

test("a config is compared with the mapping of the last run, and with the tables captured", async () => {
  const store = await storeThatRan();
  const { history } = await readHistory(CONFIG, () => Promise.resolve(store));
  const same = compileMapping({ order }, [ordersShape]);
  expect(compareWithHistory(same, history!)).toEqual({ changes: { from: 1, changes: [] } });
  const moved = compileMapping({ purchase: order }, [ordersShape]);
  expect(compareWithHistory(moved, history!)).toMatchObject({
    changes: { from: 1, changes: [{ stream: "purchase", how: "added" }, { stream: "order", how: "removed" }] }, // prettier-ignore
    finding: {
      severity: "error",
      code: "table-cannot-change",
      message: expect.stringMatching(/public\.orders is captured as "order" of stream order.* Name it "order" of order as before/) as unknown, // prettier-ignore
    },
  });
});
