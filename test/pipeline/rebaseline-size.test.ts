import { expect, test } from "vitest";
import { RebaselineSize } from "../../src/pipeline/rebaseline-size.ts";
import { stream, table } from "../../src/mapping/rules.ts";
import type { RebaselineRequest } from "../../src/store/event-store.ts";
import { compile, shape } from "../support/mapping-fixtures.ts";

const mapping = compile({ order: stream(table("orders"), { otherwise: "OrderAmended" }) }, [
  shape("public.orders", "*id:int4 n:int4"),
]);

function sizeOf(unindexed: readonly string[] = []) {
  let surveys = 0;
  const size = new RebaselineSize({
    surveyChunks: () => {
      surveys += 1;
      return Promise.resolve({ rows: 0, bytes: 0, unindexed });
    },
  });
  const first = async (requests: readonly RebaselineRequest[]): Promise<number> =>
    (await size.first(requests, mapping, mapping.stream("order")!)).length;
  return { size, first, surveys: () => surveys };
}

function requests(attempts: readonly number[]): readonly RebaselineRequest[] {
  return attempts.map((n, i) => ({ id: `${i}`, stream: `order-${i}`, reason: "", attempts: n }));
}

const many = (count: number, attempts = 0): number[] => Array<number>(count).fill(attempts);

test("streams with many rows are read fewer at a time, down to one, and more again where they have few", async () => {
  const { size, first } = sizeOf();
  const all = requests(many(1_000));
  expect(await first(all)).toBe(200);
  size.read(200, 4_000_000, 600);
  expect(await first(all)).toBe(10);
  size.read(10, 5_000_000, 300);
  expect(await first(all)).toBe(1);
  size.read(1, 3_000_000, 300);
  expect(await first(all)).toBe(1);
  size.read(1, 0, 300);
  expect(await first(all)).toBe(200);
  expect(await first([])).toBe(0);
});

test("as many streams are read at once as take a moment, never fewer than at first for that, and a page at most", async () => {
  const { size, first } = sizeOf();
  const all = requests(many(6_000));
  const read = async (streams: number, ms: number): Promise<number> => {
    size.read(streams, streams, ms);
    return await first(all);
  };
  expect(await read(200, 50)).toBe(400);
  // Fewer than might have been read say nothing.
  expect(await read(3, 50)).toBe(400);
  expect(await read(400, 300)).toBe(800);
  expect(await read(800, 800)).toBe(500);
  expect(await read(500, 2_500)).toBe(200);
  expect(await read(200, 10_000)).toBe(200);
  for (let grown = 400; grown < 5_000; grown *= 2) expect(await read(grown / 2, 1)).toBe(grown);
  expect(await read(3_200, 1)).toBe(5_000);
});

test("a table that is read as a whole each time is read for thousands of streams at once, and it is asked for that once", async () => {
  const { first, surveys } = sizeOf(["public.lines"]);
  expect(await first(requests(many(6_000)))).toBe(5_000);
  expect(await first(requests(many(6_000)))).toBe(5_000);
  expect(surveys()).toBe(1);
});

test("those in whose midst the process ended are read apart from others, fewer each time", async () => {
  for (const unindexed of [[], ["public.lines"]]) {
    const { first } = sizeOf(unindexed);
    expect(await first(requests([...many(3, 1), ...many(300)]))).toBe(3);
    expect(await first(requests([...many(300, 1)]))).toBe(13);
    expect(await first(requests([...many(13, 2), ...many(200, 1)]))).toBe(1);
  }
});
