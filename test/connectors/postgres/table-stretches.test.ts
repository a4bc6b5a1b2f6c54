import { expect, test } from "vitest";
import type { SnapshotRows } from "../../../connectors/postgres/snapshot-rows.ts";
import { eachStretch, type Stretch } from "../../../connectors/postgres/table-stretches.ts";
import { BanyanError } from "../../../src/model/errors.ts";
import type { SourceTable } from "../../../src/model/table.ts";

const TABLE = { name: "public.parted" } as SourceTable;

async function stretchesOf(
  pages: readonly number[] | undefined,
  onRead: (stretch: Stretch) => void = () => undefined,
): Promise<readonly Stretch[]> {
  const files = pages?.map((count, i) => ({ from: `part_${i}`, pages: count }));
  const rows = { files: () => Promise.resolve(files), from: () => "parted" };
  const read: Stretch[] = [];
  await eachStretch(
    rows as unknown as SnapshotRows,
    TABLE,
    () => Promise.resolve(false),
    (stretch) => {
      onRead(stretch);
      read.push(stretch);
      return Promise.resolve();
    },
    new AbortController().signal,
  );
  return read;
}

/** Pages that a condition holds for, as `first-end`; to the end of the file without an end. */
function rangeOf({ from, where }: Stretch): readonly [string, number, number] {
  const [first, end] = [/ctid >= '\((\d+),0\)'/, /ctid < '\((\d+),0\)'/].map((pattern) =>
    pattern.exec(where),
  );
  return [from, Number(first?.[1] ?? 0), Number(end?.[1] ?? Infinity)];
}

test("each file is read from its first page to its end, every page once", async () => {
  const ranges = (await stretchesOf([300, 9_000, 0, 2_000, 31_000])).map(rangeOf);
  const ordered = ranges.toSorted((a, b) => (a[0] === b[0] ? a[1] - b[1] : a[0] < b[0] ? -1 : 1));
  expect(ordered.length).toBeGreaterThan(6);
  ordered.forEach(([from, first], i) => {
    const [before, , end] = ordered[i - 1] ?? ["", 0, Infinity];
    if (from === before) expect(first).toBe(end);
    else expect([end, first]).toEqual([Infinity, 0]);
  });
  expect(new Set(ordered.map(([from]) => from)).size).toBe(5);
  expect(ordered.at(-1)![2]).toBe(Infinity);
});

test("what is small, or cannot be read in parts, is read in one", async () => {
  const whole = [{ from: "parted", where: "true" }];
  expect(await stretchesOf([10, 20, 1_000])).toEqual(whole);
  expect(await stretchesOf(undefined)).toEqual(whole);
});

test("a partition that is gone is found again by the next attempt", async () => {
  const gone = stretchesOf([9_000, 9_000], ({ from }) => {
    if (from === "part_1") throw new BanyanError("TABLE_MISSING", "no such table");
  });
  await expect(gone).rejects.toMatchObject({ code: "SOURCE_UNREACHABLE" });
});
