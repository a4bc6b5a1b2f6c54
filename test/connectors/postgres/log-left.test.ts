import { describe, expect, test } from "vitest";
import { logLeft, LogRate } from "../../../connectors/postgres/log-left.ts";
import { parseLsn } from "../../../connectors/postgres/lsn.ts";
import type { Slot } from "../../../connectors/postgres/slot.ts";
import { isShort } from "../../../src/source/change-source.ts";

const MB = 1024 * 1024;
const slot = (safeBytes: number | undefined): Slot => ({
  plugin: "pgoutput",
  database: "shop",
  activePid: undefined,
  confirmed: undefined,
  walStatus: "reserved",
  safeBytes,
  invalidationReason: undefined,
});

describe("log that may still be written", () => {
  test("is without end when the server has no limit", () => {
    expect(logLeft(slot(undefined), 1_000)).toBeUndefined();
    expect(logLeft(undefined, 1_000)).toBeUndefined();
  });

  test("ends in bytes, and at a known rate in time", () => {
    expect(logLeft(slot(100 * MB), MB)).toEqual({ bytes: 100 * MB, seconds: 100 });
    expect(logLeft(slot(100 * MB), undefined)).toEqual({ bytes: 100 * MB });
    // A server that writes nothing never gets there.
    expect(logLeft(slot(100 * MB), 0)).toEqual({ bytes: 100 * MB });
    // Beyond its limit until the next checkpoint.
    expect(logLeft(slot(-5), MB)).toEqual({ bytes: 0, seconds: 0 });
  });

  test("is short by size or by time", () => {
    expect(isShort({ bytes: 255 * MB })).toBe(true);
    expect(isShort({ bytes: 1_000 * MB })).toBe(false);
    expect(isShort({ bytes: 1_000 * MB, seconds: 3_599 })).toBe(true);
    expect(isShort({ bytes: 1_000 * MB, seconds: 3_600 })).toBe(false);
  });
});

describe("the rate of the log", () => {
  test("is not guessed from a moment, then that of the last half minute or so", () => {
    const rate = new LogRate();
    const at = (mb: number): ReturnType<typeof parseLsn> =>
      parseLsn(`16/${(mb * MB).toString(16)}`);
    rate.note(at(0), 0);
    expect(rate.bytesPerSecond(at(1), 1_000)).toBeUndefined();
    expect(rate.bytesPerSecond(at(10), 10_000)).toBe(MB);
    for (let second = 1; second <= 100; second++) rate.note(at(second), second * 1_000);
    // Ten times as fast from then on.
    for (let second = 101; second <= 200; second++)
      rate.note(at(100 + (second - 100) * 10), second * 1_000);
    expect(rate.bytesPerSecond(at(1_100), 200_000)).toBeCloseTo(10 * MB, -4);
  });
});
