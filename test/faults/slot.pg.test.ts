import pg from "pg";
import { expect, test } from "vitest";
import { openPostgresSource } from "../../connectors/postgres/source.ts";
import type { BanyanError } from "../../src/model/errors.ts";
import type { Position } from "../../src/model/position.ts";
import { openBank, startTraffic, type Bank } from "../support/faults-bank.ts";
import {
  Capture,
  eventually,
  expectIntact,
  openScene,
  seedOf,
  type Scene,
} from "../support/faults-capture.ts";

/*
 * The replication slot is what the source remembers of us. When it is taken, gone or elsewhere, the
 * capture says so and what to do next; a slot that had history is never made anew in silence.
 */

const WAIT_MS_MAX = 60_000;
/** Far below the time that the creation of a slot waits. */
const STOP_MS_MAX = 15_000;

/** A capture that has followed the log and was stopped. */
async function stoppedScene(label: string): Promise<Scene & { readonly checkpoint: Position }> {
  const scene = await openScene(await openBank(label));
  await using traffic = startTraffic({ url: scene.bank.db.url, seed: seedOf(label) });
  await using capture = new Capture(scene);
  await capture.untilTailing();
  await capture.untilMore(20);
  await traffic.stop();
  await capture.stop();
  return { ...scene, checkpoint: capture.status!.positions.checkpoint! };
}

async function slotsOf({ db }: Bank): Promise<readonly string[]> {
  const { rows } = await db.query(
    "SELECT slot_name AS name FROM pg_replication_slots WHERE database = current_database()",
  );
  return (rows as { name: string }[]).map(({ name }) => name);
}

/** Does what the hint of a lost slot says: drops what is left of it, and begins with an empty store. */
async function expectNewBaseline(scene: Scene, { hint }: BanyanError): Promise<void> {
  expect(hint).toMatch(/empty .*as `store`.*banyan run/);
  const { bank } = scene;
  const drop = /SELECT pg_drop_replication_slot\('\w+'\);/.exec(hint!)?.[0];
  expect(drop !== undefined).toBe((await slotsOf(bank)).length > 0);
  if (drop !== undefined) await bank.db.query(drop);
  await using anew = await openScene({ ...bank, [Symbol.asyncDispose]: async () => undefined });
  await using traffic = startTraffic({ url: bank.db.url, seed: seedOf("anew") });
  await using capture = new Capture(anew);
  await capture.untilTailing();
  await capture.untilMore(20);
  await expectIntact(anew, capture, traffic);
}

test("a slot that another reader holds is waited for, and the message says who has it", async () => {
  await using scene = await stoppedScene("held");
  const { bank, checkpoint } = scene;
  const other = openPostgresSource({
    url: bank.db.url,
    slot: bank.slot,
    publication: bank.publication,
    applicationName: "somebody else",
  });
  const letGo = new AbortController();
  const reading = (async () => {
    for await (const _ of other.stream(checkpoint, letGo.signal));
  })();
  const holder = await activePid(bank);
  await using capture = new Capture(scene);
  const error = await capture.untilRetry("SLOT_IN_USE");
  expect(error.message).toContain(`process ${holder}`);
  expect(error.message).toContain("somebody else");
  expect(error.hint).toContain(`pg_terminate_backend(${holder})`);
  letGo.abort();
  await reading;
  await other.close();
  await using traffic = startTraffic({ url: bank.db.url, seed: seedOf("held") + 1 });
  await capture.untilMore();
  await expectIntact(scene, capture, traffic);
  expect(new Set(capture.codes)).toEqual(new Set(["SLOT_IN_USE"]));
});

async function activePid({ db, slot }: Bank): Promise<number> {
  let pid: number | null | undefined;
  await eventually("a reader on the slot", WAIT_MS_MAX, async () => {
    const { rows } = await db.query(
      "SELECT active_pid AS pid FROM pg_replication_slots WHERE slot_name = $1",
      [slot],
    );
    pid = (rows as { pid: number | null }[])[0]?.pid;
    return typeof pid === "number";
  });
  return pid!;
}

test("a slot dropped under a running capture ends it; what to do next is said and works", async () => {
  await using scene = await openScene(await openBank("dropped running"));
  const { bank } = scene;
  await using traffic = startTraffic({ url: bank.db.url, seed: seedOf("dropped running") });
  await using capture = new Capture(scene);
  await capture.untilTailing();
  await capture.untilMore();
  await bank.db.query(dropUnderReaders(bank));
  const error = await capture.failure();
  expect(error.code).toBe("SLOT_LOST");
  expect(error.message).toContain(bank.slot);
  expect(await slotsOf(bank)).toEqual([]);
  await traffic.stop();
  await expectNewBaseline(scene, error);
});

