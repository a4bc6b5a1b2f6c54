import fc from "fast-check";
import { expect, test } from "vitest";
import { BATCH_BYTES, ReadBatch, readsOf, type AnsweredRead } from "../../src/proxy/read-batch.ts";
import { ShadowBody, ShadowBytes } from "../../src/proxy/shadow-bytes.ts";

/** What can stand in a header line: bytes, none of which ends it. */
const text = fc.string({
  unit: fc.integer({ min: 0x20, max: 0xff }).map((code) => String.fromCharCode(code)),
  maxLength: 40,
});
const lines = fc.array(fc.tuple(text, text), { maxLength: 6 }).map((pairs) => pairs.flat());
const chunk = fc
  .oneof(fc.integer({ min: 1, max: 40 }), fc.integer({ min: 3_000, max: 30_000 }))
  .chain((length) => fc.integer({ min: 0, max: 255 }).map((byte) => Buffer.alloc(length, byte)));
const read = fc.record({
  key: fc.integer({ min: 0, max: 4_000 }),
  target: text.map((path) => `/${path}`),
  headers: lines,
  answer: fc.record({ status: fc.integer({ min: 200, max: 599 }), headers: lines }),
  chunks: fc.array(chunk, { maxLength: 4 }),
});

test("reads come out of batches as they went in, in order, and their bodies are the other thread's", () => {
  fc.assert(
    fc.property(fc.array(read, { minLength: 1, maxLength: 30 }), (reads) => {
      const ours = new ShadowBytes();
      const theirs = new ShadowBytes(undefined, ours.shared);
      const batch = new ReadBatch();
      const out: unknown[] = [];
      let bytes = 0;
      const take = (): void => {
        const message = batch.take();
        // As a thread gets it: what is transferred is gone here.
        const transfer = [message.records, ...message.pieces];
        for (const { body, ...rest } of readsOf(structuredClone(message, { transfer }))) {
          const lent = ShadowBody.lent(theirs, body);
          out.push({ ...rest, body: lent.whole().toString("hex") });
          lent.free();
        }
      };
      for (const { chunks, ...rest } of reads) {
        const body = new ShadowBody(ours, Number.POSITIVE_INFINITY);
        for (const one of chunks) {
          expect(body.add(one)).toBeUndefined();
          bytes += one.length;
        }
        expect(ours.held).toBeGreaterThanOrEqual(body.length);
        if (batch.add(rest, body)) continue;
        take();
        expect(batch.add(rest, body)).toBe(true);
      }
      expect(ours.held).toBeLessThanOrEqual(bytes);
      take();
      expect(batch.isEmpty).toBe(true);
      expect(ours.held).toBe(0);
      expect(out).toEqual(
        reads.map(({ chunks, ...rest }) => ({
          ...rest,
          body: Buffer.concat(chunks).toString("hex"),
        })),
      );
    }),
    { numRuns: 60 },
  );
});

/** A read with so many characters in a header. */
function one(length: number): AnsweredRead {
  return {
    key: 1,
    target: "/",
    headers: ["a", "x".repeat(length)],
    answer: { status: 200, headers: [] },
  };
}

test("a batch without room takes nothing of a read, and one of any size has room when it is empty", () => {
  const bytes = new ShadowBytes();
  const batch = new ReadBatch();
  const body = new ShadowBody(bytes, 10);
  body.add(Buffer.from("abc"));
  expect(batch.add(one(BATCH_BYTES - 60), new ShadowBody(bytes, 10))).toBe(true);
  expect(batch.add(one(100), body)).toBe(false);
  expect(body.whole().toString()).toBe("abc");
  expect([...readsOf(batch.take())]).toHaveLength(1);
  expect(batch.add(one(3 * BATCH_BYTES), body)).toBe(true);
  const [large] = [...readsOf(batch.take())];
  expect(large!.headers[1]).toHaveLength(3 * BATCH_BYTES);
  expect(Buffer.concat(large!.body).toString()).toBe("abc");
});

test("a batch that is mostly empty is handed over in as much memory as it needs, and a full one as it is", () => {
  const batch = new ReadBatch();
  const add = (length: number) =>
    expect(batch.add(one(length), new ShadowBody(new ShadowBytes(), 10))).toBe(true);
  const sizes = [10, BATCH_BYTES - 100, 20, 2 * BATCH_BYTES].map((length) => {
    add(length);
    const message = batch.take();
    expect([...readsOf(message)].map(({ headers }) => headers[1]!.length)).toEqual([length]);
    return message.records.byteLength;
  });
  expect(sizes[0]).toBeLessThan(100);
  expect(sizes[1]).toBe(BATCH_BYTES);
  expect(sizes[2]).toBeLessThan(100);
  expect(sizes[3]).toBeGreaterThan(2 * BATCH_BYTES);
});

test("what a thread held that is gone is free again, and what it shares is bounded in all", () => {
  const ours = new ShadowBytes(100);
  const theirs = new ShadowBytes(undefined, ours.shared);
  expect(ours.take(60)).toBe(true);
  ours.lend(60);
  expect(theirs.take(30)).toBe(true);
  expect([ours.held, theirs.held]).toEqual([90, 90]);
  expect(ours.take(11)).toBe(false);
  expect(theirs.take(11)).toBe(false);
  expect(ours.take(10)).toBe(true);
  theirs.give(60);
  expect(ours.held).toBe(40);
  ours.takeBack();
  expect(ours.held).toBe(10);
});
