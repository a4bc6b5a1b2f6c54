import { describe, expect, test } from "vitest";
import { ChunkFrontier, type Committed } from "../../src/pipeline/chunk-frontier.ts";

const digits = (n: number): string => n.toString(16).toUpperCase().padStart(16, "0");
/** Transaction `id` that committed at `at`. */
const committed = (id: number, at: number): Committed => ({ id: String(id), commit: digits(at) });
/** A snapshot that sees these transactions, with its fence. */
const seeing = (ids: readonly number[], fence: number) => ({
  sees: (transaction: string) => ids.includes(Number(transaction)),
  fence: digits(fence),
});

const fresh = (): ChunkFrontier => new ChunkFrontier(["integer"], "none");
const verdicts = (frontier: ChunkFrontier, t: Committed, ...keys: (string | null)[]) =>
  keys.map((key) => frontier.verdict(t, [key], () => `order-${key}`));

describe("a change of an aggregate", () => {
  test("that has yet to be read is left out", () => {
    expect(verdicts(fresh(), committed(1, 5), "1", null)).toEqual(["unread", "unread"]);
  });

  test("waits while a snapshot is opened, and while one reads it that does not see the change", () => {
    const frontier = fresh();
    frontier.opening();
    expect(verdicts(frontier, committed(1, 5), "1")).toEqual(["waits"]);
    // It was visible before, so whatever is opened now sees it.
    expect(frontier.verdict(committed(1, 5), ["1"], () => "order-1", true)).toBe("unread");
    frontier.opened(seeing([1], 10));
    expect(verdicts(frontier, committed(1, 5), "1", "99")).toEqual(["unread", "unread"]);
    expect(verdicts(frontier, committed(2, 6), "1", "99")).toEqual(["waits", "waits"]);
    frontier.bounded(["10"]);
    expect(verdicts(frontier, committed(2, 6), "10", "11", null)).toEqual([
      "waits",
      "unread",
      "unread",
    ]);
    expect(frontier.mayWait(committed(2, 6))).toBe(true);
    expect(frontier.mayWait(committed(1, 5))).toBe(false);
  });

  test("no longer waits for a chunk that ends before it, and is yet to be read", () => {
    const frontier = fresh();
    frontier.opening();
    frontier.opened(seeing([1], 10));
    frontier.bounded(["10"]);
    expect(verdicts(frontier, committed(2, 6), "5", "6", "10")).toEqual([
      "waits",
      "waits",
      "waits",
    ]);
    frontier.bounded(["5"]);
    expect(verdicts(frontier, committed(2, 6), "5", "6", "10")).toEqual([
      "waits",
      "unread",
      "unread",
    ]);
    expect(verdicts(frontier, committed(1, 5), "5", "6")).toEqual(["unread", "unread"]);
    for (const higher of [["6"], undefined])
      expect(() => frontier.bounded(higher)).toThrow(/the end of a chunk is not raised/);
    frontier.written()();
    expect(frontier.cursor).toEqual(["5"]);
    expect(verdicts(frontier, committed(2, 6), "5", "6")).toEqual(["told", "unread"]);
  });

  test("that was read is held by the chunk whose snapshot saw it, up to its fence, and told otherwise", () => {
    const frontier = fresh();
    frontier.opening();
    frontier.opened(seeing([1, 3], 10));
    frontier.bounded(["10"]);
    const durable = frontier.written();
    expect(verdicts(frontier, committed(1, 5), "10")).toEqual(["held"]);
    expect(verdicts(frontier, committed(2, 6), "10")).toEqual(["waits"]);
    expect(frontier.isBusy).toBe(true);
    durable();
    expect(frontier.isBusy).toBe(false);
    expect(verdicts(frontier, committed(2, 6), "10", "11")).toEqual(["told", "unread"]);
    // A number of a transaction is used once, so this cannot be; the fence decides all the same.
    expect(verdicts(frontier, committed(3, 10), "10")).toEqual(["told"]);
    frontier.passed(digits(9));
    expect(verdicts(frontier, committed(1, 5), "1")).toEqual(["held"]);
    frontier.passed(digits(10));
    expect(frontier.told).toEqual(["10"]);
    expect(frontier.recent).toEqual([]);
  });

  test("of whatever aggregate waits while a chunk that does not see it is written and not yet durable", () => {
    const frontier = fresh();
    frontier.opening();
    frontier.opened(seeing([1], 10));
    frontier.bounded(["10"]);
    const durable = frontier.written();
    const waits = () => [1, 2].map((id) => frontier.mayWait(committed(id, 5)));
    expect(waits()).toEqual([false, true]);
    // Where the log has passed its fence it is written as little.
    frontier.passed(digits(10));
    expect(frontier.mayWait(committed(2, 12))).toBe(true);
    expect(verdicts(frontier, committed(2, 12), "10", "11")).toEqual(["waits", "unread"]);
    durable();
    expect(waits()).toEqual([false, false]);
    frontier.passed(digits(10));
    expect(verdicts(frontier, committed(2, 12), "10", "11")).toEqual(["told", "unread"]);
  });

  test("lies behind all others with a NULL in its key, in the chunk without an end", () => {
    const frontier = new ChunkFrontier(
      ["integer"],
      ["10"],
      [
        { end: ["20"], ...seeing([1], 10) },
        { end: undefined, ...seeing([1, 2], 20) },
      ],
    );
    expect(frontier.cursor).toBe("all");
    expect(verdicts(frontier, committed(1, 5), "10", "11", "21", null)).toEqual([
      "told",
      "held",
      "held",
      "held",
    ]);
    expect(verdicts(frontier, committed(2, 15), "11", "21", null)).toEqual([
      "told",
      "held",
      "held",
    ]);
    expect(frontier.isIdle).toBe(false);
    frontier.passed(digits(20));
    expect(frontier.isIdle).toBe(true);
    expect(verdicts(frontier, committed(2, 15), "21")).toEqual(["told"]);
  });

  test("of a chunk that is given up is as before it", () => {
    const frontier = fresh();
    frontier.opening();
    frontier.opened(seeing([], 10));
    frontier.abandoned();
    expect(verdicts(frontier, committed(2, 6), "1")).toEqual(["unread"]);
    expect(frontier.cursor).toBe("none");
    expect(frontier.isBusy).toBe(false);
  });
});

