import { describe, expect, test } from "vitest";
import { Digest } from "../../src/verify/row-digest.ts";

type Row = readonly (string | null)[];

const digest = new Digest();
function of(cells: Row): string {
  digest.reset().cells(cells).end();
  return `${digest.high}/${digest.low}`;
}

describe("the digest of a row", () => {
  test("tells apart rows whose texts, joined, are the same", () => {
    const alike: Row[] = [
      ["ab", "c"],
      ["a", "bc"],
      ["abc", ""],
      ["", "abc"],
      ["abc"],
      ["abc", null],
      [null, "abc"],
      ["a", "b", "c"],
      ["c", "ab"],
      ["bc", "a"],
      ["cba", ""],
    ];
    expect(new Set(alike.map(of)).size).toBe(alike.length);
  });

  test("tells NULL from the empty text, and from any text that looks like it", () => {
    const rows: Row[] = [
      [null],
      [""],
      ["null"],
      ["\\N"],
      ["\0"],
      ["\uffff"],
      [],
      [null, null],
      ["", ""],
      [null, ""],
      ["", null],
    ];
    expect(new Set(rows.map(of)).size).toBe(rows.length);
  });

  test("is the same for the same row, whatever was digested before", () => {
    const row = ["7", "paid", null, "12.50"];
    const first = of(row);
    of(["something", "else"]);
    expect(of([...row])).toBe(first);
  });

  test("differs for every change of one character, of case, of order and of characters beyond ASCII", () => {
    const base = "2026-01-31 10:00:00.123456+00|Zürich 😀|aAbB";
    const rows = new Set([of([base])]);
    let made = 1;
    for (let i = 0; i < base.length; i++) {
      for (const c of ["x", "\u0100", "\ud83d"]) {
        rows.add(of([base.slice(0, i) + c + base.slice(i + 1)]));
        made += 1;
      }
      if (i > 0 && base[i] !== base[i - 1]) {
        rows.add(of([base.slice(0, i - 1) + base[i]! + base[i - 1]! + base.slice(i + 1)]));
        made += 1;
      }
    }
    // A replacement may happen to be the character that was there.
    expect(rows.size).toBeGreaterThan(made - 3);
  });

  test("of rows that differ a little, as rows of one table do, never meets", () => {
    const seen = new Set<string>();
    let made = 0;
    const statuses = ["placed", "paid", "shipped", null];
    for (let id = 0; id < 60_000; id++) {
      seen.add(of([String(id), statuses[id % 4]!, (id / 100).toFixed(2), String(60_000 - id)]));
      made += 1;
    }
    // Swapped pairs, shifted counters, one bit in a million.
    for (let a = 0; a < 200; a++) {
      for (let b = 0; b < 200; b++) {
        seen.add(of([String(a), String(b)]));
        made += 1;
      }
    }
    for (let i = 0; i < 60_000; i++) {
      seen.add(of([i.toString(2).padStart(20, "0"), "same"]));
      made += 1;
    }
    expect(seen.size).toBe(made);
  });

  test("spreads over all of its bits", () => {
    const ones = Array.from({ length: 64 }, () => 0);
    const count = 20_000;
    for (let i = 0; i < count; i++) {
      digest
        .reset()
        .cells([String(i), "x"])
        .end();
      for (let bit = 0; bit < 32; bit++) {
        ones[bit]! += (digest.high >>> bit) & 1;
        ones[bit + 32]! += (digest.low >>> bit) & 1;
      }
    }
    for (const one of ones) expect(Math.abs(one / count - 0.5)).toBeLessThan(0.03);
  });

  test("changes about half of its bits when one character changes", () => {
    let flipped = 0;
    const rounds = 2_000;
    for (let i = 0; i < rounds; i++) {
      digest
        .reset()
        .cells([`order ${i} a`])
        .end();
      const [high, low] = [digest.high, digest.low];
      digest
        .reset()
        .cells([`order ${i} b`])
        .end();
      for (let bits = high ^ digest.high; bits !== 0; bits &= bits - 1) flipped += 1;
      for (let bits = low ^ digest.low; bits !== 0; bits &= bits - 1) flipped += 1;
    }
    expect(Math.abs(flipped / rounds - 32)).toBeLessThan(4);
  });
});
