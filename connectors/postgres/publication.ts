import { BanyanError } from "../../src/model/errors.ts";
import type { Ask } from "./catalogue.ts";
import { newBaselineHint } from "./new-baseline.ts";

export interface Publication {
  readonly allTables: boolean;
  readonly insert: boolean;
  readonly update: boolean;
  readonly delete: boolean;
  readonly truncate: boolean;
  readonly viaRoot: boolean;
  readonly owner: string;
  /** What is sent: with `viaRoot` a partitioned table, without it its leaves. */
  readonly tables: readonly PublishedTable[];
  /** What its definition names one by one. */
  readonly named: readonly Pick<PublishedTable, "schema" | "relation">[];
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
                    WHERE t.pubname = p.pubname), '[]'::json) AS tables,
         coalesce((SELECT json_agg(json_build_object('schema', n.nspname, 'relation', c.relname))
                     FROM pg_publication_rel r
                     JOIN pg_class c ON c.oid = r.prrelid
                     JOIN pg_namespace n ON n.oid = c.relnamespace
                    WHERE r.prpubid = p.oid), '[]'::json) AS named
    FROM pg_publication p WHERE p.pubname = $1`;

export async function readPublication(ask: Ask, name: string): Promise<Publication | undefined> {
  const [publication] = await ask<Publication>("reading the publication", PUBLICATION, [name]);
  return publication;
}

/** The log has a place at which the publication did not exist: what was changed then is not told. */
export function publicationGap(name: string, slot: string, cause?: unknown): BanyanError {
  return new BanyanError(
    "PUBLICATION_MISSING",
    `publication ${name} did not exist at this place of the log, so the changes there cannot be read`,
    {
      ...(cause === undefined ? {} : { cause }),
      hint: `Make it, if it is still missing, with the SQL that \`banyan check\` prints. ${newBaselineHint(slot)}`,
      detail: { publication: name },
    },
  );
}

export function publicationMissing(name: string): BanyanError {
  return new BanyanError(
    "PUBLICATION_MISSING",
    `publication ${name} does not exist in the source`,
    {
      hint: "Run `banyan check`: it prints the CREATE PUBLICATION.",
      detail: { publication: name },
    },
  );
}
