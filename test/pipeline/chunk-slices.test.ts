import { expect, test } from "vitest";
import { ChunkSlices } from "../../src/pipeline/chunk-slices.ts";

test("without others one chunk follows the other, also before the last is durable", () => {
  const slices = new ChunkSlices(0);
  for (let atMs = 0; atMs < 5_000; atMs += 100) {
    expect(slices.mayBegin(1, atMs)).toBe(true);
    slices.began(1, atMs);
    if (atMs >= 300) slices.ended(atMs);
  }
});

test("a rest begins when the last chunk of all stream types is durable, and is as long as its share leaves", () => {
  const slices = new ChunkSlices(0);
  slices.began(0.25, 0);
  expect(slices.mayBegin(0.25, 100)).toBe(true);
  slices.began(0.25, 100);
  slices.ended(500);
  // A chunk is still being read: no other is begun in its place, and no rest has begun.
  expect(slices.mayBegin(0.25, 500)).toBe(false);
  expect(slices.turn).toEqual({ isReading: true, number: 1 });
  slices.ended(600);
  expect(slices.turn).toEqual({ isReading: false, number: 2 });
  expect(slices.mayBegin(0.25, 600 + 1_799)).toBe(false);
  expect(slices.mayBegin(0.25, 600 + 1_800)).toBe(true);
});

test("a rest ends early when the others have left", () => {
  const slices = new ChunkSlices(0);
  slices.began(0.1, 0);
  slices.ended(500);
  expect(slices.mayBegin(0.1, 1_000)).toBe(false);
  expect(slices.mayBegin(1, 1_000)).toBe(true);
});

test("what was read while there was nobody else needs no rest when somebody comes", () => {
  const slices = new ChunkSlices(0);
  slices.began(1, 0);
  for (let atMs = 500; atMs <= 60_000; atMs += 500) {
    slices.began(1, atMs);
    slices.ended(atMs);
  }
  slices.ended(60_500);
  expect(slices.mayBegin(0.5, 61_000)).toBe(true);
});

test("no rest is longer than half a minute, however long a chunk took", () => {
  const slices = new ChunkSlices(0);
  slices.began(0.1, 0);
  slices.ended(120_000);
  expect(slices.isRestedOut(149_999)).toBe(false);
  expect(slices.mayBegin(0.1, 149_999)).toBe(false);
  expect(slices.isRestedOut(150_000)).toBe(true);
  expect(slices.mayBegin(0.1, 150_000)).toBe(true);
});
