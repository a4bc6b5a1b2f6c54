import { setTimeout as sleep } from "node:timers/promises";
import { describe, expect, test } from "vitest";
import type { TransactionPart } from "../../src/model/change.ts";
import { TransactionQueue } from "../../src/pipeline/transaction-queue.ts";
import { change, shape, transaction } from "../support/mapping-fixtures.ts";

const orders = shape("public.orders", "*id:int8");

function part(number: number, changes = 1, bytes = 10): TransactionPart {
  return {
    transaction: transaction(number),
    changes: Array.from({ length: changes }, (_, i) =>
      change("insert", orders, i + 1, undefined, [String(i)]),
    ),
    intent: undefined,
    bytes,
    last: true,
  };
}

const queueOf = (changesMax = 100, bytesMax = 1_000): TransactionQueue =>
  new TransactionQueue({ changesMax, bytesMax });
const numbers = (parts: readonly TransactionPart[]): number[] =>
  parts.map((each) => Number(each.transaction.id) - 1_000);

/** Whether a promise settles within a moment. */
async function settles(promise: Promise<unknown>): Promise<boolean> {
  return await Promise.race([promise.then(() => true), sleep(30).then(() => false)]);
}

describe("taking", () => {
  test("gives all that waits, in order, at once", async () => {
    const queue = queueOf();
    await queue.push([part(1), part(2)]);
    await queue.push([part(3)]);
    expect(numbers(await queue.take(10_000, 0))).toEqual([1, 2, 3]);
    expect(queue.isEmpty).toBe(true);
  });

  test("waits until something comes, and gives nothing when nothing does", async () => {
    const queue = queueOf();
    const taking = queue.take(10_000, 0);
    expect(await settles(taking)).toBe(false);
    await queue.push([part(1)]);
    expect(numbers(await taking)).toEqual([1]);
    const startedMs = performance.now();
    expect(await queue.take(40, 0)).toEqual([]);
    expect(performance.now() - startedMs).toBeGreaterThan(30);
  });

  test("lingers for more once something is there, not longer than it was told to", async () => {
    const queue = queueOf();
    // Far more than the moments in which it is seen to wait, for these may be long.
    const taking = queue.take(10_000, 1_000);
    await queue.push([part(1)]);
    await sleep(20);
    await queue.push([part(2)]);
    expect(await settles(taking)).toBe(false);
    expect(numbers(await taking)).toEqual([1, 2]);
  });

  test("does not linger once it is full, or closed", async () => {
    const full = queueOf(2);
    const taking = full.take(10_000, 60_000);
    await full.push([part(1)]);
    const pushing = full.push([part(2)]);
    expect(numbers(await taking)).toEqual([1, 2]);
    expect(await pushing).toBe(true);
    const closed = queueOf();
    await closed.push([part(1)]);
    const last = closed.take(10_000, 60_000);
    closed.close();
    expect(numbers(await last)).toEqual([1]);
  });
});

describe("pushing", () => {
  test.each([
    ["changes", { changes: 60, bytes: 1 }],
    ["bytes", { changes: 1, bytes: 600 }],
  ])("waits for room when there are too many %s, and goes on when it is taken", async (_, size) => {
    const queue = queueOf();
    expect(await queue.push([part(1, size.changes, size.bytes)])).toBe(true);
    const waiting = queue.push([part(2, size.changes, size.bytes)]);
    expect(await settles(waiting)).toBe(false);
    expect(queue.full).toBe(true);
    expect(numbers(await queue.take(0, 0))).toEqual([1, 2]);
    expect(await waiting).toBe(true);
    expect(queue.full).toBe(false);
  });

  test("takes a part that is larger than all of its room, alone", async () => {
    const queue = queueOf(10);
    const waiting = queue.push([part(1, 50)]);
    expect(numbers(await queue.take(0, 0))).toEqual([1]);
    expect(await waiting).toBe(true);
  });

  test("tells the producer to stop once it is closed, also one that waits for room", async () => {
    const queue = queueOf(1);
    const waiting = queue.push([part(1)]);
    queue.close();
    expect(await waiting).toBe(false);
    expect(await queue.push([])).toBe(false);
  });
});

describe("closing", () => {
  test("lets what waits be taken first, and is closed after that", async () => {
    const queue = queueOf();
    await queue.push([part(1)]);
    queue.close();
    expect(queue.closed).toBe(false);
    expect(numbers(await queue.take(10_000, 0))).toEqual([1]);
    expect(queue.closed).toBe(true);
    expect(await queue.take(10_000, 0)).toEqual([]);
  });

  test("with an error gives what came before it, then the error, every time", async () => {
    const queue = queueOf();
    await queue.push([part(1)]);
    queue.close(new Error("the log broke"));
    queue.close();
    expect(numbers(await queue.take(10_000, 0))).toEqual([1]);
    expect(queue.closed).toBe(false);
    await expect(queue.take(10_000, 0)).rejects.toThrow("the log broke");
    await expect(queue.take(10_000, 0)).rejects.toThrow("the log broke");
  });

  test("wakes a consumer that waits", async () => {
    const queue = queueOf();
    const taking = queue.take(60_000, 0);
    queue.close();
    expect(await taking).toEqual([]);
    const failing = queueOf();
    const waiting = failing.take(60_000, 0);
    failing.close(new Error("the log broke"));
    await expect(waiting).rejects.toThrow("the log broke");
  });
});

test("the oldest that waits is the first of them", async () => {
  const queue = queueOf();
  expect(queue.oldestUs).toBeUndefined();
  await queue.push([part(3), part(4)]);
  expect(queue.oldestUs).toBe(transaction(3).committedAtUs);
  await queue.take(0, 0);
  expect(queue.oldestUs).toBeUndefined();
});

test("a queue without room is refused", () => {
  expect(() => queueOf(0)).toThrow(expect.objectContaining({ code: "INVARIANT_BROKEN" }));
  expect(() => queueOf(1, 0)).toThrow(expect.objectContaining({ code: "INVARIANT_BROKEN" }));
});