/** In one statement: the capture comes back within moments, and would have the slot again. */
function dropUnderReaders({ slot }: Bank): string {
  return `DO $$
    BEGIN
      LOOP
        PERFORM pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE slot_name = '${slot}' AND active_pid IS NOT NULL;
        BEGIN
          PERFORM pg_drop_replication_slot('${slot}');
          EXIT;
        EXCEPTION WHEN object_in_use THEN
          PERFORM pg_sleep(0.001);
        END;
      END LOOP;
    END $$`;
}

test("a slot dropped while the capture was stopped is never made again in silence", async () => {
  await using scene = await stoppedScene("dropped stopped");
  const { bank } = scene;
  await bank.db.query("SELECT pg_drop_replication_slot($1)", [bank.slot]);
  for (let run = 0; run < 2; run++) {
    await using capture = new Capture(scene);
    expect(await capture.failure()).toMatchObject({ code: "SLOT_LOST", recovery: "operator" });
    expect(await slotsOf(bank)).toEqual([]);
  }
  await bank.db.query("INSERT INTO account (id, owner) VALUES (0, 'after')");
  await bank.db.query("SELECT pg_create_logical_replication_slot($1, 'pgoutput')", [bank.slot]);
  await using capture = new Capture(scene);
  expect(await capture.failure()).toMatchObject({ code: "SLOT_AHEAD", recovery: "operator" });
});

test("a slot that was advanced past the checkpoint is refused, with both places", async () => {
  await using scene = await stoppedScene("advanced");
  const { bank } = scene;
  await bank.db.query("INSERT INTO account (id, owner) VALUES (0, 'unseen')");
  const { rows } = await bank.db.query(
    "SELECT end_lsn::text AS lsn FROM pg_replication_slot_advance($1, pg_current_wal_lsn())",
    [bank.slot],
  );
  const { lsn } = (rows as { lsn: string }[])[0]!;
  await using capture = new Capture(scene);
  const error = await capture.failure();
  expect(error).toMatchObject({ code: "SLOT_AHEAD", recovery: "operator" });
  expect(error.message).toContain(`stands at ${lsn}`);
  expect(error.message).toContain("beyond the checkpoint");
  await expectNewBaseline(scene, error);
});

test("a transaction that is open for long is named while the slot waits, and waited for", async () => {
  await using scene = await openScene(await openBank("blocked"));
  const { bank } = scene;
  const client = new pg.Client({ connectionString: bank.db.url, application_name: "month end" });
  await client.connect();
  await client.query("BEGIN");
  await client.query("UPDATE account SET owner = 'open' WHERE id = 1");
  const { rows } = await client.query<{ pid: number }>("SELECT pg_backend_pid() AS pid");
  const { pid } = rows[0]!;
  await using capture = new Capture(scene, { source: { slotWaitMsMax: 400 } });
  const error = await capture.untilRetry("SLOT_CREATION_BLOCKED");
  expect(error.message).toContain(`process ${pid} (month end)`);
  expect(error.hint).toContain("pg_terminate_backend");
  expect(error.hint).toContain(String(pid));
  await client.query("COMMIT");
  await client.end();
  await capture.untilTailing();
  await using traffic = startTraffic({ url: bank.db.url, seed: seedOf("blocked") });
  await capture.untilMore();
  await expectIntact(scene, capture, traffic);
});

test("a capture that waits for an open transaction stops when told to, and leaves no slot", async () => {
  await using scene = await openScene(await openBank("blocked stop"));
  const { bank } = scene;
  const client = new pg.Client(bank.db.url);
  await client.connect();
  await client.query("BEGIN; UPDATE account SET owner = 'open' WHERE id = 1");
  await using capture = new Capture(scene);
  await eventually("the creation of the slot to wait", WAIT_MS_MAX, async () => {
    const waiting =
      "SELECT FROM pg_stat_activity WHERE datname = current_database() AND backend_type = 'walsender' AND wait_event_type = 'Lock'";
    return (await bank.db.query(waiting)).rowCount === 1;
  });
  const since = performance.now();
  await capture.stop();
  expect(performance.now() - since).toBeLessThan(STOP_MS_MAX);
  await client.query("ROLLBACK");
  await client.end();
  await eventually("the server to forget the slot", WAIT_MS_MAX, async () => {
    return (await slotsOf(bank)).length === 0;
  });
});

test("a slot of the name that is not ours is left alone", async () => {
  await using scene = await openScene(await openBank("foreign"));
  const { bank } = scene;
  await bank.db.query("SELECT pg_create_physical_replication_slot($1)", [bank.slot]);
  try {
    await using capture = new Capture(scene);
    const error = await capture.failure();
    expect(error).toMatchObject({ code: "SOURCE_NOT_READY", recovery: "operator" });
    expect(error.message).toMatch(/replication slot \w+ exists/);
    expect(error.hint).toMatch(/another slot name/);
    const { rowCount } = await bank.db.query(
      "SELECT FROM pg_replication_slots WHERE slot_name = $1 AND slot_type = 'physical'",
      [bank.slot],
    );
    expect(rowCount).toBe(1);
  } finally {
    await bank.db.query("SELECT pg_drop_replication_slot($1)", [bank.slot]);
  }
});
