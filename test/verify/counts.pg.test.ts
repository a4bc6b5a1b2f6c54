import { describe, expect, test } from "vitest";
import { ACCOUNTS, NIGHTLY, openExam, UNMAPPABLE } from "./exam-support.ts";
import { describeParity } from "../../src/cli/commands/verify.ts";
import { parityHtml } from "../../src/cli/verify-html.ts";
import { count } from "../../src/model/count-text.ts";

/*
 * What a report counts is right however many rows differ: beyond what is looked at in one go, when one
 * side has nothing at all, and beside streams that are left out.
 */

const SEED = 1;
/** All of a table's counts that are not named. */
const NONE = { missing: 0, extra: 0, different: 0 };

describe("thousands of differences", () => {
  test("are counted by table and kind, and shown up to the limit", async () => {
    await using exam = await openExam(SEED, { accounts: 4_000 });
    await exam.writeUnseen(`
      UPDATE account SET balance = balance + 1 WHERE id % 4 = 0;
      DELETE FROM account WHERE id % 4 = 1;
      INSERT INTO account SELECT i, 'new', 0, NULL FROM generate_series(100001, 101501) i;
      DELETE FROM entry WHERE id % 8 = 0;
      UPDATE entry SET account_id = account_id + 1 WHERE id % 8 = 1;
      UPDATE entry SET amount = NULL WHERE id % 8 = 2`);
    const report = await exam.verify({ samplesMax: 7 });
    expect(report.tables).toMatchObject([
      {
        table: "public.account",
        present: 4_501,
        compared: 4_501,
        missing: 1_501,
        extra: 1_000,
        different: 1_000,
      },
      // What is in another stream is missing in the one and too much in the other.
      {
        table: "public.entry",
        present: 7_000,
        compared: 7_000,
        missing: 1_000,
        extra: 2_000,
        different: 1_000,
      },
    ]);
    expect(report).toMatchObject({
      state: "different",
      present: 11_501,
      compared: 11_501,
      missing: 2_501,
      extra: 3_000,
      different: 2_000,
    });
    expect(report.samples).toHaveLength(7);
    // None of it is counted among what is equal afterwards, and nothing twice.
    expect(await exam.verify({ samplesMax: 7 })).toEqual({
      ...report,
      startedAt: expect.any(String) as string,
      finishedAt: expect.any(String) as string,
      fence: expect.any(String) as string,
    });
  });

  test("are counted where they lie in all buckets, nightly in more than are looked into at once", async () => {
    const accounts = NIGHTLY ? 300_000 : 3_000;
    await using exam = await openExam(SEED, { accounts, entriesEach: 0 });
    await exam.writeUnseen(`
      UPDATE account SET owner = NULL WHERE id % 20 = 0;
      DELETE FROM account WHERE id % 20 = 1`);
    expect(await exam.verify()).toMatchObject({
      ...NONE,
      present: accounts * 0.95,
      compared: accounts * 0.95,
      extra: accounts / 20,
      different: accounts / 20,
    });
  });
});

