import { randomUUID } from "node:crypto";
import { afterAll, beforeAll } from "vitest";
import { openTestStore } from "./event-store-fixture.ts";
import {
  openRolloutPool,
  PostgresRolloutStore,
} from "../../../connectors/postgres/rollout-store.ts";
import { rolloutStoreContract } from "../../contract/rollout-store.contract.ts";

let opened: Awaited<ReturnType<typeof openTestStore>>;
beforeAll(async () => {
  opened = await openTestStore("rollout_store");
});
afterAll(async () => {
  await opened[Symbol.asyncDispose]();
});

/** A migration of its own in one store. */
async function open() {
  const pipeline = randomUUID();
  const store = new PostgresRolloutStore(await openRolloutPool(opened.database.url), pipeline);
  const query = (sql: string, values: readonly unknown[]) =>
    opened.database.query(sql, [...values]);
  return {
    store,
    endHold: async (type: string, epoch: number) => {
      const { rows } = await query("SELECT banyan.end_hold($3, $1, $2, 'a proxy') AS raised", [
        type,
        epoch,
        pipeline,
      ]);
      return (rows[0] as { raised: string | null }).raised !== null;
    },
    putProxy: async (type: string, instance: string, epoch: number, ageMs: number) => {
      await query(
        `INSERT INTO banyan.proxies (pipeline, instance, place, stream_type, epoch, knows, seen_at)
         VALUES ($5, $1, 'test', $2, $3, $3, clock_timestamp() - $4 * interval '1 ms')`,
        [instance, type, epoch, ageMs, pipeline],
      );
    },
    async [Symbol.asyncDispose]() {
      await store.close();
    },
  };
}

rolloutStoreContract("Postgres", open);
