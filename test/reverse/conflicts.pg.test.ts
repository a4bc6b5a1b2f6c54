import { describe, expect, test } from "vitest";
import { amended, bankWorld, until } from "./bank-world.ts";
import type { ReverseWorld } from "./reverse-support.ts";

const update = (data: Readonly<Record<string, unknown>>) =>
  amended("Account", "account", "update", data);

async function rowsOf(world: ReverseWorld, sql: string): Promise<unknown[]> {
  const { rows } = await world.db.query(sql);
  return rows as unknown[];
}

async function conflicts(world: ReverseWorld) {
  return (await world.store.reverse.status("shop", 10))!.samples.map(
    ({ foundAt: _foundAt, ...conflict }) => conflict,
  );
}

describe("a row that somebody else has changed", () => {
  test("is not written over: its stream waits, the others go on, and it is written once the row is as before", async () => {
    await using world = await bankWorld("reverse_conflict");
    await world.db.query("UPDATE account SET email = 'foreign@x' WHERE id = 1");
    await world.append("account-1", [
      update({ id: 1, balance: "11.00" }),
      amended("Account", "entries", "delete", { id: "1" }),
    ]);
    await world.append("account-2", [update({ id: 2, balance: "21.00" })]);
    await world.writeBack();
    expect(await conflicts(world)).toEqual([
      {
        stream: "account-1",
        version: 2,
        table: "public.account",
        key: "1",
        columns: ["email"],
        reason: "somebody else has changed the row",
      },
    ]);
    expect(
      await rowsOf(world, "SELECT id, email, balance FROM account WHERE id < 3 ORDER BY 1"),
    ).toEqual([
      { id: 1, email: "foreign@x", balance: "10.00" },
      { id: 2, email: "b@x", balance: "21.00" },
    ]);
    expect(await rowsOf(world, "SELECT id FROM entry WHERE id = 1")).toHaveLength(1);
    // A new event does not change that, nor is it written alone.
    await world.append("account-1", [update({ id: 1, balance: "12.00" })]);
    await world.writeBack();
    expect(await conflicts(world)).toMatchObject([{ stream: "account-1", version: 2 }]);
    await world.db.query("UPDATE account SET email = 'a@x' WHERE id = 1");
    expect(await world.store.reverse.retryConflicts("shop")).toBe(1);
    const running = world.start();
    await until(async () => (await conflicts(world)).length === 0);
    await running.stop();
    expect(await world.expectRowsAreFolds("account")).toBe(6);
  });

  test("that was deleted, or stands where one is to be inserted, likewise", async () => {
    await using world = await bankWorld("reverse_conflict_rows");
    await world.db.query(`
      DELETE FROM account WHERE id = 3; INSERT INTO account VALUES (9, 'nine@x', NULL, 9);
      UPDATE entry SET tags = '{y}' WHERE id = 1; INSERT INTO account VALUES (5, 'taken@x', NULL, 0)`);
    await world.append("account-3", [update({ id: 3, balance: "1.00" })]);
    await world.append("account-9", [
      amended("Account", "account", "insert", {
        id: 9,
        email: "nine@x",
        note: null,
        balance: "8.00",
      }),
    ]);
    await world.append("account-1", [amended("Account", "entries", "delete", { id: "1" })]);
    await world.append("account-10", [
      amended("Account", "account", "insert", {
        id: 10,
        email: "taken@x",
        note: null,
        balance: "1.00",
      }),
    ]);
    await world.writeBack();
    const found = new Map((await conflicts(world)).map((one) => [one.stream, one]));
    expect(found.get("account-3")).toMatchObject({
      key: "3",
      columns: [],
      reason: "somebody else has deleted the row",
    });
    expect(found.get("account-9")).toMatchObject({ key: "9", columns: ["balance"] });
    expect(found.get("account-1")).toMatchObject({
      table: "public.entry",
      key: "1",
      columns: ["tags"],
    });
    expect(found.get("account-10")).toMatchObject({
      key: "10",
      reason: "another row has a value that must be unique (account_email_key)",
    });
    expect(found.size).toBe(4);
    expect(await rowsOf(world, "SELECT balance FROM account WHERE id = 9")).toEqual([
      { balance: "9.00" },
    ]);
  });

  test("or that has a value of another is told by its key and the constraint, whatever is written", async () => {
    await using world = await bankWorld("reverse_taken");
    await world.db.query(`
      ALTER TABLE loan ADD CONSTRAINT one_sum UNIQUE (sum) DEFERRABLE;
      ALTER TABLE entry ADD CONSTRAINT one_amount UNIQUE (account_id, amount)`);
    const entry = (id: string, amount: string) =>
      amended("Account", "entries", "update", { id, amount });
    await world.append("account-1", [update({ id: 1, email: "b@x" })]);
    await world.append("account-2", [
      amended("Account", "entries", "insert", { id: "8", amount: "1.00", tags: null }),
    ]);
    await world.append("loan-2", [
      amended("Loan", "loan", "insert", { id: 2, account_id: 1, sum: 0.1 }),
    ]);
    await world.append("loan-3", [
      amended("Loan", "loan", "insert", { id: 3, account_id: 1, sum: 0.3 }),
    ]);
    // Two rows in one statement, of which the second is refused.
    await world.append("account-3", [
      amended("Account", "entries", "insert", { id: "20", amount: "1.00", tags: null }),
      amended("Account", "entries", "insert", { id: "21", amount: "2.00", tags: null }),
    ]);
    await world.writeBack();
    await world.db.query("INSERT INTO entry (account_id, amount) VALUES (3, 9)");
    await world.append("account-3", [entry("20", "5.00"), entry("21", "9.00")]);
    await world.writeBack();
    const told = (await conflicts(world)).map(({ stream, table, key, reason }) => [
      stream,
      table,
      key,
      reason.replace("another row has a value that must be unique", "taken"),
    ]);
    expect(new Map(told.map(([stream, ...rest]) => [stream, rest]))).toEqual(
      new Map([
        ["account-1", ["public.account", "1", "taken (account_email_key)"]],
        ["account-2", ["public.entry", "8", "taken (one_amount)"]],
        ["account-3", ["public.entry", "21", "taken (one_amount)"]],
        ["loan-2", ["public.loan", "2", "taken (one_sum)"]],
      ]),
    );
    expect(await rowsOf(world, "SELECT id, sum FROM loan ORDER BY 1")).toEqual([
      { id: 1, sum: 0.1 },
      { id: 3, sum: 0.3 },
    ]);
  });

  test("and is as it should be already is fine", async () => {
    await using world = await bankWorld("reverse_equal");
    await world.db.query(`
      INSERT INTO account VALUES (9, NULL, '{"b": 2}', 9); UPDATE account SET balance = 11 WHERE id = 1; DELETE FROM entry WHERE id = 3`);
    await world.append("account-9", [
      amended("Account", "account", "insert", {
        id: 9,
        email: null,
        note: '{"b": 2}',
        balance: "9.00",
      }),
    ]);
    await world.append("account-1", [update({ id: 1, balance: "11.00" })]);
    await world.append("account-2", [amended("Account", "entries", "delete", { id: "3" })]);
    await world.writeBack();
    expect(await conflicts(world)).toEqual([]);
    expect(await world.expectRowsAreFolds("account")).toBe(7);
  });
});

