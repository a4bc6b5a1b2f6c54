import { readFileSync } from "node:fs";
import { join } from "node:path";
import { createDatabase, type TestDatabase } from "./databases.ts";

/** Databases as they are found, none of them made for what is tested: test/assess/databases. */
export const FOUND_DATABASES = ["rental", "erp", "webshop", "weather"] as const;

export type FoundDatabase = (typeof FOUND_DATABASES)[number];

/** @param analyse false for one whose server knows nothing of its values */
export async function loadDatabase(name: FoundDatabase, analyse = true): Promise<TestDatabase> {
  const file = join(import.meta.dirname, "../assess/databases", `${name}.sql`);
  const sql = readFileSync(file, "utf8").replace(/^ANALYZE;$/m, "");
  const database = await createDatabase(`assess ${name}`);
  try {
    await database.query(sql);
    if (analyse) await database.query("ANALYZE");
    return database;
  } catch (error) {
    await database[Symbol.asyncDispose]();
    throw error;
  }
}
