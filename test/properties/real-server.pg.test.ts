import fc from "fast-check";
import pg from "pg";
import { expect, test } from "vitest";
import { openTestStore } from "../connectors/postgres/event-store-fixture.ts";
import { onSession, sourceDatabase } from "../connectors/postgres/source-support.ts";
import { openCapture } from "../support/pipeline-capture.ts";
import { budget } from "../support/random-budget.ts";
import { randomStreams } from "../support/random-mapping.ts";
import { foldedRows, placedRow, sortedRows, type PlacedRow } from "../support/random-migration.ts";
import { randomSchema, type RandomSchema } from "../support/random-schema.ts";
import { randomDdl, randomTransactions, type SqlTransaction } from "../support/random-sql.ts";

/*
 * The same law against a real server, through the real log and the real store: random SQL on random
 * tables, with foreign keys that cascade, savepoints rolled back, upserts, values kept out of line and
 * transactions cut into parts. The fold is the rows, read by another way; verify says so too.
 */

const RUN_MS_MAX = 60_000;

const world = randomSchema({ childrenMax: 2 }).chain((schema) =>
  fc.record({
    schema: fc.constant(schema),
    ddl: randomDdl(schema),
    streams: randomStreams(schema),
    before: randomTransactions(schema, 3),
    between: randomTransactions(schema, 6),
    after: randomTransactions(schema, 6),
    limits: fc.record({
      batchChangesMax: fc.constantFrom(1, 5, 1_000),
      transactionChangesMax: fc.constantFrom(1, 4, 1_000),
    }),
    partBytesMax: fc.constantFrom(1, 2_000, 4 * 1024 * 1024),
  }),
);

test(
  "after random SQL the fold of the events is the rows of the database",
  async () => {
    await fc.assert(
      fc.asyncProperty(
        world,
        async ({ schema, ddl, streams, limits, partBytesMax, ...history }) => {
          await using db = await sourceDatabase("random_sql");
          await onSession(db.url, ddl);
          const names = schema.tables.map(({ shape }) => `public."${shape.relation}"`);
          await db.query(
            `CREATE PUBLICATION "${db.publication.replaceAll('"', '""')}" FOR TABLE ${names.join(", ")}`,
          );
          await using opened = await openTestStore("random_sql_store");
          await using capture = await openCapture({
            name: "random",
            openSource: () => db.open({ partBytesMax }),
            store: opened.store,
            streams,
          });
          await write(db.url, history.before);
          await capture.catchUp(limits);
          await write(db.url, history.between);
          await capture.catchUp(limits);
          await write(db.url, history.after);
          await capture.catchUp(limits);

          expect(await opened.store.quarantine.list()).toEqual([]);
          const folded = foldedRows(schema, await capture.fold(schema.streamType));
          expect(folded).toEqual(await rowsOf(db.url, schema));
          expect(await capture.verify()).toMatchObject({ state: "equal", compared: folded.length });
          expect(capture.drifts).toEqual([]);
        },
      ),
      { ...budget(6), interruptAfterTimeLimit: RUN_MS_MAX * 20 },
    );
  },
  RUN_MS_MAX * 25,
);

/** Carries out transactions; what the server refuses is rolled back to the savepoint before it. */
async function write(url: string, transactions: readonly SqlTransaction[]): Promise<void> {
  const client = new pg.Client(url);
  await client.connect();
  try {
    for (const { statements, intent } of transactions) {
      await client.query("BEGIN");
      if (intent !== undefined)
        await client.query("SELECT pg_logical_emit_message(true, 'banyan', $1)", [intent]);
      for (const { sql, params, undone } of statements) {
        await client.query("SAVEPOINT s");
        const done = await client.query(sql, [...params]).then(
          () => true,
          (error: pg.DatabaseError) => refused(error),
        );
        if (!done || undone) await client.query("ROLLBACK TO SAVEPOINT s");
      }
      await client.query("COMMIT");
    }
  } finally {
    await client.end();
  }
}

/** Only what rows may break: anything else is a mistake of this test. */
function refused(error: pg.DatabaseError): false {
  if (error.code?.startsWith("23") === true) return false;
  throw error;
}

/** The rows as the server itself writes them. */
async function rowsOf(url: string, schema: RandomSchema): Promise<PlacedRow[]> {
  const types = { getTypeParser: () => (text: string) => text };
  const client = new pg.Client({ connectionString: url, types });
  await client.connect();
  try {
    await client.query("SET timezone = 'UTC'; SET extra_float_digits = 3; SET bytea_output = hex");
    const rows: PlacedRow[] = [];
    for (const table of schema.tables) {
      const found = await client.query<Record<string, string | null>>(
        `SELECT * FROM public."${table.shape.relation}"`,
      );
      rows.push(...found.rows.map((row) => placedRow(schema, table, { ...row })));
    }
    return sortedRows(rows);
  } finally {
    await client.end();
  }
}
