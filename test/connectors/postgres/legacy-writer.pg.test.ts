import { postgresLegacyWriter } from "../../../connectors/postgres/legacy-writer.ts";
import { legacyWriterContract } from "../../contract/legacy-writer.contract.ts";
import { createDatabase } from "../../support/databases.ts";

legacyWriterContract("Postgres", async () => {
  const database = await createDatabase("legacy_writer");
  await database.query(`
    CREATE TABLE parent (id int PRIMARY KEY, name text);
    CREATE TABLE part (id int PRIMARY KEY, parent_id int NOT NULL REFERENCES parent, size int)`);
  const writer = postgresLegacyWriter({ url: database.url, pipeline: "shop" });
  return {
    writer,
    rows: async (table) => {
      const columns = table === "public.parent" ? "name" : "parent_id::text, size::text";
      const { rows } = await database.query(
        `SELECT id::text, ${columns} FROM ${table} ORDER BY ${table}.id`,
      );
      return rows as Record<string, string | null>[];
    },
    put: async (table, row) => {
      const names = Object.keys(row);
      const sets = names.map((name) => `${name} = excluded.${name}`).join(", ");
      const places = names.map((_, i) => `$${i + 1}`).join(", ");
      await database.query(
        `INSERT INTO ${table} (${names.join(", ")}) VALUES (${places}) ON CONFLICT (id) DO UPDATE SET ${sets}`,
        Object.values(row),
      );
    },
    async [Symbol.asyncDispose]() {
      await writer.close();
      await database[Symbol.asyncDispose]();
    },
  };
});