describe("more differences than are looked into", () => {
  test("are counted as far as they were, and of the rest is told how many there are at least", async () => {
    await using exam = await openExam(SEED);
    await exam.writeUnseen(
      "UPDATE account SET balance = balance + 1; UPDATE entry SET amount = -1",
    );
    const cut = await exam.verify({ limits: { examinedMax: 100 }, samplesMax: 3 });
    const left = ACCOUNTS - 100;
    expect(cut).toMatchObject({
      ...NONE,
      state: "different",
      conclusive: false,
      present: ACCOUNTS * 3,
      different: 300,
      unexamined: 2 * left,
      effort: { aggregatesExamined: 200 },
    });
    expect(cut.tables).toMatchObject([
      { ...NONE, table: "public.account", compared: 100, different: 100, unexamined: left },
      { ...NONE, table: "public.entry", compared: 200, different: 200, unexamined: left },
    ]);
    expect(cut.reasons[0]).toBe(
      `public.account: at least ${count(left)} more aggregates with sums that differ were not looked into, because so many do`,
    );
    expect(describeParity(cut)).toContain(
      "✗ different: at least 0 missing, 0 extra, 300 different",
    );
    expect(parityHtml(cut)).toContain("At least 300 rows");
    expect((await exam.verify({ limits: { examinedMax: ACCOUNTS } })).unexamined).toBe(0);
  });

  test("of which few share a sum with others are found by finer sums, in a few passes", async () => {
    await using exam = await openExam(SEED, { accounts: 4_000, entriesEach: 1 });
    await exam.db.query(`UPDATE account SET owner = '${UNMAPPABLE}' WHERE id IN (2, 3)`);
    await exam.pipeline.reach();
    await exam.writeUnseen(`
      UPDATE account SET balance = balance + 1 WHERE id % 200 = 0;
      DELETE FROM account WHERE id % 200 = 1;
      INSERT INTO account SELECT i, 'new', 0, NULL FROM generate_series(100001, 100020) i`);
    let finer = 0;
    let passes = 0;
    const source = exam.db.open();
    const openParity = source.openParity.bind(source);
    source.openParity = async (...args) => {
      const snapshot = await openParity(...args);
      const sumRows: typeof snapshot.sumRows = (table, plan, signal, within) => {
        if (within !== undefined) finer += 1;
        return snapshot.sumRows(table, plan, signal, within);
      };
      const sumAggregates: typeof snapshot.sumAggregates = (table, ...more) => {
        if (table.name === "public.account") passes += 1;
        return snapshot.sumAggregates(table, ...more);
      };
      return { ...snapshot, sumRows, sumAggregates };
    };
    const report = await exam.verify({ source, limits: { rowsPerLook: 300 } });
    expect(report.tables[0]).toMatchObject({
      ...{ table: "public.account", present: 4_000, compared: 3_998, unexamined: 0 },
      ...{ missing: 20, extra: 20, different: 20 },
    });
    expect(report.excluded).toEqual({ streams: 2, rows: 4 });
    expect(finer).toBe(1);
    expect(passes).toBeLessThan(5);
    // As without.
    const plain = await exam.verify();
    expect(plain.tables).toEqual(report.tables);
    expect(plain.effort.aggregatesExamined).toBe(report.effort.aggregatesExamined);
  });

  test("take no pass more than the limit asks for, and none is lost between two passes", async () => {
    await using exam = await openExam(SEED, { accounts: 1_000, entriesEach: 0 });
    await exam.writeUnseen("UPDATE account SET balance = balance + 1 WHERE id % 10 = 0");
    let passes = 0;
    const source = exam.db.open();
    const openParity = source.openParity.bind(source);
    source.openParity = async (...args) => {
      const snapshot = await openParity(...args);
      const sumAggregates: typeof snapshot.sumAggregates = (...more) => {
        passes += 1;
        return snapshot.sumAggregates(...more);
      };
      return { ...snapshot, sumAggregates };
    };
    const cut = await exam.verify({ source, limits: { rowsPerLook: 63, examinedMax: 15 } });
    expect(cut).toMatchObject({ ...NONE, state: "different", different: 15 });
    // At least one in each bucket that was not looked into.
    expect(cut.unexamined).toBeGreaterThan(5);
    expect(cut.unexamined).toBeLessThanOrEqual(85);
    expect(passes).toBeGreaterThan(1);
    expect(passes).toBeLessThan(6);
    expect(cut.compared + cut.unexamined).toBeLessThan(1_000);
    const whole = await exam.verify({ limits: { rowsPerLook: 63 } });
    expect(whole).toMatchObject({ ...NONE, different: 100, unexamined: 0, compared: 1_000 });
  });

  test("are no difference before one was seen, and nothing is called equal", async () => {
    await using exam = await openExam(SEED, { accounts: 500, entriesEach: 0 });
    await exam.writeUnseen("UPDATE account SET balance = balance + 1 WHERE id <= 3");
    const late = await exam.verify({ limits: { lookMsMax: -1 } });
    expect(late).toMatchObject({ ...NONE, state: "inconclusive", samples: [], unexamined: 3 });
    expect(late.compared).toBeGreaterThan(400);
    expect(late.compared).toBeLessThan(498);
    expect(await exam.verify()).toMatchObject({ state: "different", different: 3, unexamined: 0 });
  });
});

