import type pg from "pg";
import { expect, test } from "vitest";
import { sourceDatabase } from "./source-support.ts";
import {
  BY_INDEX,
  BY_LOOKUP,
  boundQuery,
  keysQuery,
  lastQuery,
  rangeQuery,
  type RangeTable,
} from "../../../connectors/postgres/chunk-range.ts";
import { connect } from "../../../connectors/postgres/session.ts";
import type { ChunkKey } from "../../../src/source/change-source.ts";

/*
 * A chunk reads its own rows and no others, whatever the planner takes the table for: with a key of two columns, of which
 * it knows how the first is spread, and without any statistics.
 */

const ROWS = 200_000;
const CHUNK = 500;

const key = (i: string): string => `md5((${i})::text)::uuid`;
/** Many roots share the first column of their key, as those of a tenant do. */
const TABLES = `
  CREATE TABLE root (a uuid, b uuid, n int DEFAULT 0, PRIMARY KEY (a, b));
  CREATE TABLE child (id int PRIMARY KEY, a uuid, b uuid, pad text);
  INSERT INTO root SELECT ${key("i % 20")}, ${key("i")} FROM generate_series(1, ${ROWS}) i;
  INSERT INTO child SELECT i, ${key("j % 20")}, CASE WHEN i % 1000 = 0 THEN NULL ELSE ${key("j")} END, repeat('x', 60)
    FROM (SELECT i, 1 + (i::bigint * 7919) % ${ROWS} AS j FROM generate_series(1, ${ROWS}) i) t;
  CREATE INDEX ON child (a, b);
  ALTER TABLE root SET (autovacuum_enabled = off);
  ALTER TABLE child SET (autovacuum_enabled = off);`;

interface Plan {
  readonly "Node Type": string;
  readonly "Actual Rows": number;
  readonly "Actual Loops": number;
  readonly "Rows Removed by Filter"?: number;
  readonly Plans?: readonly Plan[];
}

/** What a statement does, and how many rows it looks at. */
async function explain(
  client: pg.Client,
  sql: string,
): Promise<{ readonly nodes: readonly string[]; readonly rows: number }> {
  const { rows } = await client.query(`EXPLAIN (ANALYZE, FORMAT JSON) ${sql}`);
  const nodes: string[] = [];
  let touched = 0;
  const visit = (plan: Plan): void => {
    nodes.push(plan["Node Type"]);
    for (const below of plan.Plans ?? []) visit(below);
    if (plan.Plans !== undefined) return;
    const each = plan["Actual Rows"] + (plan["Rows Removed by Filter"] ?? 0);
    touched += each * plan["Actual Loops"];
  };
  visit((rows[0] as { "QUERY PLAN": [{ Plan: Plan }] })["QUERY PLAN"][0].Plan);
  return { nodes, rows: touched };
}

test.each(["with statistics", "never analysed"])(
  "chunks from the middle of a table with a key of two columns read through the index alone: %s",
  async (statistics) => {
    await using db = await sourceDatabase("chunks", TABLES, "root, child");
    if (statistics === "with statistics") await db.query("ANALYZE");
    const [root, child] = await db.open().discover([{ name: "root" }, { name: "child" }]);
    const roots: RangeTable = { table: root!, columns: [0, 1], from: "ONLY public.root" };
    const children: RangeTable = { table: child!, columns: [1, 2], from: "ONLY public.child" };
    const client = await connect({ url: db.url, applicationName: "test" });
    try {
      await client.query(BY_INDEX);
      const bound = async (after: ChunkKey | undefined, rows: number): Promise<ChunkKey> =>
        ((await client.query(boundQuery(roots, after, rows))).rows[0] as { key: string[] }).key;
      const after = await bound(undefined, ROWS / 2 + 7);
      const end = await bound(after, CHUNK);
      const nearTheEnd = await bound(after, ROWS / 2 - 7 - CHUNK);
      const statements = {
        bound: boundQuery(roots, after, CHUNK),
        "last key": lastQuery(roots, after),
        root: rangeQuery(roots, { after, end }),
        child: rangeQuery(children, { after, end }),
        first: rangeQuery(children, { after: undefined, end: await bound(undefined, CHUNK) }),
        last: rangeQuery(children, { after: nearTheEnd, end: undefined }),
      };
      for (const [name, sql] of Object.entries(statements)) {
        const { nodes, rows } = await explain(client, sql);
        const others = nodes.filter(
          (node) => !/^(Index( Only)? Scan|Limit|Merge Append|Append)$/.test(node),
        );
        expect({ name, others }).toEqual({ name, others: [] });
        // Those without a whole key come last.
        expect(rows, name).toBeLessThan(name === "last" ? 3 * CHUNK + ROWS / 1_000 : 3 * CHUNK);
        expect(rows, name).toBeGreaterThan(0);
      }
      await client.query(`BEGIN; ${BY_LOOKUP}`);
      const keys = [after, end, [after[0]!, null]];
      const named = await explain(client, keysQuery(children, { keys }, ["bytes", "bytes"]));
      await client.query("COMMIT");
      expect(named.nodes).not.toContain("Seq Scan");
      expect(named.rows).toBeLessThan(CHUNK);
    } finally {
      await client.end();
    }
  },
);
