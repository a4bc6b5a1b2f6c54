import { describe, expect, test } from "vitest";
import { ChunkSize, type SizedChunk } from "../../src/pipeline/chunk-size.ts";

const ROWS_MAX = 100_000;

/** Sizes of chunks that take some time by their rows. */
function sizes(
  chunks: number,
  of: (rows: number) => SizedChunk,
  size = new ChunkSize(ROWS_MAX),
): number[] {
  return Array.from({ length: chunks }, () => {
    size.succeeded(of(size.rows));
    return size.rows;
  });
}

describe("the rows of a chunk", () => {
  test("are as many as half a second reads", () => {
    const [last] = sizes(20, (rows) => ({ readMs: rows / 40, beginMs: 5 })).slice(-1);
    expect(last).toBeGreaterThan(18_000);
    expect(last).toBeLessThan(22_000);
  });

  test("are few where each has many below it, down to one", () => {
    const [last] = sizes(20, (rows) => ({ readMs: 3_000 * rows, beginMs: 5 })).slice(-1);
    expect(last).toBe(1);
  });

  test("are worth the while of beginning a chunk, where that takes long", () => {
    const size = new ChunkSize(ROWS_MAX);
    const beginMs = 600;
    const [last] = sizes(20, (rows) => ({ readMs: 300 + rows / 40, beginMs }), size).slice(-1);
    expect(300 + last! / 40).toBeGreaterThan(2 * beginMs * 0.9);
    expect(size.readMsMax).toBeGreaterThan(2 * beginMs);
  });

  test("are no fewer than before where fewer took no less time", () => {
    const all = sizes(200, () => ({ readMs: 900, beginMs: 5 }));
    expect(Math.min(...all)).toBeGreaterThanOrEqual(900);
    // Until it is the rows again.
    const size = new ChunkSize(ROWS_MAX);
    sizes(50, () => ({ readMs: 900, beginMs: 5 }), size);
    const [last] = sizes(50, (rows) => ({ readMs: 100 * rows, beginMs: 5 }), size).slice(-1);
    expect(last).toBe(5);
  });

  test("of a chunk that was ended early are those that it had", () => {
    const size = new ChunkSize(ROWS_MAX);
    sizes(20, (rows) => ({ readMs: rows / 1_000, beginMs: 5 }), size);
    expect(size.rows).toBe(ROWS_MAX);
    size.succeeded({ readMs: 2_000, beginMs: 5, cutAt: 12 });
    expect(size.rows).toBe(3);
  });

  test("are half as many after a failure or a rewrite, of which only failures end the run", () => {
    const size = new ChunkSize(ROWS_MAX);
    expect([1, 2, 3, 4, 5, 6, 7, 8].map(() => size.rewritten())).toEqual([1, 2, 3, 4, 5, 6, 7, 8]);
    expect(size.rows).toBe(8);
    expect([1, 2, 3, 4, 5, 6].map(() => size.failed())).toEqual([1, 2, 3, 4, 5, undefined]);
    expect(size.rows).toBe(1);
    size.succeeded({ readMs: 1, beginMs: 1 });
    expect([size.failed(), size.rewritten()]).toEqual([1, 1]);
  });
});