describe("what a service writes", () => {
  test("need not be in the database's own words, and is found again", async () => {
    await using world = await bankWorld("reverse_words");
    const insert = { id: 7, email: "e", note: '{"b":1,  "a":2}', balance: "12.5" };
    await world.append("account-7", [amended("Account", "account", "insert", insert)]);
    await world.writeBack();
    await world.append("account-7", [update({ id: 7, email: "f" })]);
    await world.append("account-7", [update({ id: 7, balance: "013" })]);
    await world.writeBack();
    expect(await conflicts(world)).toEqual([]);
    expect(
      await rowsOf(world, "SELECT email, note::text, balance, doubled FROM account WHERE id = 7"),
    ).toEqual([{ email: "f", note: '{"a": 2, "b": 1}', balance: "13.00", doubled: "26.00" }]);
  });

  test("may be what the database refuses: then that stream alone waits, and says why", async () => {
    await using world = await bankWorld("reverse_refused");
    await world.append("account-1", [update({ id: 1, balance: null })]);
    await world.append("account-2", [update({ id: 2, balance: "much" })]);
    await world.append("account-3", [update({ id: 3, balance: "33.00" })]);
    await world.append("account-4", [{ type: "Unheard", data: { id: 4 } }]);
    await world.writeBack();
    const found = new Map((await conflicts(world)).map(({ stream, reason }) => [stream, reason]));
    expect(found.get("account-1")).toMatch(/null value in column "balance"/);
    expect(found.get("account-2")).toBe("invalid input syntax for type numeric");
    expect(found.get("account-4")).toMatch(
      /no mapping version says how Unheard of account-4 folds/,
    );
    expect(found.size).toBe(3);
    await world.store.reverse.retryConflicts("shop");
    const running = world.start();
    await until(async () => (await world.store.reverse.conflictsToTry("shop", 60, 9)).length === 0);
    await running.stop();
    expect(
      (await conflicts(world)).map(({ stream, version }) => `${stream} ${version}`).toSorted(),
    ).toEqual(["account-1 2", "account-2 2", "account-4 2"]);
    expect(await rowsOf(world, "SELECT balance FROM account WHERE id = 3")).toEqual([
      { balance: "33.00" },
    ]);
  });

  test("may refer to rows of another aggregate, in the order of the feed or once they are there", async () => {
    await using world = await bankWorld("reverse_references");
    const account = (id: number) =>
      amended("Account", "account", "insert", { id, email: null, note: null, balance: "1.00" });
    const loan = (id: number, account_id: number) =>
      amended("Loan", "loan", "insert", { id, account_id, sum: "0.30000000000000004" });
    await world.append("account-21", [account(21)]);
    await world.append("loan-21", [loan(21, 21)]);
    await world.append("loan-22", [loan(22, 22)]);
    await world.writeBack();
    expect(await conflicts(world)).toMatchObject([
      {
        stream: "loan-22",
        table: "public.loan",
        reason: expect.stringMatching(/foreign key/) as string,
      },
    ]);
    await world.append("account-22", [account(22)]);
    await world.store.reverse.retryConflicts("shop", "loan-22");
    const running = world.start();
    await until(async () => (await conflicts(world)).length === 0);
    await running.stop();
    // Both go together: loans first, as their feed has it.
    await world.append("loan-22", [amended("Loan", "loan", "delete", { id: 22 })]);
    await world.append("account-22", [amended("Account", "account", "delete", { id: 22 })]);
    await world.writeBack();
    expect(await conflicts(world)).toEqual([]);
    expect(await world.expectRowsAreFolds("loan")).toBe(2);
    expect(await world.expectRowsAreFolds("account")).toBe(8);
  });
});

