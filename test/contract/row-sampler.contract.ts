import { describe, expect, test } from "vitest";
import type { Cells, SourceTable } from "../../src/model/table.ts";
import type { RowSampler, SampleOptions, TableSample } from "../../src/source/row-sample.ts";

/** A sampler of a database with the tables below. */
export interface SampledDatabase extends AsyncDisposable {
  readonly sampler: RowSampler;
  /** Shape of one of them, or of a table that is not there. */
  shapeOf(relation: "filled" | "empty" | "missing"): SourceTable;
}

/**
 * Rows of `filled`: id int, mood (only happy or sad), note text, which the constraint `no_secret` keeps
 * from being `secret`. `empty` has the same columns.
 */
export const FILLED: readonly Cells[] = Array.from({ length: 30 }, (_, i) => [
  String(i + 1),
  i % 2 === 0 ? "happy" : "sad",
  i % 3 === 0 ? null : `note ${i}`,
]);
export const MOODS = ["happy", "sad"] as const;

/** What every sampler of rows holds. */
export function rowSamplerContract(name: string, open: () => Promise<SampledDatabase>): void {
  const sample = async (
    relations: readonly Parameters<SampledDatabase["shapeOf"]>[0][],
    options: Partial<SampleOptions> = {},
    signal = new AbortController().signal,
  ): Promise<readonly TableSample[]> => {
    await using database = await open();
    const tables = relations.map((relation) => database.shapeOf(relation));
    return await database.sampler.sample(
      tables,
      { rowsMax: 10, budgetMs: 10_000, ...options },
      signal,
    );
  };

  describe(`row sampler: ${name}`, () => {
    test("gives as many real rows as asked for, of each table, in the order asked", async () => {
      const samples = await sample(["empty", "filled"]);
      expect(samples.map(({ table }) => table)).toEqual(["public.empty", "public.filled"]);
      const [empty, filled] = samples;
      expect(empty!.rows).toEqual([]);
      expect(filled!.rows.length).toBe(10);
      expect(new Set(filled!.rows.map(([id]) => id)).size).toBe(10);
      for (const row of filled!.rows) expect(FILLED).toContainEqual(row);
      expect(samples.map(({ leftOut }) => leftOut)).toEqual([undefined, undefined]);
    });

    test("gives all rows of a table that has fewer", async () => {
      const [filled] = await sample(["filled"], { rowsMax: 1_000 });
      const byId = (a: Cells, b: Cells): number => Number(a[0]) - Number(b[0]);
      expect(filled!.rows.toSorted(byId)).toEqual(FILLED);
    });

    test("says what values a column can have, also when no row is asked for", async () => {
      const [filled] = await sample(["filled"], { rowsMax: 0 });
      expect(filled!.rows).toEqual([]);
      expect(filled!.leftOut).toBeUndefined();
      expect(filled!.columns.get("mood")?.allowed).toEqual(MOODS);
      expect(filled!.columns.get("note")?.allowed).toBeUndefined();
    });

    test("says of a table that is not there that it is not, and reads the others", async () => {
      const [missing, filled] = await sample(["missing", "filled"]);
      expect(missing).toMatchObject({ rows: [], leftOut: "it is not there any more" });
      expect(filled!.rows.length).toBe(10);
    });

    test("says which constraint would refuse a row, and takes what may be NULL", async () => {
      await using database = await open();
      const filled = database.shapeOf("filled");
      const right: Cells[] = [
        ["77", "happy", "note"],
        ["1", "sad", null],
      ];
      expect(await database.sampler.refusedBy(filled, right)).toBeUndefined();
      const wrong: Cells = ["78", "happy", "secret"];
      expect(await database.sampler.refusedBy(filled, [...right, wrong])).toBe("no_secret");
      const empty = database.shapeOf("empty");
      expect(await database.sampler.refusedBy(empty, [wrong])).toBeUndefined();
    });

    test("reads nothing more once it is interrupted", async () => {
      const [filled] = await sample(["filled"], {}, AbortSignal.abort());
      expect(filled).toMatchObject({ rows: [], leftOut: "interrupted" });
    });
  });
}
