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

/** By the catalogues: to look the name up takes a right to the schema that may be what is missing. */
const APPLIED_OID = `
  (SELECT c.oid FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = 'banyan_reverse' AND c.relname = 'applied')`;

const FACTS = `
  SELECT ${APPLIED_OID} IS NOT NULL AS "isThere",
         quote_ident(current_user) AS role, has_database_privilege(current_database(), 'CREATE') AS "mayCreate",
         current_setting('transaction_read_only') = 'on' AS "isReadOnly"`;

/** Only of a table that is there: the name of another is no argument. */
const RIGHTS = `
  SELECT ARRAY(SELECT r FROM unnest('{SELECT,INSERT,UPDATE,DELETE}'::text[]) r
                WHERE NOT (has_schema_privilege('banyan_reverse', 'USAGE') AND has_table_privilege(${APPLIED_OID}, r))) AS missing`;

const SEQUENCE_RIGHTS = `
  SELECT name, ARRAY(SELECT r FROM unnest('{USAGE,SELECT,UPDATE}'::text[]) r WHERE NOT has_sequence_privilege(name, r)) AS missing
    FROM unnest($1::text[]) name`;

interface Facts {
  readonly isThere: boolean;
  readonly role: string;
  readonly mayCreate: boolean;
  readonly isReadOnly: boolean;
}

const DOING = "preparing the way back";

/**
 * Makes the table of applied versions when it is not there and the role may, and sees to it that the role
 * may write.
 *
 * @throws BanyanError `REVERSE_NOT_READY` with the SQL that is to be run
 */
export async function prepareLegacy(ask: Ask, tables: Iterable<LegacyTable>): Promise<void> {
  await requireRights(ask, tables, ({ mayCreate }) => create(ask, mayCreate));
}

/** Sees whether {@link prepareLegacy} would do, and makes nothing. @throws BanyanError likewise */
export async function examineLegacy(ask: Ask, tables: Iterable<LegacyTable>): Promise<void> {
  await requireRights(ask, tables, ({ mayCreate }) => Promise.resolve(mayCreate));
}

/** @param make asked where the table of applied versions is not there: whether it is, or could be, now */
async function requireRights(
  ask: Ask,
  tables: Iterable<LegacyTable>,
  make: (facts: Facts) => Promise<boolean>,
): Promise<void> {
  const [found] = await ask<Facts>(DOING, FACTS, []);
  const facts = found!;
  const { isThere, role } = facts;
  if (facts.isReadOnly) {
    throw new BanyanError("REVERSE_NOT_READY", "the legacy database takes no writes here", {
      hint: "Name the primary in `reverse.url`, and a role without default_transaction_read_only.",
    });
  }
  const sql: string[] = [];
  if (!isThere && !(await make(facts))) {
    sql.push(
      ...CREATE,
      `GRANT USAGE ON SCHEMA banyan_reverse TO ${role};`,
      `GRANT SELECT, INSERT, UPDATE, DELETE ON banyan_reverse.applied TO ${role};`,
    );
  } else if (isThere) {
    // What this role has made is its own.
    const [rights] = await ask<{ missing: readonly string[] }>(DOING, RIGHTS, []);
    if (rights!.missing.length > 0) {
      sql.push(
        `GRANT USAGE ON SCHEMA banyan_reverse TO ${role};`,
        `GRANT ${rights!.missing.join(", ")} ON banyan_reverse.applied TO ${role};`,
      );
    }
  }
  sql.push(...(await grantsOf(ask, [...tables], role)));
  if (sql.length > 0) throw notReady(sql, role);
}

/** What the role lacks to write to the tables and to advance their sequences. */
async function grantsOf(ask: Ask, tables: readonly LegacyTable[], role: string): Promise<string[]> {
  const ofTables = tables.flatMap(({ missingRights }) =>
    missingRights.map((grant) => grant.replace("%role", () => role)),
  );
  const sequences = tables.flatMap(({ columns }) =>
    [...columns.values()].flatMap(({ sequence }) => sequence ?? []),
  );
  const lacking = await ask<{ name: string; missing: readonly string[] }>(DOING, SEQUENCE_RIGHTS, [
    [...new Set(sequences)],
  ]);
  const ofSequences = lacking
    .filter(({ missing }) => missing.length > 0)
    .map(({ name, missing }) => `GRANT ${missing.join(", ")} ON SEQUENCE ${name} TO ${role};`);
  return [...ofTables, ...ofSequences];
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
