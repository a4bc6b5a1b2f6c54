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
      const { rowCount } = await query(
        `UPDATE banyan.rollouts SET held_from = NULL, held_to = NULL, held_until = NULL, epoch = epoch + 1
          WHERE pipeline = $3 AND stream_type = $1 AND epoch = $2 AND held_until < clock_timestamp()`,
        [type, epoch, pipeline],
      );
      return rowCount === 1;
    },
    putProxy: async (type: string, instance: string, epoch: number, ageMs: number) => {
      await query(
        `INSERT INTO banyan.proxies (pipeline, instance, place, stream_type, epoch, seen_at)
         VALUES ($5, $1, 'test', $2, $3, clock_timestamp() - $4 * interval '1 ms')`,
        [instance, type, epoch, ageMs, pipeline],
      );
    },
    async [Symbol.asyncDispose]() {
      await store.close();
    },
  };
}

rolloutStoreContract("Postgres", open);
