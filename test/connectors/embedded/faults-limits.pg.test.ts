import { afterAll, beforeAll, expect, test } from "vitest";
import { openPostgresSource } from "../../../connectors/postgres/source.ts";
import type { Finding } from "../../../src/source/change-source.ts";
import { fillBank, type Bank } from "../../support/faults-bank.ts";
import {
  Capture,
  eventually,
  expectIntact,
  openScene,
  type Scene,
} from "../../support/faults-capture.ts";
import { startTestServer, type TestServer } from "../../support/faults-server.ts";

/*
 * A server that gives the slot up: too much log kept for it, or nobody read it for too long. And one
 * with a prepared transaction that nobody remembers.
 */

let server: TestServer;
let databases = 0;

beforeAll(async () => {
  server = await startTestServer([
    ...["-c", "wal_level=logical", "-c", "max_prepared_transactions=5"],
    ...["-c", "min_wal_size=32MB", "-c", "max_wal_size=32MB"],
    ...["-c", "wal_init_zero=off", "-c", "wal_recycle=off"],
  ]);
});

afterAll(() => server[Symbol.asyncDispose]());

async function ownScene(): Promise<Scene> {
  databases += 1;
  return await openScene(await fillBank(await server.createDatabase(`bank_${databases}`), 5));
}

async function setting(sql: string): Promise<void> {
  await server.query(sql);
  await server.query("SELECT pg_reload_conf()");
}

/** Fills whole segments of log, then lets the server clean up. */
async function writeLog(segments: number): Promise<void> {
  for (let i = 0; i < segments; i++) {
    await server.query("SELECT pg_logical_emit_message(false, 'filler', repeat('x', 100000))");
    await server.query("SELECT pg_switch_wal()");
  }
  await server.query("CHECKPOINT");
}

async function checkOf({ db, slot, publication }: Bank): Promise<readonly Finding[]> {
  const source = openPostgresSource({ url: db.url, slot, publication });
  const findings = await source.check({ tables: [{ name: "account" }, { name: "entry" }] });
  await source.close();
  return findings;
}

test("a slot whose log outgrew max_slot_wal_keep_size ends the run, is told by the check, and is replaced", async () => {
  await using scene = await ownScene();
  const { bank } = scene;
  await using capture = new Capture(scene);
  await capture.untilTailing();
  // The capture cannot write, so it acknowledges nothing.
  scene.toStore.stall();
  await bank.db.query("UPDATE account SET owner = 'lost' WHERE id = 1");
  await setting("ALTER SYSTEM SET max_slot_wal_keep_size = '64MB'");
  await writeLog(1);
  expect((await checkOf(bank)).map(({ code }) => code)).toContain("slot-log-short");
  await setting("ALTER SYSTEM SET max_slot_wal_keep_size = '1MB'");
  await writeLog(6);
  const status = `SELECT wal_status FROM pg_replication_slots WHERE slot_name = '${bank.slot}'`;
  await eventually("the slot to be given up", 60_000, async () => {
    await writeLog(1);
    return (
      ((await server.query(status)).rows as { wal_status: string }[])[0]!.wal_status === "lost"
    );
  });
  scene.toStore.resume();
  const error = await capture.failure();
  expect(error).toMatchObject({ code: "SLOT_LOST", recovery: "operator" });
  expect(error.message).toContain(bank.slot);
  expect(error.hint).toMatch(/max_slot_wal_keep_size.*pg_drop_replication_slot.*empty/);
  const lost = (await checkOf(bank)).filter(({ severity }) => severity === "error");
  expect(lost.map(({ code }) => code)).toEqual(["slot-lost"]);
  await setting("ALTER SYSTEM RESET max_slot_wal_keep_size");
  await bank.db.query(lost[0]!.mend!);
  expect((await checkOf(bank)).filter(({ severity }) => severity !== "info")).toEqual([]);
  await using anew = await openScene({ ...bank, [Symbol.asyncDispose]: async () => undefined });
  await using again = new Capture(anew);
  await again.untilTailing();
  await bank.db.query("UPDATE account SET owner = 'seen' WHERE id = 1");
  await expectIntact(anew, again);
});

test("a slot given up because nobody read it names the setting that did it", async () => {
  await using scene = await ownScene();
  {
    await using capture = new Capture(scene);
    await capture.untilTailing();
  }
  await setting("ALTER SYSTEM SET idle_replication_slot_timeout = '1s'");
  const reason = `SELECT invalidation_reason AS why FROM pg_replication_slots WHERE slot_name = '${scene.bank.slot}'`;
  await eventually("the slot to be given up", 60_000, async () => {
    await server.query("CHECKPOINT");
    return ((await server.query(reason)).rows as { why: string | null }[])[0]!.why !== null;
  });
  await setting("ALTER SYSTEM RESET idle_replication_slot_timeout");
  await using capture = new Capture(scene);
  const error = await capture.failure();
  expect(error).toMatchObject({ code: "SLOT_LOST", recovery: "operator" });
  expect(error.message).toContain("idle_timeout");
  expect(error.hint).toContain("Raise idle_replication_slot_timeout.");
});

test("a forgotten prepared transaction is named while the slot waits for it", async () => {
  await using scene = await ownScene();
  const { bank } = scene;
  await bank.db.query(
    "BEGIN; UPDATE account SET owner = 'prepared' WHERE id = 1; PREPARE TRANSACTION 'month end'",
  );
  await using capture = new Capture(scene, { source: { slotWaitMsMax: 1_000 } });
  const error = await capture.untilRetry("SLOT_CREATION_BLOCKED");
  expect(error.message).toContain("prepared transaction month end");
  expect(error.hint).toContain("ROLLBACK PREPARED 'month end'");
  await bank.db.query("COMMIT PREPARED 'month end'");
  await capture.untilTailing();
  await bank.db.query("UPDATE account SET owner = 'after' WHERE id = 2");
  await expectIntact(scene, capture);
});
