import { expect, test } from "vitest";
import { stream, table } from "../../src/mapping/rules.ts";
import { hashesOf } from "../../src/verify/comparison.ts";
import {
  advanceFolds,
  discoverTables,
  openComparison,
  waitForFence,
} from "../../src/verify/prepare.ts";
import { openTestStore } from "../connectors/postgres/event-store-fixture.ts";
import { sourceDatabase } from "../connectors/postgres/source-support.ts";
import { startPipeline } from "../support/live-pipeline.ts";
import { bench, STREAMS } from "../support/verify-bench.ts";

const WAIT_MS_MAX = 30_000;

test("aggregates that are looked at are compared cell by cell: a text that moves to the next column is found", async () => {
  const doc = table<{ id: string; head: string; body: string }>("doc");
  const streams = { doc: stream(doc, { otherwise: "DocChanged" }) };
  const ddl = `
    CREATE TABLE doc (id int8 PRIMARY KEY, head text NOT NULL, body text NOT NULL);
    ALTER TABLE doc REPLICA IDENTITY FULL;
    INSERT INTO doc VALUES (1, 'a', E'b\\x1fc'), (2, 'a', 'b')`;
  await using db = await sourceDatabase("cells", ddl, "doc");
  await using opened = await openTestStore("cells_store");
  const { store } = opened;
  await using pipeline = await startPipeline({
    name: "docs",
    openSource: () => db.open(),
    store,
    streams,
  });
  await pipeline.reach();
  const publication = `"${db.publication.replaceAll('"', '""')}"`;
  // The hash of a row puts just this character between columns.
  await db.query(`
    BEGIN;
    ALTER PUBLICATION ${publication} DROP TABLE doc;
    UPDATE doc SET head = E'a\\x1fb', body = 'c' WHERE id = 1;
    ALTER PUBLICATION ${publication} ADD TABLE doc;
    COMMIT`);
  const signal = AbortSignal.timeout(WAIT_MS_MAX);
  const limits = { waitMsMax: WAIT_MS_MAX, samplesMax: 5, showValues: true };
  const options = { pipeline: "docs", source: db.open(), store, streams, ...limits };
  const known = await discoverTables(options);
  await advanceFolds(options, known, signal);
  const { snapshot, comparison, mapping } = await openComparison(options, known.tables, signal);
  try {
    await waitForFence(options, snapshot.fence, signal);
    const hashes = hashesOf(mapping, mapping.stream("doc")!, snapshot.tables);
    const looked = await comparison.compareStreams(hashes, ["doc-1", "doc-2"], new Set(), signal);
    expect(looked).toEqual(["doc-1", "doc-2"]);
    expect(comparison.samples).toMatchObject([
      {
        verdict: "different",
        stream: "doc-1",
        columns: [
          { column: "head", row: "a\u001Fb", fold: "a" },
          { column: "body", row: "c", fold: "b\u001Fc" },
        ],
      },
    ]);
  } finally {
    await snapshot.close();
  }
});

test("a look asks each table once for the rows of all aggregates, however many they are", async () => {
  const accounts = 1_200;
  await using b = await bench(`
    INSERT INTO account SELECT i::text, 'owner ' || i, i FROM generate_series(1, ${accounts}) i;
    INSERT INTO entry SELECT i, (1 + i % ${accounts})::text, i FROM generate_series(1, ${3 * accounts}) i`);
  const signal = AbortSignal.timeout(WAIT_MS_MAX);
  const source = b.db.open();
  const limits = { waitMsMax: WAIT_MS_MAX, samplesMax: 5, showValues: true };
  const options = { pipeline: "bank", source, store: b.store, streams: STREAMS, ...limits };
  const known = await discoverTables(options);
  await advanceFolds(options, known, signal);
  const asked: string[] = [];
  const openParity = source.openParity.bind(source);
  source.openParity = async (...args) => {
    const snapshot = await openParity(...args);
    const readAggregates: typeof snapshot.readAggregates = (table, ...more) => {
      asked.push(table.name);
      return snapshot.readAggregates(table, ...more);
    };
    return { ...snapshot, readAggregates };
  };
  const { snapshot, comparison, mapping } = await openComparison(options, known.tables, signal);
  try {
    await waitForFence(options, snapshot.fence, signal);
    const hashes = hashesOf(mapping, mapping.stream("account")!, snapshot.tables);
    const streams = Array.from({ length: accounts }, (_, i) => `account-${i + 1}`);
    const looked = await comparison.compareStreams(hashes, streams, new Set(), signal);
    expect(looked).toHaveLength(accounts);
    expect(comparison.differences).toEqual([]);
    expect(asked).toEqual(["public.account", "public.entry"]);
  } finally {
    await snapshot.close();
  }
});