test("captured events between native ones are part of what the rows hold", async () => {
  await using world = await bankWorld("reverse_between");
  await world.append("account-1", [update({ id: 1, balance: "11.00" })]);
  await world.writeBack();
  // Legacy has the authority again, and changes the row; then it is with the service again.
  await world.db.query("UPDATE account SET email = 'legacy@x' WHERE id = 1");
  await world.storeDatabase.query(
    `INSERT INTO banyan.events (event_id, version, time, origin, stream_id, type, mapping_version, data)
     SELECT gen_random_uuid(), 3, now(), 'capture', 'account-1', 'AccountAmended', max(version),
            '{"$row": "account", "$op": "update", "id": 1, "email": "legacy@x"}' FROM banyan.mappings`,
  );
  await world.append("account-1", [update({ id: 1, balance: "12.00" })]);
  await world.writeBack();
  expect(await conflicts(world)).toEqual([]);
  expect(await world.expectRowsAreFolds("account")).toBe(7);
  expect(await rowsOf(world, "SELECT version FROM banyan_reverse.applied")).toEqual([
    { version: 4 },
  ]);
  expect(await world.store.reverse.status("shop", 1)).toMatchObject({ applied: 2 });
});

test("what a trigger makes of a row is not called written; one may spare these sessions", async () => {
  await using world = await bankWorld("reverse_trigger");
  await world.db.query(`
    CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.email := 'touched'; RETURN NEW; END $$;
    CREATE TRIGGER touch BEFORE UPDATE ON account FOR EACH ROW EXECUTE FUNCTION touch()`);
  await world.append("account-1", [update({ id: 1, balance: "11.00" })]);
  await world.writeBack();
  expect(await conflicts(world)).toMatchObject([
    {
      stream: "account-1",
      columns: ["email"],
      reason: "a trigger of the legacy database wrote something else",
    },
  ]);
  expect(await rowsOf(world, "SELECT email, balance FROM account WHERE id = 1")).toEqual([
    { email: "a@x", balance: "10.00" },
  ]);
  await world.db.query(`
    DROP TRIGGER touch ON account;
    CREATE TRIGGER touch BEFORE UPDATE ON account FOR EACH ROW
      WHEN (current_setting('banyan.reverse', true) IS DISTINCT FROM 'on') EXECUTE FUNCTION touch()`);
  await world.append("account-1", [update({ id: 1, balance: "12.00" })]);
  await world.writeBack();
  expect(await conflicts(world)).toEqual([]);
  expect(await world.expectRowsAreFolds("account")).toBe(7);
});
