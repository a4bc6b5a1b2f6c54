import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { configFolder, runCli, startCli } from "../support/cli.ts";
import { createDatabase, type TestDatabase } from "../support/databases.ts";

const DDL = `
  CREATE TABLE customer (id int PRIMARY KEY, name text NOT NULL);
  CREATE TABLE address (id int PRIMARY KEY, customer_id int NOT NULL, city text NOT NULL);
  CREATE INDEX ON address (customer_id);
  CREATE TABLE ticket (id int PRIMARY KEY, title text NOT NULL);
  INSERT INTO customer SELECT i, 'c' || i FROM generate_series(1, 6000) i;
  INSERT INTO address SELECT i, 1 + i % 6000, 'city ' || i FROM generate_series(1, 9000) i;
  INSERT INTO ticket SELECT i, 't' || i FROM generate_series(1, 9000) i;
  CREATE PUBLICATION banyan_joining FOR TABLE customer;`;

const configOf = (source: TestDatabase, store: TestDatabase, streams: string): string => `
  import { child, defineMigration, stream, table } from "banyan";
  const customer = table<{ id: number; name: string }>("customer");
  const address = table<{ id: number; customer_id: number; city: string }>("address");
  const ticket = table<{ id: number; title: string }>("ticket");
  export default defineMigration({
    name: "joining",
    source: { kind: "postgres", url: ${JSON.stringify(source.url)} },
    store: { kind: "postgres", url: ${JSON.stringify(store.url)} },
    streams: ${streams},
    limits: { baselineChunkRowsMax: 1000, baselineSessionsMax: 1000, baselineSlowdownMax: 1 },
  });`;

const BEFORE = `{ customer: stream(customer, { otherwise: "CustomerAmended" }) }`;
const AFTER = `{
  customer: stream(customer, { children: { addresses: child(address, { customer_id: "id" }) }, otherwise: "CustomerAmended" }),
  ticket: stream(ticket, { otherwise: "TicketAmended" }),
}`;
/** One run is killed at each, all in the baseline of what joins but for the last; the one before may find it durable. */
const POINTS = {
  snapshot: [
    "capture-taken-over:1",
    "baseline-first-stage:1",
    "batch-staged:2",
    "baseline-before-commit:1",
    "batch-commit-sent:1",
    "tail-first-part:1",
  ],
  chunked: [
    "capture-taken-over:1",
    "baseline-before-commit:1",
    "baseline-after-commit:1",
    "chunk-opened:1",
    "chunk-staged:2",
    "chunk-before-commit:2",
    "chunk-after-commit:3",
    "chunk-before-commit:3",
  ],
};

test.each(["snapshot", "chunked"] as const)(
  "tables that join are baselined once and whole, wherever a run is killed (%s)",
  async (way) => {
    await using source = await createDatabase("joining source");
    await using store = await createDatabase("joining store");
    await source.query(DDL);
    using folder = configFolder(configOf(source, store, BEFORE));
    const options = { cwd: folder.directory };
    const toTheEnd = ["run", "--until-caught-up", "--json", "--baseline", way];
    expect(await runCli(toTheEnd, options)).toMatchObject({ exitCode: 0 });
    await source.query("UPDATE customer SET name = name || '!' WHERE id % 100 = 0");
    await source.query("ALTER PUBLICATION banyan_joining ADD TABLE address, ticket");
    writeFileSync(join(folder.directory, "banyan.config.ts"), configOf(source, store, AFTER));
    for (const [n, point] of POINTS[way].entries()) {
      await source.query(
        "UPDATE ticket SET title = $1 WHERE id % 1000 = 0; ".replace("$1", `'t${n}'`) +
          `UPDATE address SET city = 'moved ${n}' WHERE id % 1000 = 0; INSERT INTO ticket VALUES (${10_000 + n}, 'new')`,
      );
      const killed = await runCli(toTheEnd, { ...options, env: { BANYAN_FAILPOINT: point } });
      expect({ point, ...killed }).toMatchObject({ signal: "SIGKILL" });
    }
    expect(await runCli(toTheEnd, options)).toMatchObject({ exitCode: 0 });
    const running = startCli(["run"], options);
    const verified = await runCli(["verify", "--json"], options);
    running.child.kill("SIGINT");
    expect((await running.ended).exitCode).toBe(0);
    expect([verified.exitCode, JSON.parse(verified.stdout)]).toMatchObject([
      0,
      { state: "equal", missing: 0, extra: 0, different: 0 },
    ]);
    const { rows } = await store.query(
      `SELECT split_part(stream_id, '-', 1) AS stream, count(*)::int AS baselines, count(DISTINCT stream_id)::int AS streams
       FROM banyan.events WHERE origin = 'baseline' GROUP BY 1 ORDER BY 1`,
    );
    // A customer has one of its own and one of its addresses.
    expect(rows).toEqual([
      { stream: "customer", baselines: 12_000, streams: 6_000 },
      {
        stream: "ticket",
        baselines: expect.any(Number) as number,
        streams: expect.any(Number) as number,
      },
    ]);
    const tickets = rows[1] as { readonly baselines: number; readonly streams: number };
    expect(tickets.baselines).toBe(tickets.streams);
  },
);