describe("streams that were read anew", () => {
  test("hold what the snapshot saw up to its fence, and are told of the rest like all others", () => {
    const frontier = new ChunkFrontier(["integer"], "all");
    expect(verdicts(frontier, committed(1, 5), "7")).toEqual(["told"]);
    frontier.refreshed(seeing([1], 10), ["order-7"]);
    expect(verdicts(frontier, committed(1, 5), "7", "8")).toEqual(["held", "told"]);
    expect(verdicts(frontier, committed(2, 6), "7")).toEqual(["told"]);
    expect([frontier.isIdle, frontier.isBusy]).toEqual([false, false]);
    frontier.passed(digits(9));
    expect(verdicts(frontier, committed(1, 5), "7")).toEqual(["held"]);
    frontier.passed(digits(10));
    expect(frontier.isIdle).toBe(true);
    expect(verdicts(frontier, committed(1, 5), "7")).toEqual(["told"]);
  });

  test("once more go by the later snapshot, also when the log has passed the earlier one", () => {
    const frontier = new ChunkFrontier(["integer"], "all");
    frontier.refreshed(seeing([1], 10), ["order-7", "order-8"]);
    frontier.refreshed(seeing([1, 2], 20), ["order-7"]);
    expect(verdicts(frontier, committed(2, 6), "7", "8")).toEqual(["held", "told"]);
    frontier.passed(digits(10));
    expect(verdicts(frontier, committed(2, 12), "7", "8")).toEqual(["held", "told"]);
    expect(frontier.isIdle).toBe(false);
    frontier.passed(digits(20));
    expect(frontier.isIdle).toBe(true);
  });

  test("cost a verdict the same however many there are, and nobody's stream is asked for where there are none", () => {
    const frontier = new ChunkFrontier(["integer"], "all");
    const unasked = (): string => {
      throw new Error("nobody needs the stream");
    };
    expect(frontier.verdict(committed(1, 5), ["7"], unasked)).toBe("told");
    let looks = 0;
    for (let n = 0; n < 5_000; n++) {
      const sees = (): boolean => (looks += 1) > 0;
      frontier.refreshed({ sees, fence: digits(10 + n) }, [`order-${n}`]);
    }
    expect(verdicts(frontier, committed(1, 5), "4999", "5000")).toEqual(["held", "told"]);
    expect(looks).toBe(1);
  });
});

test("a TRUNCATE is told of where anything is told that it emptied", () => {
  expect(fresh().tellsAnyOf(committed(1, 5))).toBe(false);
  const frontier = new ChunkFrontier(["integer"], "none", [{ end: ["5"], ...seeing([1], 10) }]);
  expect(frontier.tellsAnyOf(committed(1, 5))).toBe(false);
  expect(frontier.tellsAnyOf(committed(2, 6))).toBe(true);
  expect(new ChunkFrontier(["integer"], ["1"]).tellsAnyOf(committed(1, 5))).toBe(true);
});
