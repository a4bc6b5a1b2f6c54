import type { Finding } from "../../src/source/change-source.ts";
import type { CatalogueEntry } from "./catalogue.ts";
import { quoteIdentifier, quoteTable } from "./identifiers.ts";

/** What the minimal role is called in the SQL that is shown. */
const ROLE = "banyan";

/**
 * The SQL of a role that may do what the capture does and nothing else: read the log, read the tables.
 * The publication stays with whoever owns the tables.
 */
export function minimalRole(database: string, entries: readonly CatalogueEntry[]): string {
  const schemas = [...new Set(entries.map(({ table }) => quoteIdentifier(table.schema)))];
  const tables = entries.map(({ table }) => quoteTable(table));
  // A read that row-level security would narrow is refused instead.
  const bypass = entries.some(({ rowSecurity }) => rowSecurity) ? " BYPASSRLS" : "";
  return [
    `CREATE ROLE ${ROLE} LOGIN REPLICATION${bypass} PASSWORD '…';`,
    `GRANT CONNECT ON DATABASE ${quoteIdentifier(database)} TO ${ROLE};`,
    `GRANT USAGE ON SCHEMA ${schemas.join(", ")} TO ${ROLE};`,
    `GRANT SELECT ON ${tables.join(", ")} TO ${ROLE};`,
  ].join(" ");
}

/** Says how little is needed to somebody who connects with everything. */
export function* checkSuperuser(
  role: string,
  isSuperuser: boolean,
  database: string,
  entries: readonly CatalogueEntry[],
): Generator<Finding> {
  if (!isSuperuser || entries.length === 0) return;
  yield {
    severity: "info",
    code: "role-superuser",
    message: `role ${role} is a superuser; one of its own needs no more than: ${minimalRole(database, entries)}`,
  };
}
