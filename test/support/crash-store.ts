import { randomBytes } from "node:crypto";
import pg from "pg";
import { expect, inject } from "vitest";
import { openPostgresEventStore } from "../../connectors/postgres/event-store.ts";
import type {} from "./postgres.ts";

/** An event store of one pipeline, whose commits are witnessed. */
export interface WitnessedStore extends AsyncDisposable {
  readonly url: string;
  readonly name: string;
}

/**
 * Notes each commit of the pipeline in its own transaction, beside what the pipeline says of itself:
 * whose commit it was, and how many events came with it.
 */
const WITNESS = `
  CREATE TABLE public.commits (
    n bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    xid xid8 NOT NULL, epoch bigint NOT NULL, checkpoint text COLLATE "C",
    changes bigint NOT NULL, told bigint NOT NULL, events bigint NOT NULL, found bigint NOT NULL);
  CREATE FUNCTION public.witness() RETURNS trigger LANGUAGE plpgsql AS $$
  BEGIN
    INSERT INTO public.commits (xid, epoch, checkpoint, changes, told, events, found)
    VALUES (pg_current_xact_id(), NEW.epoch, NEW.checkpoint, NEW.changes_in,
            NEW.changes_claimed + NEW.changes_fallback + NEW.changes_unchanged + NEW.changes_parked,
            NEW.events - OLD.events,
            (SELECT count(*) FROM banyan.events WHERE transaction_id = pg_current_xact_id()));
    RETURN NULL;
  END $$;
  CREATE TRIGGER witness AFTER UPDATE ON banyan.pipelines FOR EACH ROW EXECUTE FUNCTION public.witness();`;

/** An empty database for a store; the first run makes its tables. */
export async function createStore(label: string): Promise<WitnessedStore> {
  return await makeDatabase(label, "template0");
}

/** A copy of a store as it is now. Sessions that still have the original open are ended. */
export async function copyStore(original: WitnessedStore, label: string): Promise<WitnessedStore> {
  await askServer("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1", [
    original.name,
  ]);
  return await makeDatabase(label, original.name);
}

/** Begins to note commits; makes the store's tables when there are none yet. */
export async function witnessCommits({ url }: WitnessedStore): Promise<void> {
  const store = await openPostgresEventStore({ url });
  await store.migrate();
  await store.close();
  await ask(url, WITNESS);
}

/** All that a pipeline has written, as comparable lines, apart from clocks and transaction numbers. */
export interface StoreContents {
  /** In the order in which readers see them. */
  readonly events: readonly string[];
  /** Kept row images, by table and key. */
  readonly images: readonly string[];
  readonly parked: readonly string[];
  readonly ledger: Readonly<Record<string, string>>;
  readonly checkpoint: string | null;
  readonly epoch: number;
  /** Whose commit was the last one, and when. */
  readonly last: string;
}

/** How the events of a stream type fold, by mapping version: a mapping's other streams do not matter to them. */
const EVENTS = `
  WITH folds AS (SELECT m.version, s.key AS stream_type, md5(s.value::text) AS fold FROM banyan.mappings m, jsonb_each(m.definition->'streams') s)
  SELECT json_build_array(e.stream_id, e.version, e.type, e.data, e.time, e.origin, e.schema_version, f.fold, e.correlation_id,
           e.causation_id, e.actor, e.metadata, e.source_transaction, ids)::text AS line
    FROM banyan.events e CROSS JOIN LATERAL (SELECT CASE WHEN $1 THEN ARRAY[e.event_id::text, e.source_position] END AS ids) i
    LEFT JOIN folds f ON f.version = e.mapping_version AND f.stream_type = split_part(e.stream_id, '-', 1)
   ORDER BY CASE WHEN $1 THEN e.transaction_id END, CASE WHEN $1 THEN e.position END, e.stream_id, e.version`;
const IMAGES = `SELECT concat_ws(' ', table_name, row_key, image) AS line FROM banyan.row_images ORDER BY table_name, row_key`;
const PARKED = `
  SELECT concat_ws(' ', stream_id, position, table_name, operation, code, decision, state, change) AS line
    FROM banyan.quarantine ORDER BY id`;
