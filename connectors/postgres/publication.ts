import { BanyanError } from "../../src/model/errors.ts";
import type { Ask } from "./catalogue.ts";

export interface Publication {
  readonly allTables: boolean;
  readonly insert: boolean;
  readonly update: boolean;
  readonly delete: boolean;
  readonly truncate: boolean;
  readonly viaRoot: boolean;
  readonly owner: string;
  readonly tables: readonly PublishedTable[];
}

export interface PublishedTable {
  readonly schema: string;
  readonly relation: string;
  /** Whether a row filter leaves rows out (since version 15). */
  readonly filtered: boolean;
  /** Whether a column list is given (since version 15). */
  readonly columnList: boolean;
}

/** `pg_publication_rel` and `pg_publication_tables` gained columns over the versions, hence the JSON. */
const PUBLICATION = `
  SELECT p.puballtables AS "allTables", p.pubinsert AS insert, p.pubupdate AS update, p.pubdelete AS delete,
         p.pubtruncate AS truncate, coalesce((to_jsonb(p) ->> 'pubviaroot')::bool, false) AS "viaRoot",
         pg_get_userbyid(p.pubowner) AS owner,
         coalesce((SELECT json_agg(json_build_object(
                     'schema', t.schemaname, 'relation', t.tablename,
                     'filtered', coalesce(to_jsonb(r) ->> 'prqual', '') <> '',
                     'columnList', coalesce(to_jsonb(r) ->> 'prattrs', '') <> ''))
                     FROM pg_publication_tables t
                     JOIN pg_namespace n ON n.nspname = t.schemaname
                     JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = t.tablename
                     LEFT JOIN pg_publication_rel r ON r.prrelid = c.oid AND r.prpubid = p.oid
                    WHERE t.pubname = p.pubname), '[]'::json) AS tables
    FROM pg_publication p WHERE p.pubname = $1`;

export async function readPublication(ask: Ask, name: string): Promise<Publication | undefined> {
  const [publication] = await ask<Publication>("reading the publication", PUBLICATION, [name]);
  return publication;
}

/** @throws BanyanError `PUBLICATION_MISSING` */
export async function requirePublication(ask: Ask, name: string): Promise<void> {
  const found = await ask(
    "reading the publication",
    "SELECT FROM pg_publication WHERE pubname = $1",
    [name],
  );
  if (found.length > 0) return;
  throw new BanyanError("PUBLICATION_MISSING", `publication ${name} does not exist in the source`, {
    hint: "Run `banyan check`: it prints the CREATE PUBLICATION.",
    detail: { publication: name },
  });
}
