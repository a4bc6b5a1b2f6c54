import fc from "fast-check";
import { expect, test } from "vitest";
import { keyFault, recordedKeyFault } from "../../src/mapping/canonical-key.ts";
import { stream, table } from "../../src/mapping/rules.ts";
import type { MappingDefinition } from "../../src/model/mapping-definition.ts";
import type { TableMapper } from "../../src/mapping/table-mapper.ts";
import { compile, shape } from "../support/mapping-fixtures.ts";
import { budget } from "../support/random-budget.ts";

function rootOf(columns: string): TableMapper {
  const orders = shape("public.orders", columns);
  const mapping = compile({ order: stream(table("orders"), { otherwise: "OrderAmended" }) }, [
    orders,
  ]);
  return mapping.mapperOf(orders)!;
}

test.each([
  ["int8", "order-abc", '"abc" is not a whole number, as public.orders.id (int8) is written'],
  ["int4", "order-01", '"01" is not a whole number'],
  ["int4", "order-", '"" is not a whole number'],
  ["int4", "order--0", '"-0" is not a whole number'],
  ["int4", "order-+1", "is not a whole number"],
  ["int8", "order-9223372036854775808", "is not a number of 64 bits"],
  ["int4", "order-1,2", "its key has 2 parts, and that of public.orders is (id)"],
  ["int4", String.raw`order-\1`, String.raw`it would be written order-1`],
  ["numeric(9,2)", "order-1.50", "it would be written order-1.5"],
  ["numeric", "order-1e5", "is not a decimal number"],
  ["numeric", "order--0.0", "is not a decimal number"],
  ["uuid", "order-0AA00000-0000-0000-0000-000000000000", "is not a UUID in lower case"],
  ["bool", "order-true", "is not t or f"],
  ["bytea", String.raw`order-\\xABC`, "hex digits"],
  ["text", "order-a,b", String.raw`a comma within a value is written \,`],
  ["text", `order-${"x".repeat(600)}`, "it is longer than 600"],
])("a key of %s has no stream %s", (type, id, why) => {
  expect(keyFault(rootOf(`*id:${type} n:int4`), id)).toContain(why);
});

test.each([
  ["int4", "order-0"],
  ["int8", "order--9223372036854775808"],
  ["numeric", "order-1.05"],
  ["numeric(9,2)", "order-100"],
  ["numeric", "order-NaN"],
  ["uuid", "order-0aa00000-0000-0000-0000-000000000000"],
  ["bool", "order-t"],
  ["bytea", String.raw`order-\\x00ff`],
  ["text", "order-"],
  ["text", String.raw`order-a\,b\\`],
  ["int4", String.raw`order-\0`],
  ["timestamptz", "order-anything that only the source can judge"],
])("a key of %s may have the stream %s", (type, id) => {
  expect(keyFault(rootOf(`*id:${type} n:int4`), id)).toBeUndefined();
});

test("an id is judged by what a store recorded of the newest mapping that has its type, as by the mapping itself", () => {
  const definition = (type: string, streamType = "price"): MappingDefinition =>
    compile({ [streamType]: stream(table("prices"), { otherwise: "PriceAmended" }) }, [
      shape("public.prices", `n:int4 *amount:${type} *no:int8`),
    ]).definition();
  const recorded = new Map([
    [1, definition("text")],
    [2, definition("numeric(9,2)")],
    [3, definition("text", "order")],
  ]);
  const fault = (id: string): string | undefined => recordedKeyFault(recorded, id);
  expect(fault("price-2.50,7")).toBe("it would be written price-2.5,7");
  expect(fault("price-2.00,07")).toBe(
    '"07" is not a whole number, as public.prices.no (int8) is written',
  );
  expect(fault("price-2.5")).toMatch(
    /^its key has one part, and that of public\.prices is \(amount, no\)/,
  );
  expect(fault("price-2.5,7")).toBeUndefined();
  expect(fault("order-2.50,7")).toBeUndefined();
  for (const unknown of ["parcel-2.50", "toString-2.50", "prices"])
    expect(fault(unknown)).toBeUndefined();
  expect(recordedKeyFault(new Map(), "price-2.50")).toBeUndefined();
});

test("whatever id a row has reads back as itself, and one of fewer or more columns does not", () => {
  const root = rootOf("*region:text *no:int8 *rate:numeric n:int4");
  const row = fc.tuple(
    fc.option(fc.string({ unit: "binary" })),
    fc.option(fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }).map(String)),
    fc.option(fc.tuple(fc.nat(), fc.nat(999)).map(([a, b]) => `${a}.${b}`)),
  );
  fc.assert(
    fc.property(row, (key) => {
      const storable = key.map((part) => part?.replaceAll(/[\0\p{Surrogate}]/gu, "") ?? null);
      const id = root.streamIdOf([...storable, "1"]);
      expect(keyFault(root, id)).toBeUndefined();
      expect(keyFault(root, `${id},1`)).toBeDefined();
      expect(keyFault(root, id.slice(0, id.lastIndexOf(",")))).toBeDefined();
    }),
    budget(200),
  );
});
