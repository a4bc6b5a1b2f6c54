import { setTimeout as sleep } from "node:timers/promises";
import { expect, test } from "vitest";
import { openTestStore } from "./event-store-fixture.ts";
import { BANYAN_TABLE, runUntil } from "./run-support.ts";
import { sourceDatabase, startOf, type SourceDatabase } from "./source-support.ts";
import { createDatabase } from "../../support/databases.ts";
import { changePosition, isBefore, type Position } from "../../../src/model/position.ts";

const PLAN = { tables: [{ name: "public.item" }] };
const WAIT_MS_MAX = 60_000;

/** Feedback every two seconds or so, so that a test need not wait for the server's usual minute. */
function impatient(db: SourceDatabase): string {
  return `${db.url}${db.url.includes("?") ? "&" : "?"}options=${encodeURIComponent("-c wal_sender_timeout=3s")}`;
}

async function confirmed(db: SourceDatabase): Promise<string> {
  const { rows } = await db.query(
    `SELECT lpad(split_part(confirmed_flush_lsn::text, '/', 1), 8, '0') || lpad(split_part(confirmed_flush_lsn::text, '/', 2), 8, '0') AS lsn
       FROM pg_replication_slots WHERE slot_name = $1`,
    [db.slot],
  );
  return `${(rows as { lsn: string }[])[0]!.lsn}/00000000`;
}

test("the server is told of nothing but what was acknowledged, however much was received", async () => {
  await using db = await sourceDatabase("acknowledge", BANYAN_TABLE, "item");
  const source = db.open({ url: impatient(db) });
  const position = await startOf(source, PLAN);
  for (let id = 1; id <= 5; id++) await db.query("INSERT INTO item VALUES ($1, 'a')", [id]);
  const ends: Position[] = [];
  for await (const group of source.stream(position, AbortSignal.timeout(WAIT_MS_MAX))) {
    ends.push(...group.map(({ transaction }) => transaction.end));
    if (ends.length < 5) continue;
    // Several feedbacks go out meanwhile.
    await sleep(5_000);
    expect(await confirmed(db)).toBe(position);
    source.acknowledge(ends[2]!);
    const deadline = performance.now() + WAIT_MS_MAX;
    while ((await confirmed(db)) === position && performance.now() < deadline) await sleep(20);
    expect(await confirmed(db)).toBe(ends[2]);
    break;
  }
  expect(ends).toHaveLength(5);
});

test("a transaction of many changes is acknowledged as a whole, never in its middle", async () => {
  await using db = await sourceDatabase("acknowledge", BANYAN_TABLE, "item");
  const source = db.open({ partBytesMax: 4_096 });
  const position = await startOf(source, PLAN);
  await db.query("INSERT INTO item SELECT i, 'name' FROM generate_series(1, 2000) i");
  let parts = 0;
  for await (const group of source.stream(position, AbortSignal.timeout(WAIT_MS_MAX))) {
    const isOver = group.at(-1)!.last;
    for (const { transaction, changes } of group) {
      parts += 1;
      const first = changePosition(transaction.commit, changes[0]!.ordinal);
      // Before its last part a transaction tells only where it must be begun again.
      expect(isBefore(first, transaction.end)).toBe(isOver);
    }
    if (isOver) break;
  }
  expect(parts).toBeGreaterThan(10);
});

test("a captured database that is idle lets the log of others go, even under a steady load of theirs", async () => {
  await using db = await sourceDatabase("idle", BANYAN_TABLE, "item");
  await using busy = await createDatabase("busy");
  await using opened = await openTestStore("idle_store");
  await busy.query("CREATE TABLE noise (id bigint GENERATED ALWAYS AS IDENTITY, filler text)");
  const stop = new AbortController();
  const load = (async () => {
    while (!stop.signal.aborted) {
      await busy.query(
        "INSERT INTO noise (filler) SELECT repeat('x', 500) FROM generate_series(1, 200)",
      );
    }
  })();
  try {
    let target: string | undefined;
    const url = impatient(db);
    await runUntil({ ...db, open: () => db.open({ url }) }, opened.store, (status) => {
      if (status.phase !== "tail" || status.positions.head === undefined) return false;
      // Where the others' log stood some time ago.
      target ??= status.positions.head;
      return status.positions.checkpoint !== undefined && status.positions.checkpoint > target;
    });
    expect((await confirmed(db)) > target!).toBe(true);
  } finally {
    stop.abort();
    await load;
  }
});

test("tables that are not captured let the log go, too", async () => {
  await using db = await sourceDatabase(
    "idle",
    `${BANYAN_TABLE}; CREATE TABLE other (id int)`,
    "item",
  );
  await using opened = await openTestStore("idle_store");
  let target: string | undefined;
  let writing: Promise<unknown> | undefined;
  await runUntil(db, opened.store, (status) => {
    if (status.phase !== "tail") return false;
    writing ??= db
      .query("INSERT INTO other SELECT i FROM generate_series(1, 5000) i")
      .then(() => db.query("SELECT pg_current_wal_insert_lsn()::text AS lsn"))
      .then(({ rows }) => {
        const [high, low] = (rows as { lsn: string }[])[0]!.lsn.split("/");
        target = `${high!.padStart(8, "0")}${low!.padStart(8, "0")}/00000000`;
      });
    return target !== undefined && (status.positions.checkpoint ?? "") >= target;
  });
  await writing;
});
