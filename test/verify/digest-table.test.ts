import { describe, expect, test } from "vitest";
import { DigestTable } from "../../src/verify/digest-table.ts";
import { Digest } from "../../src/verify/row-digest.ts";

const digest = new Digest();
function identity(key: string): readonly [number, number] {
  digest.reset().text(key).end();
  return [digest.high, digest.low];
}
function add(table: DigestTable, side: "addRow" | "addFold", key: string, content: string): void {
  const [high, low] = identity(key);
  digest.reset().cells([content]).end();
  table[side](high, low, digest.high, digest.low);
}

describe("a table of digests", () => {
  test("knows equal, missing, extra and different, in whatever order the two sides come", () => {
    const table = new DigestTable(0);
    add(table, "addFold", "equal late", "x");
    add(table, "addRow", "equal", "x");
    add(table, "addFold", "equal", "x");
    add(table, "addRow", "equal late", "x");
    add(table, "addRow", "missing", "x");
    add(table, "addFold", "extra", "x");
    add(table, "addRow", "different", "x");
    add(table, "addFold", "different", "y");
    expect(table.counts()).toEqual({ equal: 2, missing: 1, extra: 1, different: 1 });
    expect(
      ["equal", "missing", "extra", "different", "never seen"].map((key) =>
        table.verdict(...identity(key)),
      ),
    ).toEqual(["equal", "missing", "extra", "different", undefined]);
    expect(table.size).toBe(5);
  });

  test("two rows of one key are not the one row of a fold", () => {
    const table = new DigestTable(0);
    add(table, "addRow", "k", "x");
    add(table, "addRow", "k", "x");
    add(table, "addFold", "k", "x");
    expect(table.verdict(...identity("k"))).toBe("different");
  });

  test("counts right while it grows far beyond what was expected of it", () => {
    const table = new DigestTable(10);
    const count = 30_000;
    for (let i = 0; i < count; i++) add(table, "addRow", `row ${i}`, String(i));
    for (let i = count - 1; i >= 0; i--) {
      if (i % 1_000 === 0) continue;
      add(table, "addFold", `row ${i}`, i % 1_000 === 1 ? "other" : String(i));
    }
    for (let i = 0; i < 7; i++) add(table, "addFold", `fold ${i}`, "x");
    expect(table.counts()).toEqual({ equal: count - 60, missing: 30, extra: 7, different: 30 });
    expect(table.size).toBe(count + 7);
  });

  test("keeps apart identities that share a half or all of their low bits", () => {
    const table = new DigestTable(0);
    const keys: (readonly [number, number])[] = [
      [0, 0],
      [0, 1],
      [1, 0],
      [-1, -1],
      [-1, 0],
    ];
    for (let i = 0; i < 2_000; i++) keys.push([i << 20, 5], [5, i << 20]);
    for (const [high, low] of keys) table.addRow(high, low, 1, 1);
    for (const [high, low] of keys) table.addFold(high, low, 1, 1);
    expect(table.size).toBe(new Set(keys.map(String)).size);
    expect(table.counts()).toMatchObject({ missing: 0, extra: 0 });
  });

  test("adds and takes away digests at the ends of their range", () => {
    const table = new DigestTable(0);
    for (const [i, end] of [-(2 ** 31), 2 ** 31 - 1, 0, -1].entries()) {
      table.addRow(i, i, end, end);
      table.addFold(i, i, end, end);
    }
    expect(table.counts()).toEqual({ equal: 4, missing: 0, extra: 0, different: 0 });
  });

  test("does not trust an estimate with its memory", () => {
    const before = process.memoryUsage().arrayBuffers;
    const table = new DigestTable(3_000_000_000);
    add(table, "addRow", "k", "x");
    expect(table.counts().missing).toBe(1);
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(100 * 1024 * 1024);
  });
});