const PIPELINE = `
  SELECT p.checkpoint, p.epoch::int, concat_ws(' ', phase, status->>'processId', updated_at) AS last, jsonb_build_object('in', changes_in, 'claimed', changes_claimed, 'fallback', changes_fallback,
           'unchanged', changes_unchanged, 'parked', changes_parked, 'events', events, 'baselined', baselined,
           'baseline rows', baseline_rows, 'transactions', transactions) AS ledger
    FROM banyan.pipelines p`;

/** @param inItsLog false leaves out what depends on the place in the log: ids, positions, order over streams */
export async function readStore({ url }: WitnessedStore, inItsLog = true): Promise<StoreContents> {
  const lines = async (sql: string, values: unknown[] = []): Promise<string[]> =>
    (await ask<{ line: string }>(url, sql, values)).map(({ line }) => line);
  const [pipeline] = await ask<Pick<StoreContents, "checkpoint" | "epoch" | "last" | "ledger">>(
    url,
    PIPELINE,
  );
  return {
    events: await lines(EVENTS, [inItsLog]),
    images: await lines(IMAGES),
    parked: await lines(PARKED),
    ...pipeline!,
  };
}

/** Fails with the first difference, not with thousands of lines. */
export function expectSame(actual: StoreContents, expected: StoreContents): void {
  for (const part of ["events", "images", "parked"] as const) {
    const length = Math.max(actual[part].length, expected[part].length);
    let at = 0;
    while (at < length && actual[part][at] === expected[part][at]) at += 1;
    expect({ part, at, line: actual[part][at], length: actual[part].length }).toEqual({
      part,
      at,
      line: expected[part][at],
      length: expected[part].length,
    });
  }
  expect(actual.ledger).toEqual(expected.ledger);
}

/**
 * What holds of every commit: the ledger balances, the events that it counts came in its own
 * transaction, neither checkpoint nor epoch goes back, and no event came without a commit.
 *
 * @returns how many commits moved the checkpoint
 */
export async function expectSoundCommits({ url }: WitnessedStore): Promise<number> {
  const unsound = await ask(
    url,
    `SELECT c.* FROM (SELECT *, lag(checkpoint) OVER w AS checkpoint_before, lag(epoch) OVER w AS epoch_before
                        FROM public.commits WINDOW w AS (ORDER BY n)) c
      WHERE changes <> told OR events <> found OR epoch < epoch_before
         OR checkpoint < checkpoint_before OR (checkpoint IS NULL AND checkpoint_before IS NOT NULL)`,
  );
  expect(unsound).toEqual([]);
  const stray = await ask(
    url,
    `SELECT stream_id, version, type FROM banyan.events e
      WHERE transaction_id >= (SELECT xid FROM public.commits ORDER BY n LIMIT 1)
        AND NOT EXISTS (SELECT FROM public.commits c WHERE c.xid = e.transaction_id) LIMIT 10`,
  );
  expect(stray).toEqual([]);
  const [{ moved }] = (await ask<{ moved: number }>(
    url,
    "SELECT count(DISTINCT checkpoint)::int AS moved FROM public.commits",
  )) as [{ moved: number }];
  return moved;
}

/** One statement on a session of its own, so that the database can be copied afterwards. */
export async function ask<Row extends object>(
  url: string,
  sql: string,
  values?: unknown[],
): Promise<Row[]> {
  const client = new pg.Client({ connectionString: url, connectionTimeoutMillis: 10_000 });
  client.on("error", () => undefined);
  await client.connect();
  try {
    return (await client.query<Row>(sql, values)).rows;
  } finally {
    await client.end();
  }
}

function askServer(sql: string, values?: unknown[]): Promise<object[]> {
  return ask(inject("pgUrl"), sql, values);
}

async function makeDatabase(label: string, template: string): Promise<WitnessedStore> {
  const word = label.toLowerCase().replaceAll(/[^a-z0-9]/g, "_");
  const name = `store_${word.slice(0, 30)}_${randomBytes(4).toString("hex")}`;
  await askServer(`CREATE DATABASE ${name} TEMPLATE ${template} ENCODING 'UTF8'`);
  const url = new URL(inject("pgUrl"));
  url.pathname = `/${name}`;
  return {
    url: url.href,
    name,
    async [Symbol.asyncDispose]() {
      await askServer(`DROP DATABASE IF EXISTS ${name} WITH (FORCE)`);
    },
  };
}
