import fc from "fast-check";
import { expect, test } from "vitest";
import { child, stream, table } from "../../src/mapping/rules.ts";
import { joinHalves } from "../../src/model/text-hash.ts";
import { RowHash } from "../../src/source/row-hash.ts";
import { hashesOf } from "../../src/verify/comparison.ts";
import type { StreamHashes } from "../../src/verify/stream-hashes.ts";
import { compile, shape } from "../support/mapping-fixtures.ts";
import { budget } from "../support/random-budget.ts";

const order = table<{ shop: string; no: string; note: string }>("order");
const line = table<{ id: string; shop: string; of: string }>("line");
const STREAMS = {
  order: stream(order, {
    children: { lines: child(line, { shop: "shop", of: "no" }) },
    otherwise: "Amended",
  }),
};
const TABLES = [
  shape("public.order", "*shop *no:numeric note"),
  shape("public.line", "*id:int8 shop of:numeric(12,4)"),
];

function hashesFor(tables = TABLES): StreamHashes {
  const mapping = compile(STREAMS, tables);
  return hashesOf(mapping, mapping.streams[0]!, tables);
}

const text = fc.string({
  unit: fc.constantFrom("\\", ",", "0", "-", "\x1f", "é", "😀", "a"),
  maxLength: 6,
});
const number = fc.constantFrom(
  "0",
  "1",
  "1.0",
  "1.0000",
  "10",
  "100.00",
  "-1.50",
  "NaN",
  "Infinity",
);

test("a stream and every row of it are in one bucket, however the row writes the key", () => {
  const hashes = hashesFor();
  fc.assert(
    fc.property(text, number, fc.boolean(), (shop, no, isNull) => {
      for (const [role, cells] of [
        [0, [shop, no, "x"]],
        [1, ["1", isNull ? null : shop, no]],
        [1, ["2", shop, isNull ? null : no]],
      ] as const) {
        const mapper = hashes.mappers[role]!;
        const { high, low } = new RowHash(mapper.table, mapper.parts.streamColumns).key(cells);
        expect(hashes.keyOf(mapper.streamIdOf(cells))).toBe(joinHalves(high, low));
      }
    }),
    budget(500),
  );
});

test("hashes are told apart by all that they depend on beside the events", () => {
  const fingerprints = [
    hashesFor().fingerprint,
    hashesFor([shape("public.order", "*shop *no:numeric other"), TABLES[1]!]).fingerprint,
    hashesFor([shape("public.order", "*shop *no:numeric note:int4"), TABLES[1]!]).fingerprint,
    hashesFor([shape("public.order", "*shop *no:numeric note more"), TABLES[1]!]).fingerprint,
    hashesFor([TABLES[0]!, shape("public.line", "*id:int8 shop of:numeric")]).fingerprint,
  ];
  expect(new Set(fingerprints).size).toBe(fingerprints.length);
  expect(hashesFor().fingerprint).toBe(fingerprints[0]);
});
