import { expect, test } from "vitest";
import { parseConfig } from "../../src/config/load-config.ts";
import { child, stream, table } from "../../src/mapping/rules.ts";
import type { BanyanError } from "../../src/model/errors.ts";

const orders = table<{ id: string }>("orders");
const payments = table<{ id: string; order_id: string }>("payments");

function parse(dual: unknown) {
  const streams = {
    order: stream(orders, {
      children: { payments: child(payments, { order_id: "id" }) },
      otherwise: "OrderAmended",
    }),
  };
  const source = { kind: "postgres", url: "postgres://h/d" };
  return parseConfig({ name: "shop", source, streams, dual }, "/x/banyan.config.ts", {}).dual;
}

test("nothing may differ where nothing is declared", () => {
  expect(parse(undefined)).toEqual({ normalise: {}, compareEvents: false, windowSeconds: 10 });
  expect(parse({ normalise: { order: { generated: { payments: ["id"] } } } }).normalise).toEqual({
    order: { ignore: [], generated: { payments: ["id"] }, timestampsWithinMs: 0 },
  });
});

test("stream types and tables that there are not are refused, all at once", () => {
  let message = "";
  try {
    parse({ normalise: { invoice: {}, order: { generated: { hats: ["id"], order: ["id"] } } } });
  } catch (error) {
    message = (error as BanyanError).message;
  }
  expect(message).toContain("is none of the streams: order");
  expect(message).toContain("is no table of order: order, payments");
  expect(message).toContain("dual.normalise.order.generated.hats");
  expect(message).not.toContain("generated.order");
});
