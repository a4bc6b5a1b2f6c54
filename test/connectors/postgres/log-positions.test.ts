import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  checkpointAt,
  formatLsn,
  lsnDigits,
  lsnOf,
  parseLsn,
  wordDigits,
  type Lsn,
} from "../../../connectors/postgres/lsn.ts";
import { visibility } from "../../../connectors/postgres/parity.ts";
import { XidEpoch } from "../../../connectors/postgres/xid.ts";
import { changePosition } from "../../../src/model/position.ts";

const anyLsn = fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }).map((value) => value as Lsn);

describe("positions", () => {
  test("an LSN comes back from its text and from a checkpoint", () => {
    fc.assert(
      fc.property(anyLsn, (lsn) => {
        expect(parseLsn(formatLsn(lsn))).toBe(lsn);
        expect(lsnOf(checkpointAt(lsnDigits(lsn)))).toBe(lsn);
        expect(wordDigits(Number(lsn >> 32n), Number(lsn & 0xffff_ffffn))).toBe(lsnDigits(lsn));
      }),
    );
  });

  test("positions sort as the log does: by commit, then by ordinal, changes after a checkpoint at their commit", () => {
    fc.assert(
      fc.property(
        anyLsn,
        anyLsn,
        fc.integer({ min: 1, max: 2 ** 32 - 1 }),
        fc.integer({ min: 1, max: 2 ** 32 - 1 }),
        (a, b, i, j) => {
          const [x, y] = [changePosition(lsnDigits(a), i), changePosition(lsnDigits(b), j)];
          expect(x < y).toBe(a < b || (a === b && i < j));
          expect(checkpointAt(lsnDigits(a)) < y).toBe(a <= b);
        },
      ),
    );
  });

  test.each(["", "0", "0/", "/0", "0/G", "123456789/0", "0/0 "])("%j is no LSN", (text) => {
    expect(() => parseLsn(text)).toThrowError(
      expect.objectContaining({ code: "INVARIANT_BROKEN" }),
    );
  });
});

describe("64-bit transaction ids", () => {
  test("ids follow each other over any number of wraps", () => {
    const step = fc.integer({ min: -1_000_000, max: 1_500_000_000 });
    fc.assert(
      fc.property(
        fc.integer({ min: 2_000_000_000, max: 2 ** 45 }),
        fc.array(step, { maxLength: 30 }),
        (start, steps) => {
          const epoch = new XidEpoch(String(start));
          let xid = start;
          for (const by of steps) {
            xid = Math.max(3, xid + by);
            expect(epoch.extend(xid % 2 ** 32)).toBe(String(xid));
          }
        },
      ),
    );
  });

  test("an id just below the wrap belongs to the epoch before", () => {
    expect(new XidEpoch(String(2 ** 32 + 5)).extend(4_294_967_290)).toBe("4294967290");
  });
});

describe("visibility in a snapshot", () => {
  test("is decided by the id and the transactions in progress", () => {
    const sees = visibility("10:15:10,13");
    expect(["9", "10", "11", "13", "14", "15", "16"].filter(sees)).toEqual(["9", "11", "14"]);
    expect(["9", "10"].filter(visibility("10:10:"))).toEqual(["9"]);
    // As numbers, not as texts.
    expect(visibility("1000:1000:")("999")).toBe(true);
    expect(visibility("99999999999:99999999999:")("100000000000")).toBe(false);
  });
});
