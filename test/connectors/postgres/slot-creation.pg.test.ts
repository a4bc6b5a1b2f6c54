import { setTimeout as sleep } from "node:timers/promises";
import pg from "pg";
import { expect, test } from "vitest";
import { BANYAN_TABLE } from "./run-support.ts";
import { sourceDatabase, startOf } from "./source-support.ts";

const PLAN = { tables: [{ name: "public.item" }] };
const NIGHTLY = process.env["BANYAN_TEST_BUDGET"] === "nightly";

test("the slot is one that standbys keep too, where the server can do that", async () => {
  await using db = await sourceDatabase("slot", BANYAN_TABLE, "item");
  await startOf(db.open(), PLAN);
  const { rows } = await db.query(
    `SELECT to_jsonb(s) ->> 'failover' AS failover, temporary, two_phase,
            current_setting('server_version_num')::int AS version
       FROM pg_replication_slots s WHERE slot_name = $1`,
    [db.slot],
  );
  const [{ failover, temporary, two_phase, version }] = rows;
  expect({ failover, temporary, two_phase }).toEqual({
    failover: version >= 170_000 ? "true" : null,
    temporary: false,
    two_phase: false,
  });
});

/** Transactions that each last longer than a short attempt and that overlap without end. */
test.runIf(NIGHTLY)(
  "a server on which some transaction is always open gets its slot all the same",
  async () => {
    await using db = await sourceDatabase("busy", BANYAN_TABLE, "item");
    const stop = new AbortController();
    let id = 0;
    const worker = async (delayMs: number): Promise<void> => {
      await sleep(delayMs);
      const client = new pg.Client(db.url);
      await client.connect();
      while (!stop.signal.aborted) {
        await client.query("BEGIN");
        await client.query("INSERT INTO item VALUES ($1)", [(id += 1)]);
        await sleep(7_000);
        await client.query("COMMIT");
      }
      await client.end();
    };
    const workers = [0, 1_800, 3_600, 5_400].map(worker);
    try {
      await sleep(2_000);
      // Longer than any of them is open, shorter than all of them together.
      await startOf(db.open({ slotWaitMsMax: 20_000 }), PLAN);
    } finally {
      stop.abort();
      await Promise.all(workers);
    }
  },
);
