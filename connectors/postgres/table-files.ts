import type { Ask } from "./catalogue.ts";
import type { SourceTable } from "../../src/model/table.ts";

/** The file of each table and each of its partitions, by its OID: another one after a rewrite. */
export interface TableFiles {
  readonly table: string;
  readonly oid: string;
  readonly file: string;
}

const FILES = `
  SELECT asked.name AS "table", l.oid::text AS oid, l.relfilenode::text AS file
    FROM unnest($1::text[], $2::text[], $3::text[]) asked (name, schema, relation)
    JOIN pg_namespace n ON n.nspname = asked.schema
    JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = asked.relation
   CROSS JOIN LATERAL (SELECT relid FROM pg_partition_tree(c.oid) WHERE isleaf AND c.relkind = 'p'
                       UNION ALL SELECT c.oid WHERE c.relkind <> 'p') leaf
    JOIN pg_class l ON l.oid = leaf.relid`;

const FILES_NOW = `
  SELECT oid::text AS oid, relfilenode::text AS file FROM pg_class WHERE oid = ANY ($1::oid[])`;

/** @param ask inside the snapshot, so that it is the files that the snapshot knows */
export async function readTableFiles(
  ask: Ask,
  tables: readonly SourceTable[],
): Promise<readonly TableFiles[]> {
  return await ask<TableFiles>("reading the catalogue", FILES, [
    tables.map(({ name }) => name),
    tables.map(({ schema }) => schema),
    tables.map(({ relation }) => relation),
  ]);
}

/**
 * TRUNCATE, and ALTER TABLE where it writes the rows anew, show no older snapshot the rows that were
 * there: the table looks empty to it. So does one that was dropped.
 *
 * @see https://www.postgresql.org/docs/current/mvcc-caveats.html
 * @param ask outside of the snapshot
 * @returns names of the tables of which a file is another one by now
 */
export async function rewrittenTables(
  ask: Ask,
  files: readonly TableFiles[],
): Promise<readonly string[]> {
  const oids = files.map(({ oid }) => oid);
  const now = await ask<Omit<TableFiles, "table">>("reading the catalogue", FILES_NOW, [oids]);
  const current = new Map(now.map(({ oid, file }) => [oid, file]));
  const gone = files.filter(({ oid, file }) => current.get(oid) !== file);
  return [...new Set(gone.map(({ table }) => table))];
}
