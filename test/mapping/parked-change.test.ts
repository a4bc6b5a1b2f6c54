import { describe, expect, test } from "vitest";
import { emptyOutput } from "../../src/pipeline/event-writer.ts";
import { ChangeMapper } from "../../src/mapping/change-mapper.ts";
import { parkChange, unparkChange, type ParkedPayload } from "../../src/mapping/parked-change.ts";
import { stream, table } from "../../src/mapping/rules.ts";
import type { RowChange } from "../../src/model/change.ts";
import type { SourceTable } from "../../src/model/table.ts";
import { change, compile, shape, transaction } from "../support/mapping-fixtures.ts";

const orders = shape("public.orders", "*id:int8 note blob", "default");
const mapping = compile({ order: stream(table("orders"), { otherwise: "OrderAmended" }) }, [
  orders,
]);

/** As it comes back from the store, which keeps it as JSON. */
function parkedAndBack(parked: RowChange, now: SourceTable = orders): RowChange {
  const payload = JSON.stringify(parkChange(parked, transaction(1), undefined));
  return unparkChange(JSON.parse(payload) as ParkedPayload, now, mapping.columnsOf(now));
}

describe("a parked change comes back as it was", () => {
  test("NULL, the empty text and what is not known are three things", () => {
    const update = change("update", orders, 3, ["7", undefined, undefined], ["7", null, undefined]);
    expect(parkedAndBack(update)).toEqual(update);
    const remove = change("delete", orders, 4, ["7", undefined, ""], undefined);
    expect(parkedAndBack(remove)).toEqual(remove);
    const left: RowChange = { ...update, half: "left" };
    expect(parkedAndBack(left)).toEqual(left);
  });

  test("tried again without the row before it, it is refused again: nothing is made up", () => {
    const mapper = new ChangeMapper(mapping, 1);
    for (const incomplete of [
      change("update", orders, 1, ["7", undefined, undefined], ["7", "new", "x"]),
      change("update", orders, 1, ["7", "old", "x"], ["7", "new", undefined]),
      change("delete", orders, 1, ["7", undefined, undefined], undefined),
    ]) {
      const out = emptyOutput();
      mapper.blocked.clear();
      mapper.map(transaction(1), [parkedAndBack(incomplete)], undefined, out);
      expect(out.events.length).toBe(0);
      expect(out.parked.map(({ code }) => code)).toEqual(["BEFORE_IMAGE_MISSING"]);
    }
  });

  test("a column that was added meanwhile holds in it what old rows hold", () => {
    const mappingNow = compile({ order: stream(table("orders"), { otherwise: "OrderAmended" }) }, [
      orders,
    ]);
    const wider = shape("public.orders", "*id:int8 note blob colour size", "default");
    const columns = wider.columns.map((column) =>
      column.name === "colour" ? { ...column, filled: "grey" } : column,
    );
    mappingNow.adopt({ ...orders });
    mappingNow.adopt(wider, { ...wider, columns });
    const payload = parkChange(
      change("insert", orders, 1, undefined, ["7", null, "x"]),
      transaction(1),
      undefined,
    );
    expect(unparkChange(payload, wider, mappingNow.columnsOf(wider)).after).toEqual([
      "7",
      null,
      "x",
      "grey",
      null,
    ]);
  });

  test("its place, its transaction and what was said in it come back too", () => {
    const intent = { actor: "anna", metadata: { reason: "phone" } };
    const insert = change("insert", orders, 9, undefined, ["7", "a", "b"]);
    const payload = parkChange(insert, transaction(4), intent);
    const back = JSON.parse(JSON.stringify(payload)) as ParkedPayload;
    expect(back.transaction).toEqual(transaction(4));
    expect(back.intent).toEqual(intent);
    expect(unparkChange(back, orders, mapping.columnsOf(orders)).ordinal).toBe(9);
  });
});
