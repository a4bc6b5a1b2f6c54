import pg from "pg";
import { expect, inject, test } from "vitest";
import { surveyChunks } from "../../../connectors/postgres/chunk-survey.ts";
import type { KeyedTable } from "../../../src/source/change-source.ts";

const NAME = `test_survey_icu_${process.pid}`;

async function connected<T>(database: string, use: (client: pg.Client) => Promise<T>): Promise<T> {
  const url = new URL(inject("pgUrl"));
  url.pathname = `/${database}`;
  const client = new pg.Client({ connectionString: url.href });
  await client.connect();
  try {
    return await use(client);
  } finally {
    await client.end();
  }
}

test("text in a database collated by ICU is named by that collation, not by the one of libc beside it", async () => {
  await connected("postgres", (admin) =>
    admin.query(
      `CREATE DATABASE ${NAME} TEMPLATE template0 ENCODING 'UTF8' LOCALE_PROVIDER icu ICU_LOCALE 'de-DE' LOCALE 'C'`,
    ),
  );
  try {
    await connected(NAME, async (client) => {
      await client.query("CREATE TABLE root (k text PRIMARY KEY)");
      const table = {
        schema: "public",
        relation: "root",
        name: "public.root",
        columns: [{ name: "k", type: "text" }],
      };
      const ask = async (_what: string, sql: string, values?: unknown[]) =>
        (await client.query(sql, values)).rows as unknown;
      const tables = [{ table, columns: [0] }] as never as readonly KeyedTable[];
      expect((await surveyChunks(ask as never, tables)).obstacle).toBe(
        "the key of public.root is text collated 'de-DE', whose order is not known here",
      );
    });
  } finally {
    await connected("postgres", (admin) => admin.query(`DROP DATABASE ${NAME} WITH (FORCE)`));
  }
});
