import pg from "pg";
import { expect, test } from "vitest";
import { openTestStore } from "../connectors/postgres/event-store-fixture.ts";
import { sourceDatabase } from "../connectors/postgres/source-support.ts";
import { PACE } from "../support/chunk-bench.ts";
import { startPipeline } from "../support/live-pipeline.ts";
import { seededRandom } from "../support/seeded-random.ts";
import { brokenStreams, type StreamShape } from "../support/unbroken-streams.ts";
import { child, stream, table, type StreamRef } from "../../src/mapping/rules.ts";
import type { StreamBaseline } from "../../src/pipeline/baseline-plan.ts";

const ROWS = 1_000;

interface Kind {
  readonly root: string;
  readonly child: string;
  /** Columns of the root's key, and of the child's that refer to it, with the type of each. */
  readonly key: readonly (readonly [name: string, type: string, childType: string])[];
  /** A key by its number, 1 to 2,000. */
  readonly value: (i: string) => string;
  readonly partitions?: readonly string[];
}

const KINDS: Readonly<Record<string, Kind>> = {
  day: {
    root: "day",
    child: "sample",
    key: [
      ["meter", "int", "bigint"],
      ["day", "date", "date"],
    ],
    // From before Christ on, and beyond the year 9999.
    value: (i) =>
      `${i} % 3, CASE WHEN ${i} % 300 = 7 THEN ('infinity'::date) ELSE '0001-06-01'::date + (${i} - 300) * 11 + CASE WHEN ${i} > 1500 THEN 3640000 ELSE 0 END END`,
    partitions: [
      "CREATE TABLE day_bc PARTITION OF day FOR VALUES FROM (MINVALUE) TO ('0001-01-01')",
      "CREATE TABLE day_ad PARTITION OF day FOR VALUES FROM ('0001-01-01') TO ('10000-01-01')",
      "CREATE TABLE day_rest PARTITION OF day DEFAULT",
    ],
  },
  beat: {
    root: "beat",
    child: "echo",
    key: [["at", "timestamptz", "timestamptz(6)"]],
    value: (i) => `'9999-12-31 23:59:30+00'::timestamptz + ${i} * '31 ms'::interval`,
  },
  visit: {
    root: "visit",
    child: "page",
    key: [
      ["country", `char(3) COLLATE "C"`, `char(3) COLLATE "C"`],
      ["at", "timestamp(2)", "timestamp"],
    ],
    value: (i) =>
      `(ARRAY['a', E'a\\x01', 'ä', 'B'])[1 + ${i} % 4], '0001-01-01 00:00:30'::timestamp - ${i} * '0.25 s'::interval`,
  },
};

const STREAMS: Readonly<Record<string, StreamRef>> = Object.fromEntries(
  Object.entries(KINDS).map(([type, { root, child: name, key }]) => [
    type,
    stream(table(root), {
      children: {
        parts: child(table(name), Object.fromEntries(key.map(([column]) => [column, column]))),
      },
      otherwise: "Amended",
      truncate: "events",
    }),
  ]),
);

const SHAPES: Readonly<Record<string, StreamShape>> = Object.fromEntries(
  Object.entries(KINDS).map(([type, { key, root }]) => [
    type,
    { root, keys: { [root]: key.map(([column]) => column), parts: ["id"] } },
  ]),
);

function ddlOf({ root, child: name, key, value, partitions }: Kind): string {
  const columns = key.map(([column]) => column).join(", ");
  const typed = key.map(([column, type]) => `${column} ${type}`).join(", ");
  const childTyped = key.map(([column, , type]) => `${column} ${type}`).join(", ");
  const by = partitions === undefined ? "" : ` PARTITION BY RANGE (${key.at(-1)![0]})`;
  return `
    CREATE TABLE ${root} (${typed}, n int NOT NULL DEFAULT 0, PRIMARY KEY (${columns}))${by};
    ${(partitions ?? []).join(";")};
    CREATE TABLE ${name} (id int PRIMARY KEY, ${childTyped}, n int NOT NULL DEFAULT 0);
    CREATE INDEX ON ${name} (${columns});
    INSERT INTO ${root} SELECT ${value("i")} FROM generate_series(1, ${ROWS}) i ON CONFLICT DO NOTHING;
    INSERT INTO ${name} SELECT i, ${value(`(1 + i % ${ROWS + 50})`)} FROM generate_series(1, ${ROWS}) i;
    UPDATE ${name} SET ${key.at(-1)![0]} = NULL WHERE id % 40 = 0;`;
}

