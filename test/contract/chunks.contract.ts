import { describe, expect, test } from "vitest";
import type { Cells } from "../../src/model/table.ts";
import type {
  ChangeSource,
  ChunkKey,
  ChunkRange,
  ChunkSnapshot,
  KeyedTable,
} from "../../src/source/change-source.ts";
import { compareKeyTexts, orderOf } from "../../src/source/key-order.ts";

/** A root table and a child table whose rows name their root, some of them none, some one that is not there. */
export interface ChunkDatabase extends AsyncDisposable {
  readonly source: ChangeSource;
  readonly tables: readonly [root: KeyedTable, child: KeyedTable];
  /** Makes something happen to both tables in one transaction. */
  change(): Promise<void>;
  /** Empties the child table and fills it again. */
  rewrite?(): Promise<void>;
}

const never = new AbortController().signal;

/** What a source that can be read in chunks must show. */
export function chunksContract(name: string, fresh: () => Promise<ChunkDatabase>): void {
  describe(`the chunks of ${name}`, () => {
    test.each([1, 3, 7, 1_000])(
      "of %i root rows cover every row once, in the order of the key that is known here",
      async (size) => {
        await using db = await fresh();
        const { source, tables } = db;
        expect((await source.surveyChunks(tables)).obstacle).toBeUndefined();
        const order = tables[0].columns.map((i) => orderOf(tables[0].table.columns[i]!.type));
        const reader = source.openChunks(tables);
        const whole = await reader.open(never);
        const all = await bothOf(whole, tables, { after: undefined, end: undefined });
        await whole.close();
        const read: Rows = [[], []];
        let after: ChunkKey | undefined;
        for (let n = 0; n < 1_000; n++) {
          const chunk = await reader.open(never);
          const end = await chunk.bound(after, size);
          const roots = all[0].map((cells) => keyOf(tables[0], cells));
          const isLeft = after === undefined || compareKeyTexts(roots.at(-1)!, after, order) > 0;
          expect(await chunk.last(after)).toEqual(isLeft ? roots.at(-1) : undefined);
          const rows = await bothOf(chunk, tables, { after, end });
          expect(rows[0].length <= size).toBe(true);
          if (end !== undefined) expect(rows[0].length).toBe(size);
          for (const [i, some] of rows.entries()) {
            const keys = some.map((cells) => keyOf(tables[i]!, cells));
            for (const [at, key] of keys.entries()) {
              if (at > 0) expect(compareKeyTexts(keys[at - 1]!, key, order) <= 0).toBe(true);
              if (key.includes(null)) expect(end).toBeUndefined();
              else if (end !== undefined) expect(compareKeyTexts(key, end, order) <= 0).toBe(true);
              if (!key.includes(null) && after !== undefined)
                expect(compareKeyTexts(key, after, order) > 0).toBe(true);
            }
            read[i]!.push(...some);
          }
          await chunk.close();
          if (end === undefined) break;
          after = end;
        }
        expect(sorted(read[0])).toEqual(sorted(all[0]));
        expect(sorted(read[1])).toEqual(sorted(all[1]));
        expect(all[1].length).toBeGreaterThan(all[0].length);
        await reader.close();
      },
    );

    test("show one moment in all tables, whatever happens meanwhile, and say what they see", async () => {
      await using db = await fresh();
      const { source, tables } = db;
      const reader = source.openChunks(tables);
      const range = { after: undefined, end: undefined };
      const chunk = await reader.open(never);
      const before = await bothOf(chunk, tables, range);
      await db.change();
      expect(await bothOf(chunk, tables, range)).toEqual(before);
      expect(await chunk.rewritten()).toEqual([]);
      const now = await source.seenNow();
      expect(now).not.toBe(chunk.seen);
      expect(source.visibility(chunk.seen)("1")).toBe(chunk.sees("1"));
      await chunk.close();
      const next = await reader.open(never);
      expect(await bothOf(next, tables, range)).not.toEqual(before);
      expect(next.fence >= chunk.fence).toBe(true);
      await next.close();
      await reader.close();
    });

    test("give the rows of named keys alone, also of those that are NULL", async () => {
      await using db = await fresh();
      const { source, tables } = db;
      const reader = source.openChunks(tables);
      const chunk = await reader.open(never);
      const all = await bothOf(chunk, tables, { after: undefined, end: undefined });
      const wanted = [keyOf(tables[0], all[0][2]!), keyOf(tables[1], all[1].at(-1)!)];
      expect(wanted[1]).toContain(null);
      const rows = await bothOf(chunk, tables, { keys: wanted });
      const names = new Set(wanted.map((key) => JSON.stringify(key)));
      for (const i of [0, 1] as const) {
        const expected = all[i].filter((cells) =>
          names.has(JSON.stringify(keyOf(tables[i], cells))),
        );
        expect(sorted(rows[i])).toEqual(sorted(expected));
      }
      expect(rows[0]).toHaveLength(1);
      expect(await bothOf(chunk, tables, { keys: [] })).toEqual([[], []]);
      await chunk.close();
      await reader.close();
    });

    test("are opened again after one was given up in its midst", async () => {
      await using db = await fresh();
      const { source, tables } = db;
      const reader = source.openChunks(tables);
      const chunk = await reader.open(never);
      const range = { after: undefined, end: undefined };
      for await (const _ of chunk.readRange(chunk.tables[1]!, range, never)) break;
      await chunk.close();
      const next = await reader.open(never);
      expect((await bothOf(next, tables, range))[0].length).toBeGreaterThan(5);
      await next.close();
      await reader.close();
    });

    test("a table that was emptied behind a snapshot is told of", async () => {
      await using db = await fresh();
      if (db.rewrite === undefined) return;
      const reader = db.source.openChunks(db.tables);
      const chunk = await reader.open(never);
      await db.rewrite();
      expect(await chunk.rewritten()).toEqual([db.tables[1].table.name]);
      await chunk.close();
      await reader.close();
    });
  });
}

type Rows = [root: Cells[], child: Cells[]];

async function bothOf(
  chunk: ChunkSnapshot,
  tables: readonly KeyedTable[],
  range: ChunkRange,
): Promise<Rows> {
  const read = async (i: number): Promise<Cells[]> => {
    const rows: Cells[] = [];
    expect(chunk.tables[i]!.name).toBe(tables[i]!.table.name);
    for await (const group of chunk.readRange(chunk.tables[i]!, range, never)) rows.push(...group);
    return rows;
  };
  return (await Promise.all([read(0), read(1)])) as Rows;
}

function keyOf({ columns }: KeyedTable, cells: Cells): (string | null)[] {
  return columns.map((column) => cells[column] ?? null);
}

function sorted(rows: readonly Cells[]): string[] {
  return rows.map((row) => JSON.stringify(row)).sort();
}
