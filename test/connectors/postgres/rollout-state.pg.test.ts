import { describe, expect, test } from "vitest";
import { openTestStore } from "./event-store-fixture.ts";
import { PostgresRolloutState } from "../../../connectors/postgres/rollout-state.ts";
import { bucketOf } from "../../../src/rollout/bucket.ts";
import type { Rollout } from "../../../src/rollout/stage.ts";
import { rolloutStateContract } from "../../contract/rollout-state.contract.ts";
import { seededRandom } from "../../support/seeded-random.ts";

const PUT = `
  INSERT INTO banyan.rollouts (pipeline, stream_type, stage, share, salt, epoch, held_from, held_to, held_until, held_reads)
  VALUES ($1, $2, $3, $4, $5, $6, $7, $8, clock_timestamp() + $9 * interval '1 ms', $10)
  ON CONFLICT (pipeline, stream_type) DO UPDATE
     SET stage = excluded.stage, share = excluded.share, salt = excluded.salt, epoch = excluded.epoch,
         held_from = excluded.held_from, held_to = excluded.held_to, held_until = excluded.held_until,
         held_reads = excluded.held_reads`;
const ADD_STREAM = `
  INSERT INTO banyan.events (event_id, time, version, origin, stream_id, type, data)
  VALUES (gen_random_uuid(), now(), 1, 'native', $1, 'Made', '{}')`;

async function open() {
  const opened = await openTestStore("rollout");
  const state = new PostgresRolloutState(opened.database.url, "shop");
  return {
    state,
    query: (sql: string, values: readonly unknown[] = []) =>
      opened.database.query(sql, [...values]),
    put: async (type: string, { stage, share, salt, epoch, hold }: Rollout) => {
      const held = [hold?.from, hold?.to, hold?.leftMs, hold?.reads];
      await opened.database.query(PUT, ["shop", type, stage, share, salt, epoch, ...held]);
      // Another migration's in the same store.
      await opened.database.query(PUT, ["other", type, "new", 1, "x", epoch, ...held]);
    },
    acknowledged: async (instance: string) => {
      const { rows } = await opened.database.query(
        "SELECT stream_type, epoch::float8 FROM banyan.proxies WHERE pipeline = 'shop' AND instance = $1 AND seen_at > now() - interval '1 min'",
        [instance],
      );
      return new Map(
        (rows as { stream_type: string; epoch: number }[]).map((row) => [
          row.stream_type,
          row.epoch,
        ]),
      );
    },
    addStream: async (stream: string) => void (await opened.database.query(ADD_STREAM, [stream])),
    async [Symbol.asyncDispose]() {
      await state.close();
      await opened[Symbol.asyncDispose]();
    },
  };
}

rolloutStateContract("Postgres", open);

describe("a rollout in the store", () => {
  test("takes no epoch twice and none that is older, keeps its salt, and is not forgotten", async () => {
    await using at = await open();
    await at.put("order", { stage: "canary", share: 100, salt: "s", epoch: 5 });
    const refused = [
      ["SET stage = 'legacy', epoch = 4", "BN003"],
      ["SET share = 200", "BN003"],
      ["SET share = 200, epoch = 5", "BN003"],
      ["SET salt = 'other', epoch = 6", "23001"],
      ["SET stream_type = 'other', epoch = 6", "23001"],
      ["SET share = 10001, epoch = 6", "23514"],
      ["SET share = -1, epoch = 6", "23514"],
      ["SET stage = 'lost', epoch = 6", "23514"],
    ] as const;
    for (const [set, code] of refused) {
      await expect(at.query(`UPDATE banyan.rollouts ${set}`), set).rejects.toMatchObject({ code });
    }
    await expect(at.query("DELETE FROM banyan.rollouts")).rejects.toMatchObject({ code: "23001" });
    await at.put("order", { stage: "complete", share: 0, salt: "s", epoch: 6 });
    await expect(
      at.query("UPDATE banyan.rollouts SET stage = 'new', epoch = 7"),
    ).rejects.toMatchObject({ code: "23001" });
    expect((await at.state.read()).get("order")).toMatchObject({ stage: "complete", epoch: 6 });
  });

  test("is read again after its session was ended, and says so meanwhile", async () => {
    await using at = await open();
    await at.state.read();
    await at.query(
      "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() AND query LIKE '%banyan.rollouts%'",
    );
    let failures = 0;
    for (let attempt = 0; attempt < 10; attempt++) {
      try {
        await at.state.read();
        break;
      } catch (error) {
        failures++;
        expect(error).toMatchObject({ code: "STORE_UNREACHABLE" });
      }
    }
    expect(failures).toBeLessThan(3);
    expect(await at.state.read()).toEqual(new Map());
  });

  test("that is locked away is not waited for longer than two seconds", async () => {
    await using at = await open();
    await at.state.read();
    await at.query("BEGIN; LOCK TABLE banyan.rollouts IN ACCESS EXCLUSIVE MODE");
    const before = performance.now();
    await expect(at.state.read()).rejects.toMatchObject({ recovery: "retry" });
    expect(performance.now() - before).toBeLessThan(8_000);
    await at.query("ROLLBACK");
    expect(await at.state.read()).toEqual(new Map());
  });

  test("has the buckets that the database computes", async () => {
    await using at = await open();
    const seed = Date.now() % 1_000_000;
    process.stdout.write(`seed ${seed}\n`);
    const random = seededRandom(seed);
    const ids = Array.from({ length: 2_000 }, (_, n) =>
      n % 2 === 0
        ? String(n)
        : String.fromCodePoint(
            ...Array.from({ length: n % 40 }, () => 1 + Math.floor(random() * 0xd7fe)),
          ),
    );
    const { rows } = await at.query(
      `SELECT ((h & 4294967295) * 10000) >> 32 AS bucket
         FROM unnest($1::text[]) WITH ORDINALITY AS ids (id, n), hashtextextended($2 || ':' || id COLLATE "C", 0) h ORDER BY n`,
      [ids, "salt"],
    );
    expect((rows as { bucket: string }[]).map(({ bucket }) => Number(bucket))).toEqual(
      ids.map((id) => bucketOf(id, "salt")),
    );
  });
});