/** A statement of a busy application. */
function randomWork(random: () => number): string {
  const id = (max = ROWS): number => 1 + Math.floor(random() * max);
  const kinds = Object.values(KINDS);
  const { root, child: name, key, value } = kinds[Math.floor(random() * kinds.length)]!;
  const columns = `(${key.map(([column]) => column).join(", ")})`;
  const some = (max = ROWS): string => `(SELECT ${value(String(id(max)))})`;
  const picked = `${columns} IN ${some()}`;
  const all: readonly (() => string)[] = [
    () => `UPDATE ${root} SET n = n + 1 WHERE ${picked}`,
    () => `DELETE FROM ${root} WHERE ${picked}`,
    () => `INSERT INTO ${root} SELECT ${value(String(id(2 * ROWS)))} ON CONFLICT DO NOTHING`,
    () => `UPDATE ${root} SET ${columns} = ${some(2 * ROWS)}, n = n + 1 WHERE ${picked}`,
    () => `UPDATE ${name} SET n = n + 1 WHERE id = ${id()}`,
    () => `UPDATE ${name} SET ${columns} = ${some()}, n = n + 1 WHERE id = ${id()}`,
    () => `DELETE FROM ${name} WHERE id = ${id()}`,
    () => `INSERT INTO ${name} SELECT ${id()}, ${value(String(id()))} ON CONFLICT DO NOTHING`,
  ];
  return all[Math.floor(random() * all.length)]!();
}

/**
 * What one may fail with because of another: it wants the same rows in another order, the same key, or a row
 * that the other has just moved to another partition.
 */
const PASSING = ["40P01", "23505", "40001"];

/** Until it is stopped. */
async function work(url: string, random: () => number, isGoing: () => boolean): Promise<number> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  let done = 0;
  try {
    for (let n = 0; isGoing() && n < 1_000_000; n++) {
      try {
        await client.query(`BEGIN; ${randomWork(random)}; ${randomWork(random)}; COMMIT`);
        done += 1;
      } catch (error) {
        if (!PASSING.includes((error as { code?: string }).code ?? "")) throw error;
        await client.query("ROLLBACK");
      }
    }
  } finally {
    await client.end();
  }
  return done;
}

test.each(["full", "default"] as const)(
  "tables keyed and partitioned by time are read in chunks beside live traffic, with replica identity %s",
  async (identity) => {
    const seed = Number(process.env["BANYAN_TEST_SEED"] ?? Date.now() % 1_000_000);
    process.stderr.write(`seed ${seed}\n`);
    const tables = Object.values(KINDS).flatMap(({ root, child: name }) => [root, name]);
    await using db = await sourceDatabase(
      "chunk_times",
      `ALTER DATABASE "%" SET timezone = 'Pacific/Chatham'; ALTER DATABASE "%" SET datestyle = 'German';
       ${Object.values(KINDS).map(ddlOf).join("")} ANALYZE;`,
      tables.join(", "),
    );
    await db.query(
      `ALTER PUBLICATION "${db.publication.replaceAll('"', '""')}" SET (publish_via_partition_root = true)`,
    );
    if (identity === "full") {
      for (const name of [...tables, "day_bc", "day_ad", "day_rest"])
        await db.query(`ALTER TABLE ${name} REPLICA IDENTITY FULL`);
    }
    await using opened = await openTestStore("chunk_times_store");
    const { store } = opened;
    let isGoing = true;
    const busy = [1, 2, 3].map((i) => work(db.url, seededRandom(seed * 10 + i), () => isGoing));
    // Reported where they are waited for.
    for (const one of busy) one.catch(() => undefined);
    const plans: StreamBaseline[] = [];
    await using running = await startPipeline({
      name: "chunks",
      openSource: () => db.open(),
      store,
      streams: STREAMS,
      more: {
        baseline: "chunked",
        pace: { ...PACE, baselineChunkRowsMax: 100 },
        onBaseline: (all) => void plans.push(...all),
      },
    });
    await running.until(() => running.status()?.baseline?.streams.done === 3);
    isGoing = false;
    expect(Math.min(...(await Promise.all(busy)))).toBeGreaterThan(20);
    await running.reach();
    expect(plans.map(({ isChunked }) => isChunked)).toEqual([true, true, true]);
    expect(running.status()!.baseline!.chunks).toBeGreaterThan(25);
    expect(await brokenStreams(store, SHAPES)).toEqual([]);
    expect(await store.quarantine.count("chunks")).toBe(0);
    expect(await running.verify()).toMatchObject({ state: "equal", samples: [] });
    await running.stop();
  },
  300_000,
);
