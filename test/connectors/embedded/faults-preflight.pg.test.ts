import { afterAll, beforeAll, expect, test } from "vitest";
import { openPostgresSource } from "../../../connectors/postgres/source.ts";
import type { Finding } from "../../../src/source/change-source.ts";
import { fillBank, type Bank } from "../../support/faults-bank.ts";
import { Capture, openScene } from "../../support/faults-capture.ts";
import { startTestServer, type TestServer } from "../../support/faults-server.ts";

/*
 * The settings of a server that stand in the way of a capture, each mended by the SQL that the check
 * prints, and a restart where it says so.
 */

let server: TestServer;
let bank: Bank;

/** As it comes, with nothing set on the command line. */
beforeAll(async () => {
  server = await startTestServer([]);
  bank = await fillBank(await server.createDatabase("bank"), 3);
});

afterAll(() => server[Symbol.asyncDispose]());

async function found(): Promise<readonly Finding[]> {
  const { db, slot, publication } = bank;
  const source = openPostgresSource({ url: db.url, slot, publication });
  const findings = await source.check({ tables: [{ name: "account" }, { name: "entry" }] });
  await source.close();
  return findings.filter(({ severity }) => severity !== "info");
}

async function restart(flags: readonly string[] = []): Promise<void> {
  await server.stop("fast");
  await server.start(flags);
}

/** Runs what the check prints, and restarts the server where it says so. */
async function expectMended(code: string): Promise<void> {
  const findings = await found();
  expect(findings.map((finding) => finding.code)).toEqual([code]);
  const [{ mend, message }] = findings as [Finding];
  expect(mend).toBeDefined();
  for (const sql of mend!.split(/(?<=;) /)) await server.query(sql);
  if (message.includes("restarted")) await restart();
  expect(await found()).toEqual([]);
}

test("a log without logical decoding: the run names the check, the check the SQL", async () => {
  await using scene = await openScene({ ...bank, [Symbol.asyncDispose]: async () => undefined });
  {
    await using capture = new Capture(scene);
    const error = await capture.failure();
    expect(error).toMatchObject({ code: "SOURCE_NOT_READY", recovery: "operator" });
    expect(error.message).toMatch(/wal_level/);
    expect(error.hint).toContain("banyan check");
  }
  await expectMended("wal-level");
  {
    await using capture = new Capture(scene);
    await capture.untilTailing();
  }
  // With a logical slot the server would not start without it any more.
  await bank.db.query("SELECT pg_drop_replication_slot($1)", [bank.slot]);
});

test("a setting of the command line is not to be mended by SQL, and none is printed", async () => {
  await restart(["-c", "wal_level=replica", "-c", "max_replication_slots=0"]);
  const findings = await found();
  expect(findings.map(({ code }) => code)).toEqual(["wal-level", "slots-exhausted"]);
  for (const { mend, message } of findings) {
    expect(mend).toBeUndefined();
    expect(message).toContain("command line");
  }
  await restart();
  expect(await found()).toEqual([]);
});

test("a short wal_sender_timeout of the server", async () => {
  await server.query("ALTER SYSTEM SET wal_sender_timeout = '2s'");
  await server.query("SELECT pg_reload_conf()");
  await expectMended("sender-timeout-short");
});

test("no replication slot left", async () => {
  await server.query("ALTER SYSTEM SET max_replication_slots = 1");
  await restart();
  await server.query("SELECT pg_create_physical_replication_slot('somebody')");
  await expectMended("slots-exhausted");
  await server.query("SELECT pg_drop_replication_slot('somebody')");
});

test("no log sender left", async () => {
  await server.query("ALTER SYSTEM SET max_wal_senders = 0");
  await restart();
  await expectMended("senders-exhausted");
});
