import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, test, vi } from "vitest";
import { configFolder, startCli } from "../support/cli.ts";
import { createDatabase, type TestDatabase } from "../support/databases.ts";

/** As docs/limits.md says: the most that `banyan run` takes with default limits, whatever comes. */
const RSS_MB_MAX = 384;
const isNightly = process.env["BANYAN_TEST_BUDGET"] === "nightly";
const RUN_MS_MAX = isNightly ? 1_800_000 : 600_000;
vi.setConfig({ testTimeout: 2 * RUN_MS_MAX });
/** Changes. */
const BACKLOG = isNightly ? 2_000_000 : 1_000_000;

const TABLE = `
  CREATE TABLE items (id int PRIMARY KEY, name text NOT NULL, price numeric(10,2), seen_at timestamptz);
  ALTER TABLE items REPLICA IDENTITY FULL;
  CREATE PUBLICATION banyan_flat FOR TABLE items;
  CREATE PROCEDURE fill(transactions int, per int) LANGUAGE plpgsql AS $$
  BEGIN
    FOR i IN 0 .. transactions - 1 LOOP
      INSERT INTO items SELECT g, 'item number ' || g, g % 10000 / 100.0, now()
        FROM generate_series(i * per + 1, (i + 1) * per) g;
      COMMIT;
    END LOOP;
  END $$;`;

function configOf(source: TestDatabase, store: TestDatabase): string {
  return `
    import { changes, defineMigration, inserted, stream, table, updated } from "banyan";
    const items = table<{ id: number; name: string; price: string | null; seen_at: string | null }>("items");
    export default defineMigration({
      name: "flat",
      source: { kind: "postgres", url: ${JSON.stringify(source.url)} },
      store: { kind: "postgres", url: ${JSON.stringify(store.url)} },
      streams: {
        item: stream(items, {
          events: { ItemAdded: inserted(items), ItemRepriced: updated(items, { price: changes() }) },
          otherwise: "ItemAmended",
        }),
      },
    });`;
}

interface Status {
  readonly ledger: { readonly changesIn: number; readonly events: number };
}

/** `banyan run --until-caught-up`, and the most memory that it took, in MB. */
async function runToTheEnd(directory: string): Promise<{ status: Status; rssMb: number }> {
  const folder = mkdtempSync(join(tmpdir(), "banyan-rss-"));
  try {
    const hook = join(folder, "rss.cjs");
    const out = join(folder, "rss");
    writeFileSync(
      hook,
      `process.on("exit", () => require("node:fs").writeFileSync(${JSON.stringify(out)}, String(process.resourceUsage().maxRSS)))`,
    );
    const running = startCli(["run", "--until-caught-up", "--json"], {
      cwd: directory,
      env: { NODE_OPTIONS: `--require ${hook}` },
    });
    const timer = setTimeout(() => running.child.kill("SIGKILL"), RUN_MS_MAX);
    const { exitCode, stdout, stderr } = await running.ended;
    clearTimeout(timer);
    expect([exitCode, stderr]).toEqual([0, expect.anything()]);
    const last = stdout.trim().split("\n").at(-1)!;
    return {
      status: JSON.parse(last) as Status,
      rssMb: Number(readFileSync(out, "utf8")) / 1024,
    };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

async function flatly(
  fill: string,
  expected: { readonly changes: number; readonly transactions: string },
): Promise<void> {
  await using source = await createDatabase("flat source");
  await using store = await createDatabase("flat store");
  await source.query(TABLE);
  using folder = configFolder(configOf(source, store));
  await runToTheEnd(folder.directory);
  await source.query(fill);
  const { status, rssMb } = await runToTheEnd(folder.directory);
  expect(status.ledger.changesIn).toBe(expected.changes);
  const { rows } = await store.query(
    `SELECT count(DISTINCT source_transaction)::text AS transactions, count(*)::int AS events,
            count(DISTINCT stream_id)::int AS streams FROM banyan.events`,
  );
  expect(rows[0]).toMatchObject({
    events: expected.changes,
    transactions: expected.transactions,
  });
  process.stdout.write(`${expected.changes} changes: at most ${Math.round(rssMb)} MB\n`);
  expect(rssMb).toBeLessThan(RSS_MB_MAX);
}

describe("memory stays flat", () => {
  test("in a transaction of a million rows", async () => {
    await flatly(
      "INSERT INTO items SELECT g, 'item number ' || g, g % 10000 / 100.0, now() FROM generate_series(1, 1000000) g",
      { changes: 1_000_000, transactions: "1" },
    );
  });

  test(`in a backlog of ${BACKLOG / 1e6} million changes in small transactions`, async () => {
    const transactions = BACKLOG / 100;
    await flatly(`CALL fill(${transactions}, 100)`, {
      changes: BACKLOG,
      transactions: String(transactions),
    });
  });

  test.runIf(isNightly)("in an update of a million rows in one transaction", async () => {
    await using source = await createDatabase("flat source");
    await using store = await createDatabase("flat store");
    await source.query(TABLE);
    await source.query("CALL fill(10000, 100)");
    using folder = configFolder(configOf(source, store));
    const baseline = await runToTheEnd(folder.directory);
    await source.query("UPDATE items SET price = price + 1");
    const { status, rssMb } = await runToTheEnd(folder.directory);
    expect(status.ledger.changesIn).toBe(1_000_000);
    process.stdout.write(`at most ${Math.round(baseline.rssMb)} MB, ${Math.round(rssMb)} MB\n`);
    expect(Math.max(baseline.rssMb, rssMb)).toBeLessThan(RSS_MB_MAX);
  });
});
