import type { Ask } from "./catalogue.ts";
import type { LegacyTable } from "./legacy-tables.ts";
import { sqlstateOf } from "./sqlstate.ts";
import { BanyanError } from "../../src/model/errors.ts";

/** Rolls back and forward with the rows, so that it is right under every snapshot of them. */
const CREATE = [
  "CREATE SCHEMA IF NOT EXISTS banyan_reverse;",
  `CREATE TABLE IF NOT EXISTS banyan_reverse.applied (
  pipeline  text COLLATE "C" NOT NULL,
  stream_id text COLLATE "C" NOT NULL,
  version   int  NOT NULL,
  PRIMARY KEY (pipeline, stream_id)
) WITH (fillfactor = 70);`,
];

const FACTS = `
  SELECT to_regclass('banyan_reverse.applied') IS NOT NULL AS "isThere",
         quote_ident(current_user) AS role, has_database_privilege(current_database(), 'CREATE') AS "mayCreate"`;

/** Only of a table that is there: the name of another is no argument. */
const RIGHTS = `
  SELECT ARRAY(SELECT r FROM unnest('{SELECT,INSERT,UPDATE,DELETE}'::text[]) r
                WHERE NOT (has_schema_privilege('banyan_reverse', 'USAGE') AND has_table_privilege('banyan_reverse.applied', r))) AS missing`;

const SEQUENCE_RIGHTS = `
  SELECT name, ARRAY(SELECT r FROM unnest('{USAGE,SELECT,UPDATE}'::text[]) r WHERE NOT has_sequence_privilege(name, r)) AS missing
    FROM unnest($1::text[]) name`;

/**
 * Makes the table of applied versions when it is not there and the role may, and sees to it that the role
 * may write.
 *
 * @throws BanyanError `REVERSE_NOT_READY` with the SQL that is to be run
 */
export async function prepareLegacy(ask: Ask, tables: Iterable<LegacyTable>): Promise<void> {
  const doing = "preparing the way back";
  const [facts] = await ask<{ isThere: boolean; role: string; mayCreate: boolean }>(
    doing,
    FACTS,
    [],
  );
  const { isThere, role } = facts!;
  const sql: string[] = [];
  if (!isThere && !(await create(ask, facts!.mayCreate))) {
    sql.push(
      ...CREATE,
      `GRANT USAGE ON SCHEMA banyan_reverse TO ${role};`,
      `GRANT SELECT, INSERT, UPDATE, DELETE ON banyan_reverse.applied TO ${role};`,
    );
  } else {
    const [rights] = await ask<{ missing: readonly string[] }>(doing, RIGHTS, []);
    if (rights!.missing.length > 0) {
      sql.push(
        `GRANT USAGE ON SCHEMA banyan_reverse TO ${role};`,
        `GRANT ${rights!.missing.join(", ")} ON banyan_reverse.applied TO ${role};`,
      );
    }
  }
  const all = [...tables];
  for (const { missingRights } of all)
    sql.push(...missingRights.map((grant) => grant.replace("%role", () => role)));
  const sequences = all.flatMap(({ columns }) =>
    [...columns.values()].flatMap(({ sequence }) => sequence ?? []),
  );
  const lacking = await ask<{ name: string; missing: readonly string[] }>(doing, SEQUENCE_RIGHTS, [
    [...new Set(sequences)],
  ]);
  for (const { name, missing } of lacking) {
    if (missing.length > 0) sql.push(`GRANT ${missing.join(", ")} ON SEQUENCE ${name} TO ${role};`);
  }
  if (sql.length > 0) throw notReady(sql, role);
}

async function create(ask: Ask, mayCreate: boolean): Promise<boolean> {
  if (!mayCreate) return false;
  try {
    for (const statement of CREATE) await ask("making schema banyan_reverse", statement, []);
    return true;
  } catch (error) {
    // The schema may be there and be somebody else's.
    if (sqlstateOf(error) === "42501") return false;
    throw error;
  }
}

function notReady(sql: readonly string[], role: string): BanyanError {
  return new BanyanError(
    "REVERSE_NOT_READY",
    `the legacy database is not ready to be written to by ${role}; its owner must run:\n${sql.join("\n")}`,
    { hint: "Run this SQL in the legacy database, or name another role in `reverse`." },
  );
}
