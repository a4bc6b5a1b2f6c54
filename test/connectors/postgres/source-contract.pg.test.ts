import pg from "pg";
import { sourceDatabase } from "./source-support.ts";
import { changeSourceContract, type ContractWrite } from "../../contract/change-source.contract.ts";

const WRITES: Readonly<Record<ContractWrite["kind"], string>> = {
  insert: "INSERT INTO item VALUES ($1, $2)",
  update: "UPDATE item SET name = $2 WHERE id = $1",
  delete: "DELETE FROM item WHERE id = $1",
};

function paramsOf(write: ContractWrite): unknown[] {
  return write.kind === "delete" ? [write.id] : [write.id, write.name];
}

for (const identity of ["DEFAULT", "FULL"]) {
  changeSourceContract(`Postgres, replica identity ${identity.toLowerCase()}`, async () => {
    const db = await sourceDatabase(
      "contract",
      `CREATE TABLE item (id int PRIMARY KEY, name text); ALTER TABLE item REPLICA IDENTITY ${identity}`,
      "item",
    );
    const begin = async (): Promise<pg.Client> => {
      const client = new pg.Client(db.url);
      client.on("error", () => undefined);
      await client.connect();
      await client.query("BEGIN");
      return client;
    };
    return {
      plan: { tables: [{ name: "public.item" }] },
      open: async () => db.open(),
      async commit(writes) {
        const client = await begin();
        for (const write of writes) await client.query(WRITES[write.kind], paramsOf(write));
        await client.query("COMMIT");
        await client.end();
      },
      async begin(write) {
        const client = await begin();
        await client.query(WRITES[write.kind], paramsOf(write));
        return async () => {
          await client.query("COMMIT");
          await client.end();
        };
      },
      elsewhere: () =>
        db.query("SELECT pg_logical_emit_message(true, 'elsewhere', '')").then(() => {}),
      [Symbol.asyncDispose]: () => db[Symbol.asyncDispose](),
    };
  });
}
