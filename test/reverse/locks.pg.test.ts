import pg from "pg";
import { expect, test } from "vitest";
import { amended, bankWorld, until } from "./bank-world.ts";
import { postgresLegacyWriter } from "../../connectors/postgres/legacy-writer.ts";

test("a row that is locked is waited for, is no conflict, and keeps others back no longer than it must", async () => {
  await using world = await bankWorld("reverse_locked");
  const other = new pg.Client({ connectionString: world.db.url });
  await other.connect();
  // Gets no transaction id, which would hold back the feed of the store on the same server.
  await other.query("BEGIN; LOCK TABLE loan IN SHARE MODE");
  await world.append("loan-1", [amended("Loan", "loan", "update", { id: 1, sum: "0.2" })]);
  await world.append("account-2", [
    amended("Account", "account", "update", { id: 2, balance: "21.00" }),
  ]);
  const waits: number[] = [];
  const running = world.start({ onWait: (streams) => void waits.push(streams) });
  await until(async () => ((await world.store.reverse.status("shop", 1))?.applied ?? 0) > 0);
  expect(waits).not.toEqual([]);
  expect((await world.db.query("SELECT id FROM account WHERE balance = 21")).rows).toHaveLength(1);
  const status = await world.store.reverse.status("shop", 1);
  expect(status).toMatchObject({ conflicts: 0, applied: 1 });
  expect(status!.lagSeconds).toBeGreaterThan(2);
  await other.query("ROLLBACK");
  await other.end();
  await running.reach();
  await running.stop();
  expect(new Set(waits)).toEqual(new Set([1]));
  expect(await world.expectRowsAreFolds("loan")).toBe(1);
});

test("many that are locked are told of while they are waited for, and whoever takes over is made room for", async () => {
  await using world = await bankWorld("reverse_locked_many");
  const other = new pg.Client({ connectionString: world.db.url });
  await other.connect();
  await other.query("BEGIN; LOCK TABLE loan IN SHARE MODE");
  const loans = 6;
  for (let id = 11; id < 11 + loans; id++) {
    const row = { id, account_id: 1, sum: "0.5" };
    await world.append(`loan-${id}`, [amended("Loan", "loan", "insert", row)]);
  }
  const waits: number[] = [];
  const startedMs = Date.now();
  const first = world.start({ onWait: (streams) => void waits.push(streams) });
  await until(async () => waits.length > 0);
  expect(waits[0]).toBeLessThan(loans);
  const status = await world.store.reverse.status("shop", 1);
  // Behind the first lock that it has waited for.
  expect(Date.parse(status!.updatedAt) - startedMs).toBeGreaterThan(2_500);
  const second = world.start();
  await expect(first.ended).rejects.toMatchObject({ code: "PIPELINE_FENCED" });
  expect(Math.max(...waits)).toBeLessThan(loans);
  await other.query("ROLLBACK");
  await other.end();
  await second.reach();
  await second.stop();
  expect(await world.expectRowsAreFolds("loan")).toBe(1 + loans);
}, 180_000);

test("one that is stuck with a row keeps its place until its session ends", async () => {
  await using world = await bankWorld("reverse_stuck");
  const stuck = postgresLegacyWriter({ url: world.db.url, pipeline: "shop" });
  await stuck.open(["public.account"]);
  const retries: string[] = [];
  const running = world.start({ onRetry: ({ error }) => void retries.push(error.message) });
  await world.append("account-1", [
    amended("Account", "account", "update", { id: 1, balance: "11.00" }),
  ]);
  await until(() => Promise.resolve(retries.length > 0));
  expect(retries[0]).toMatch(/^waiting for whoever writes to the legacy rows to make room/);
  expect((await world.db.query("SELECT FROM banyan_reverse.applied")).rowCount).toBe(0);
  await stuck.close();
  await running.reach();
  await running.stop();
  expect(await world.expectRowsAreFolds("account")).toBe(7);
}, 180_000);
