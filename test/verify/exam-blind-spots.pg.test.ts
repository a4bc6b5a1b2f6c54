import { expect, test } from "vitest";
import { openExam, ordered, sightsOf, type Exam } from "./exam-support.ts";
import { Saboteur, type Fault } from "../support/faulty-events.ts";
import { faultyMapper } from "../support/faulty-mapper.ts";

/*
 * Faults that leave the rows of the fold as they are, so that comparing rows cannot find them. Each test
 * says what does find them, and that a verification does not claim to.
 */

const SEED = 20_260_101;

async function ledger({ store, storeDatabase }: Exam): Promise<{ told: number; kept: number }> {
  const { ledger: counts } = (await store.pipeline("exam"))!;
  const { rows } = await storeDatabase.query("SELECT count(*)::int AS kept FROM banyan.events");
  const [{ kept }] = rows as [{ kept: number }];
  return { told: counts.events, kept };
}

/** A fault of the store to the next event of an account, told by these updates. */
async function spoil(
  fault: Fault,
  ...updates: readonly string[]
): Promise<{ exam: Exam; id: number; set: (what: string) => Promise<unknown> }> {
  const saboteur = new Saboteur();
  const exam = await openExam(SEED, { saboteur });
  const id = exam.victim();
  saboteur.plan(`account-${id}`, fault);
  const set = (what: string): Promise<unknown> =>
    exam.db.query(`UPDATE account SET ${what} WHERE id = ${id}`);
  for (const update of updates) await set(update);
  return { exam, id, set };
}

async function rejection(exam: Exam): Promise<unknown> {
  return await exam.pipeline.until(() => false).catch((error: unknown) => error);
}

test("an event that is there twice under its own id is refused by the store", async () => {
  const { exam } = await spoil({ kind: "double", sameId: true }, "balance = -1");
  await using _ = exam;
  const before = await ledger(exam);
  expect(await rejection(exam)).toMatchObject({ code: "INVARIANT_BROKEN" });
  expect(await ledger(exam)).toEqual(before);
});

test("a mapper that tells a change twice is stopped by the store: both events have one id", async () => {
  const saboteur = new Saboteur();
  using _ = faultyMapper(saboteur);
  await using exam = await openExam(SEED);
  const id = exam.victim();
  saboteur.plan(`account-${id}`, { kind: "double", sameId: true });
  const before = await ledger(exam);
  await exam.db.query(`UPDATE account SET balance = -1 WHERE id = ${id}`);
  expect(await rejection(exam)).toMatchObject({ code: "INVARIANT_BROKEN" });
  expect(await ledger(exam)).toEqual(before);
});

test("the own time of an event that sets no time of its row is held against nothing", async () => {
  const { exam, id } = await spoil({ kind: "retime" }, "balance = -1");
  await using _ = exam;
  await exam.pipeline.reach();
  expect(await exam.verify()).toMatchObject({ state: "equal" });
  // The order in which events were recorded does not tell: a transaction may commit before an earlier one.
  const { rows } = await exam.storeDatabase.query(
    `SELECT version FROM banyan.events WHERE stream_id = 'account-${id}' AND time < recorded_time - interval '59 min'
        AND version > 1`,
  );
  expect(rows).toEqual([{ version: 2 }]);
});

test("what is done to events after they were folded shows only when all are folded anew", async () => {
  await using exam = await openExam(SEED);
  const [altered, lost] = [exam.victim(), exam.victim()];
  await exam.db.query(`UPDATE account SET balance = -1 WHERE id IN (${altered}, ${lost})`);
  await exam.pipeline.reach();
  expect(await exam.verify()).toMatchObject({ state: "equal" });
  // Nobody but the owner can, and only like this.
  await exam.storeDatabase.query(`
    BEGIN;
    ALTER TABLE banyan.events DISABLE TRIGGER ALL;
    UPDATE banyan.events SET data = jsonb_set(data, '{balance}', '"-7.00"')
     WHERE stream_id = 'account-${altered}' AND version = 2;
    DELETE FROM banyan.events WHERE stream_id = 'account-${lost}' AND version = 2;
    COMMIT`);
  const seen = ordered(
    [altered, lost].map((id) => ({
      verdict: "different",
      table: "public.account",
      stream: `account-${id}`,
      key: String(id),
      columns: ["balance"],
    })),
  );
  expect(await exam.verify()).toMatchObject({ state: "equal" });
  expect(sightsOf(await exam.verify({ refold: true }))).toEqual(seen);
  // And stays found: what is kept now is what the events say.
  expect(sightsOf(await exam.verify())).toEqual(seen);
});
