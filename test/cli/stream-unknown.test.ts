import { expect, test } from "vitest";
import { streamUnknown } from "../../src/cli/stream-unknown.ts";
import { stream, table } from "../../src/mapping/rules.ts";
import { compile, shape } from "../support/mapping-fixtures.ts";

const streams = { price: stream(table("prices"), { otherwise: "PriceAmended" }) };
const definition = compile(streams, [shape("public.prices", "*amount:numeric")]).definition();
const store = { mappings: () => Promise.resolve(new Map([[1, definition]])) };

test.each([
  [
    "price-2.50",
    "there are no events of price-2.50: it would be written price-2.5",
    "A stream is named by its type (price), a dash and its key as the database writes it, a numeric without zeros at its end, e.g. price-1",
  ],
  [
    "price-2.5",
    "there are no events of price-2.5",
    "A stream is named by its type (price), a dash and its key, e.g. price-1",
  ],
  [
    "order-2.50",
    "there are no events of order-2.50",
    "A stream is named by its type (price), a dash and its key, e.g. price-1",
  ],
])("of %s nothing is known: %s", async (id, message, hint) => {
  const { code, message: said, hint: next } = await streamUnknown(id, { streams }, store);
  expect([code, said, next]).toEqual(["STREAM_UNKNOWN", message, hint]);
});