describe("one side that has nothing", () => {
  test("of any table: all rows are missing, and then all folds too much", async () => {
    await using exam = await openExam(SEED, { accounts: 1, entriesEach: 0 });
    await exam.db.query("DELETE FROM account");
    await exam.writeUnseen(`
      INSERT INTO account SELECT i, 'new', 0, NULL FROM generate_series(1, 1200) i;
      INSERT INTO entry SELECT i, i % 1300, 0 FROM generate_series(1, 2400) i`);
    expect((await exam.verify()).tables).toMatchObject([
      { ...NONE, table: "public.account", present: 1_200, compared: 1_200, missing: 1_200 },
      { ...NONE, table: "public.entry", present: 2_400, compared: 2_400, missing: 2_400 },
    ]);
  });

  test("of all tables: every fold is too much", async () => {
    await using exam = await openExam(SEED, { accounts: 1_200 });
    await exam.writeUnseen("DELETE FROM account; DELETE FROM entry");
    expect((await exam.verify()).tables).toMatchObject([
      { ...NONE, table: "public.account", present: 0, compared: 0, extra: 1_200 },
      { ...NONE, table: "public.entry", present: 0, compared: 0, extra: 2_400 },
    ]);
  });

  test("of one table: its rows are missing and the other's are equal", async () => {
    await using exam = await openExam(SEED, { accounts: 700, entriesEach: 0 });
    await exam.writeUnseen(
      "INSERT INTO entry SELECT i, 1 + i % 700, i FROM generate_series(1, 1400) i",
    );
    const report = await exam.verify();
    expect(report.tables).toMatchObject([
      { ...NONE, table: "public.account", present: 700, compared: 700 },
      { ...NONE, table: "public.entry", present: 1_400, compared: 1_400, missing: 1_400 },
    ]);
  });
});

describe("streams that are left out", () => {
  test("do not hide what differs in the same bucket, nor are they counted with it", async () => {
    const accounts = 60;
    await using exam = await openExam(SEED, { accounts });
    // Three or four accounts share each of the buckets.
    const parked = [7, 8];
    const differing = Array.from({ length: 20 }, (_, i) => 2 * i + 11);
    await exam.db.query(
      `UPDATE account SET owner = '${UNMAPPABLE}' WHERE id IN (${parked.join()})`,
    );
    await exam.pipeline.reach();
    const changed = [...parked, ...differing].join();
    await exam.writeUnseen(`
      UPDATE account SET balance = -1 WHERE id IN (${changed});
      UPDATE entry SET amount = -1 WHERE account_id IN (${changed});
      INSERT INTO entry SELECT 1000 + id, id, 0 FROM account WHERE id IN (${changed})`);
    for (const refold of [false, true]) {
      const report = await exam.verify({ refold, samplesMax: 100 });
      expect(report).toMatchObject({
        state: "different",
        excluded: { streams: 2, rows: 2 * (1 + 3) },
      });
      expect(report.tables).toMatchObject([
        {
          ...NONE,
          table: "public.account",
          present: accounts,
          compared: accounts - 2,
          different: differing.length,
        },
        {
          table: "public.entry",
          present: 2 * accounts + differing.length + 2,
          compared: 2 * accounts + differing.length + 2 - 2 * 3,
          missing: differing.length,
          extra: 0,
          different: 2 * differing.length,
        },
      ]);
      const named = new Set(report.samples.map(({ stream }) => stream));
      expect(named).toEqual(new Set(differing.map((id) => `account-${id}`)));
    }
  });

  test("with nothing else that differs leave the verdict open, not equal", async () => {
    await using exam = await openExam(SEED, { accounts: 40 });
    await exam.db.query(`UPDATE account SET owner = '${UNMAPPABLE}' WHERE id IN (7, 8)`);
    await exam.pipeline.reach();
    expect(await exam.verify()).toMatchObject({
      state: "inconclusive",
      ...NONE,
      present: 120,
      compared: 114,
      excluded: { streams: 2, rows: 6 },
    });
  });
});
