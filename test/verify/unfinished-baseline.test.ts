import { expect, test } from "vitest";
import { requireBaseline, type VerifyOptions } from "../../src/verify/prepare.ts";

test("how far an unfinished baseline is, is told of each stream type", async () => {
  const record = {
    checkpoint: "0/0",
    source: "postgres://legacy",
    tables: [],
    baselines: [
      { stream: "order", done: false, rowsRead: 6_664, rowsEstimated: 500_000 },
      { stream: "customer", done: true, rowsRead: 7, rowsEstimated: 9 },
      { stream: "item", done: false, rowsRead: 2_000, rowsEstimated: 1_500 },
    ],
  };
  const options = {
    pipeline: "shop",
    store: { pipeline: () => Promise.resolve(record) },
    source: { identify: () => Promise.resolve({ uri: "postgres://legacy" }) },
  } as never as VerifyOptions;
  expect(await requireBaseline(options)).toBe(
    "the baseline is not finished: order (6,664 of about 500,000 rows), item (2,000 rows, more than the 1,500 estimated)",
  );
});
