import { openPostgresEventStore } from "../../../connectors/postgres/event-store.ts";
import type { OpenedStore } from "../../contract/event-batches.ts";
import { createDatabase, type TestDatabase } from "../../support/databases.ts";

/** A migrated store in a database of its own. */
export async function openTestStore(
  label: string,
): Promise<OpenedStore & { readonly database: TestDatabase }> {
  const database = await createDatabase(label);
  const store = await openPostgresEventStore({ url: database.url });
  await store.migrate();
  return {
    store,
    database,
    async [Symbol.asyncDispose]() {
      await store.close();
      await database[Symbol.asyncDispose]();
    },
  };
}
