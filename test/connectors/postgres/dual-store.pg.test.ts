import { afterAll, beforeAll } from "vitest";
import { openTestStore } from "./event-store-fixture.ts";
import { dualStoreContract } from "../../contract/dual-store.contract.ts";
import { noteWrites, propose } from "../../support/dual-rows.ts";

/** One database for all of them, emptied in between. */
let shared: Awaited<ReturnType<typeof openTestStore>>;
beforeAll(async () => {
  shared = await openTestStore("dual_contract");
});
afterAll(async () => {
  await shared[Symbol.asyncDispose]();
});

dualStoreContract("postgres", async () => ({
  store: shared.store,
  note: (pipeline, writes) => noteWrites(shared.database, pipeline, writes),
  propose: (pipeline, correlationId, proposal) =>
    propose(shared.database, pipeline, [{ correlationId, ...proposal }]),
  async [Symbol.asyncDispose]() {
    await shared.database.query(`
      ALTER TABLE banyan.events DISABLE TRIGGER ALL;
      TRUNCATE banyan.events, banyan.pipelines, banyan.shadow_writes, banyan.proposals, banyan.quarantine CASCADE;
      TRUNCATE banyan.mappings RESTART IDENTITY`);
  },
}));
