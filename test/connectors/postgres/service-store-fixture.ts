import { openTestStore } from "./event-store-fixture.ts";
import type { OpenedServiceStore } from "../../contract/service-store.contract.ts";
import type { Proposal } from "../../../src/store/service-store.ts";
import type { TestDatabase } from "../../support/databases.ts";

const MOVE = `
  WITH locked AS MATERIALIZED (SELECT banyan.lock_authority('shop', 'order'))
  INSERT INTO banyan.rollouts AS r (pipeline, stream_type, stage, share, salt)
  SELECT 'shop', 'order', $1, $2, 's' FROM locked
  ON CONFLICT (pipeline, stream_type) DO UPDATE SET stage = $1, share = $2, epoch = r.epoch + 1`;
const PROPOSALS = `
  SELECT pipeline, correlation_id AS "correlationId", stream_id AS stream, decided_on AS "decidedOn", events, nullif(inputs, '{}') AS inputs
    FROM banyan.proposals ORDER BY id`;

type Stored = Omit<Proposal, "inputs"> & { readonly inputs: Record<string, number> | null };

export async function openServiceStore(
  label: string,
): Promise<OpenedServiceStore & { readonly database: TestDatabase }> {
  const opened = await openTestStore(label);
  const { database, store } = opened;
  return {
    store,
    database,
    async moveTo(stage, share = 0) {
      await database.query(MOVE, [stage, share]);
    },
    async reserve(name, ids) {
      await database.query(
        `INSERT INTO banyan.reserved_ids (pipeline, stream_type, id, bucket)
         SELECT 'shop', $1, * FROM unnest($2::bigint[], $3::int[])`,
        [name, ids.map(({ id }) => id), ids.map(({ bucket }) => bucket)],
      );
    },
    async proposals() {
      const rows = (await database.query(PROPOSALS)).rows as Stored[];
      return rows.map(({ inputs, ...proposal }) =>
        inputs === null ? proposal : { ...proposal, inputs },
      );
    },
    [Symbol.asyncDispose]: () => opened[Symbol.asyncDispose](),
  };
}
