import { describe, expect, test } from "vitest";
import { becomes, child, stream, table, updated } from "../../src/mapping/rules.ts";
import type { Mapping } from "../../src/mapping/compile.ts";
import { change, compile, mapAll, shape, told } from "../support/mapping-fixtures.ts";

interface OrderRow {
  id: string;
  status: string;
  note: string | null;
  changed_at: string;
}
const orders = table<OrderRow>("orders");
const lines = table<{ id: string; order_id: string; sku: string }>("lines");
const COLUMNS = "*id:int8 status note changed_at:timestamptz";
const ordersShape = shape("public.orders", COLUMNS);
const linesShape = shape("public.lines", "*id:int8 order_id:int8 sku");

function fresh(): Mapping {
  return compile(
    {
      order: stream(orders, {
        children: { lines: child(lines, { order_id: "id" }) },
        validTime: "changed_at",
        events: { OrderPaid: updated(orders, { status: becomes("paid") }) },
        otherwise: "OrderAmended",
      }),
    },
    [ordersShape, linesShape],
  );
}

describe("the first shape from the log", () => {
  test("may be of before the catalogue: what it lacks did not exist yet", () => {
    const mapping = fresh();
    const older = shape("public.orders", "*id:int8 note changed_at:timestamptz");
    const drift = mapping.adopt(older, ordersShape);
    expect(drift).toMatchObject({ dropped: ["status"], broken: undefined });
    const out = mapAll(mapping, [[change("update", older, 1, ["7", "a", "x"], ["7", "b", "x"])]]);
    expect(told(out).map(({ type }) => type)).toEqual(["OrderAmended"]);
  });

  test("may be of after it: what it lacks is gone, and a rule that uses it stops its streams", () => {
    const mapping = fresh();
    const newer = shape("public.orders", "*id:int8 note changed_at:timestamptz");
    expect(mapping.adopt(newer, newer)?.broken?.message).toContain("rule OrderPaid");
    const retyped = shape("public.orders", "*id:int8 status:int4 note changed_at:timestamptz");
    expect(fresh().adopt(retyped, retyped)?.broken?.message).toContain("another type");
    expect(fresh().adopt(retyped, ordersShape)?.broken).toBeUndefined();
  });
});

describe("a shape that no longer fits the config stops its streams", () => {
  const brokenBy = (now: ReturnType<typeof shape>): string | undefined => {
    const mapping = fresh();
    mapping.adopt({ ...ordersShape });
    mapping.adopt({ ...linesShape });
    const drift = mapping.adopt(now, now);
    if (drift?.broken === undefined) return undefined;
    const cells = now.columns.map(() => "1");
    const out = mapAll(mapping, [[change("insert", now, 1, undefined, cells)]]);
    expect(out.parked.map(({ code }) => code)).toEqual(["SCHEMA_DRIFT"]);
    expect(drift.broken.hint).toContain("quarantine retry");
    return drift.broken.message;
  };

  test.each([
    [
      "a rule's column",
      shape("public.orders", "*id:int8 note changed_at:timestamptz"),
      "OrderPaid",
    ],
    ["the valid time", shape("public.orders", "*id:int8 status note"), "valid time of order"],
    ["the parent link", shape("public.lines", "*id:int8 sku"), "parent link of lines"],
    [
      "the key",
      shape("public.orders", "status note changed_at:timestamptz"),
      "key of public.orders is gone",
    ],
    ["a name that Banyan keeps", shape("public.orders", `${COLUMNS} $was`), "begins with $"],
    ["the name of a child", shape("public.orders", `${COLUMNS} lines`), "name of a child"],
  ])("for %s", (_, now, part) => {
    expect(brokenBy(now)).toContain(part);
  });

  test.each([
    [
      "a column that nothing uses is dropped",
      shape("public.orders", "*id:int8 status changed_at:timestamptz"),
    ],
    ["a column is added", shape("public.orders", `${COLUMNS} colour`)],
    [
      "a child's column is named as another child",
      shape("public.lines", "*id:int8 order_id:int8 sku lines"),
    ],
    ["a column has a name that every object has", shape("public.orders", `${COLUMNS} constructor`)],
  ])("not when %s", (_, now) => {
    expect(brokenBy(now)).toBeUndefined();
  });
});

test("after a schema change of one table the events of the others belong to the new mapping too", () => {
  const mapping = fresh();
  mapping.setVersion(1);
  const wider = shape("public.lines", "*id:int8 order_id:int8 sku colour");
  mapping.adopt(wider);
  mapping.setVersion(2);
  expect(mapping.mapperOf(ordersShape)!.mappingVersion).toBe(2);
  expect(mapping.mapperOf(wider)!.mappingVersion).toBe(2);
  // What still comes in the old shape was told by the old mapping.
  expect(mapping.mapperOf(linesShape)!.mappingVersion).toBe(1);
});

test("the same config on the same tables is the same mapping, in whatever order its parts are written", () => {
  const one = fresh();
  const definition = JSON.parse(JSON.stringify(one.definition())) as object;
  expect(fresh().fingerprint()).toBe(one.fingerprint());
  expect(definition).toEqual(one.definition());
  const wider = fresh();
  wider.adopt(shape("public.lines", "*id:int8 order_id:int8 sku colour"));
  expect(wider.fingerprint()).not.toBe(one.fingerprint());
});
