import { setTimeout as sleep } from "node:timers/promises";
import pg from "pg";
import { describe, expect, test } from "vitest";
import type { ChangeSource } from "../../src/source/change-source.ts";
import { verifyParity } from "../../src/verify/verify-parity.ts";
import { sourceDatabase } from "../connectors/postgres/source-support.ts";
import { bench, DDL, FILL, STREAMS } from "../support/verify-bench.ts";

/** A session of its own, for transactions that stay open. */
async function session(url: string): Promise<pg.Client & AsyncDisposable> {
  const client = new pg.Client({ connectionString: url });
  client.on("error", () => undefined);
  await client.connect();
  return Object.assign(client, { [Symbol.asyncDispose]: () => client.end() });
}

describe("what is equal", () => {
  test("is called so, with how much was compared", async () => {
    await using b = await bench();
    expect(await b.verify()).toMatchObject({
      state: "equal",
      reasons: [],
      compared: 80,
      present: 80,
      missing: 0,
      extra: 0,
      different: 0,
      samples: [],
      nextSteps: [],
      tables: [
        { table: "public.account", streamType: "account", present: 20, compared: 20, columns: 3 },
        { table: "public.entry", streamType: "account", present: 60, compared: 60, columns: 3 },
      ],
    });
  });

  test("may be empty, may have been emptied, and may be children without their root", async () => {
    await using b = await bench("INSERT INTO entry VALUES (7, 'nobody', 1), (8, NULL, 2)");
    expect(await b.verify()).toMatchObject({ state: "equal", present: 2, compared: 2 });
    await b.db.query("INSERT INTO account VALUES ('nobody', 'came later', 0)");
    await b.db.query("INSERT INTO entry VALUES (9, 'elsewhere', 1), (10, NULL, 1)");
    expect(await b.verify()).toMatchObject({ state: "equal", present: 5, compared: 5 });
    await b.db.query("DELETE FROM account; DELETE FROM entry");
    expect(await b.verify()).toMatchObject({ state: "equal", present: 0, compared: 0 });
  });

  test("is seen while both sides go on changing", async () => {
    await using b = await bench();
    let writing = true;
    const traffic = (async () => {
      for (let i = 100; writing; i++) {
        await b.db.query(`
          BEGIN;
          INSERT INTO account VALUES ('t${i}', 'x', 1);
          INSERT INTO entry VALUES (${i}, 't${i}', 1), (${i + 100_000}, '${1 + (i % 20)}', 2);
          UPDATE account SET balance = balance + 1 WHERE id = '${1 + (i % 20)}';
          UPDATE entry SET account_id = 't${i}' WHERE id = ${i - 3};
          DELETE FROM entry WHERE id = ${i - 7};
          COMMIT`);
      }
    })();
    try {
      for (let round = 0; round < 4; round++) {
        const report = await b.verify();
        expect(report.samples).toEqual([]);
        expect(report.state).toBe("equal");
        expect(report.compared).toBe(report.present);
      }
    } finally {
      writing = false;
      await traffic;
    }
  });
});

describe("a transaction beside the snapshot", () => {
  test("that committed before the fence but after the snapshot is on neither side", async () => {
    await using b = await bench();
    const source = b.db.open();
    const fence = source.fence.bind(source);
    const between = async (): ReturnType<ChangeSource["fence"]> => {
      await b.db.query("UPDATE account SET balance = balance + 1");
      await b.db.query("DELETE FROM entry WHERE id < 10; INSERT INTO entry VALUES (500, '1', 1)");
      return await fence();
    };
    const report = await b.verify({ source: Object.assign(source, { fence: between }) });
    expect(report).toMatchObject({ state: "equal", present: 80, compared: 80, samples: [] });
    expect(await b.verify()).toMatchObject({ state: "equal", present: 72, compared: 72 });
  });

  test("that was open at the snapshot and committed after the fence is on neither side", async () => {
    await using b = await bench();
    await using open = await session(b.db.url);
    await open.query(
      "BEGIN; UPDATE account SET owner = 'late'; INSERT INTO entry VALUES (500, '1', 1)",
    );
    const source = b.db.open();
    const fence = source.fence.bind(source);
    const before = async (): ReturnType<ChangeSource["fence"]> => {
      const position = await fence();
      await open.query("COMMIT");
      await b.pipeline.reach();
      return position;
    };
    const report = await b.verify({ source: Object.assign(source, { fence: before }) });
    expect(report).toMatchObject({ state: "equal", present: 80, compared: 80, samples: [] });
    expect(await b.verify()).toMatchObject({ state: "equal", present: 81, compared: 81 });
  });

  test("that empties a table while it is read makes the verdict inconclusive, not different", async () => {
    await using b = await bench();
    const source = b.db.open();
    const openParity = source.openParity.bind(source);
    const emptied: ChangeSource["openParity"] = async (tables, signal) => {
      const snapshot = await openParity(tables, signal);
      await b.db.query("TRUNCATE entry");
      return snapshot;
    };
    const report = await b.verify({ source: Object.assign(source, { openParity: emptied }) });
    expect(report.state).toBe("inconclusive");
    expect(report.reasons.join()).toContain("public.entry");
    expect(report.tables.map((t) => t.table)).toEqual(["public.account"]);
    expect(await b.verify()).toMatchObject({ state: "equal", present: 20, compared: 20 });
  });

  test("finds no table locked that has been read: what waits for a lock makes all others wait", async () => {
    await using b = await bench();
    await using other = await session(b.db.url);
    await other.query("SET lock_timeout = '2s'");
    const source = b.db.open();
    const tables = await source.discover([{ name: "public.account" }]);
    const snapshot = await source.openParity(tables, AbortSignal.timeout(30_000));
    const read = async (): Promise<number> => {
      let rows = 0;
      const groups = snapshot.readRows(tables[0]!, [], AbortSignal.timeout(30_000));
      for await (const group of groups) rows += group.length;
      return rows;
    };
    expect(await read()).toBe(20);
    expect(await snapshot.estimateRows(tables[0]!)).toBe(20);
    await other.query("ALTER TABLE account ADD COLUMN later text");
    await other.query("DELETE FROM account");
    expect(await read()).toBe(20);
    expect(await snapshot.rewritten()).toEqual([]);
    await other.query("TRUNCATE account");
    expect(await snapshot.rewritten()).toEqual(["public.account"]);
    await snapshot.close();
  });
});

describe("what differs", () => {
  test("is named at its key and column, each kind for itself", async () => {
    await using b = await bench();
    // What is written while a table is not published never reaches the log's reader.
    const publication = `"${b.db.publication.replaceAll('"', '""')}"`;
    await b.db.query(`
      BEGIN;
      ALTER PUBLICATION ${publication} DROP TABLE account, entry;
      UPDATE account SET owner = NULL, balance = 7.5 WHERE id = '3';
      DELETE FROM account WHERE id = '4';
      INSERT INTO account VALUES ('21', 'new', 0);
      UPDATE entry SET account_id = '2' WHERE id = 20;
      ALTER PUBLICATION ${publication} ADD TABLE account, entry;
      COMMIT`);
    const report = await b.verify();
    expect(report).toMatchObject({
      state: "different",
      missing: 2,
      extra: 2,
      different: 1,
      present: 80,
      compared: 80,
    });
    const samples = report.samples.toSorted((x, y) =>
      x.key + x.verdict < y.key + y.verdict ? -1 : 1,
    );
    expect(samples).toEqual([
      { verdict: "extra", table: "public.entry", stream: "account-1", key: "20", columns: [] },
      { verdict: "missing", table: "public.entry", stream: "account-2", key: "20", columns: [] },
      { verdict: "missing", table: "public.account", stream: "account-21", key: "21", columns: [] },
      {
        verdict: "different",
        table: "public.account",
        stream: "account-3",
        key: "3",
        columns: [
          { column: "owner", row: null, fold: "owner 3" },
          { column: "balance", row: "7.50", fold: "3.00" },
        ],
      },
      { verdict: "extra", table: "public.account", stream: "account-4", key: "4", columns: [] },
    ]);
    expect(report.nextSteps[0]).toMatch(/^banyan history account-/);
    const hidden = await b.verify({ showValues: false, samplesMax: 1 });
    expect(hidden.samples).toHaveLength(1);
    expect(JSON.stringify(hidden)).not.toContain("owner 3");
    expect(hidden.nextSteps).toContain("banyan verify --show-values");
  });
});

describe("what cannot be told", () => {
  test("streams in quarantine are left out, counted, and make the verdict inconclusive", async () => {
    await using b = await bench();
    await b.db.query("UPDATE account SET owner = 'unmappable' WHERE id = '5'");
    await b.db.query("UPDATE entry SET amount = 0 WHERE account_id = '5'");
    const report = await b.verify();
    expect(report).toMatchObject({
      state: "inconclusive",
      present: 80,
      compared: 76,
      excluded: { streams: 1, rows: 4 },
      different: 0,
    });
    expect(report.reasons.join()).toContain("quarantine");
    expect(report.nextSteps).toContain("banyan quarantine list");
    // A difference elsewhere is still found.
    const publication = `"${b.db.publication.replaceAll('"', '""')}"`;
    await b.db.query(`
      BEGIN;
      ALTER PUBLICATION ${publication} DROP TABLE entry;
      DELETE FROM entry WHERE id = 1;
      ALTER PUBLICATION ${publication} ADD TABLE entry;
      COMMIT`);
    expect(await b.verify()).toMatchObject({ state: "different", extra: 1 });
  });

  test("a row whose key is too long for a stream waits in quarantine and does not stop the check", async () => {
    await using b = await bench();
    await b.db.query("INSERT INTO account VALUES (repeat('x', 700), 'long', 0)");
    await b.db.query("INSERT INTO account VALUES ('21', 'new', 0)");
    expect(await b.verify()).toMatchObject({
      state: "inconclusive",
      present: 82,
      compared: 81,
      excluded: { streams: 1, rows: 1 },
    });
  });

  test("an event of a service that no mapping explains says nothing of the rows", async () => {
    await using b = await bench();
    const own = { id: "00000000-0000-7000-8000-000000000001", type: "AccountClosed", data: {} };
    await b.store.append("account-5", [own], "exists");
    const report = await b.verify();
    expect(report).toMatchObject({ state: "equal", reasons: [], present: 80, compared: 80 });
    // The pipeline goes on with such a stream behind what the service wrote.
    await b.db.query("UPDATE account SET balance = 9 WHERE id = '5'");
    await b.pipeline.stop().catch((error: unknown) => {
      expect(error).toMatchObject({ recovery: "retry" });
    });
  });

  test("a pipeline that does not come to the fence in time", async () => {
    await using b = await bench();
    await b.pipeline.stop();
    const startedMs = Date.now();
    const report = await b.verify({ waitMsMax: 300 });
    expect(Date.now() - startedMs).toBeLessThan(10_000);
    expect(report).toMatchObject({ state: "inconclusive", compared: 0, present: 0, tables: [] });
    expect(report.reasons.join()).toContain("did not reach");
    expect(report.nextSteps).toContain("banyan run");
  });

  test("a source that is not the one the pipeline follows is refused", async () => {
    await using b = await bench();
    await using other = await sourceDatabase("verify other", `${DDL};${FILL}`, "account, entry");
    await expect(b.verify({ source: other.open() })).rejects.toMatchObject({
      code: "SOURCE_CHANGED",
    });
  });

  test("a pipeline that has no baseline yet is refused", async () => {
    await using b = await bench();
    await expect(b.verify({ pipeline: "another" })).rejects.toMatchObject({
      code: "PIPELINE_UNKNOWN",
    });
  });

  test("an abort ends the wait for the fence at once", async () => {
    await using b = await bench();
    await b.pipeline.stop();
    const stop = new AbortController();
    const asked = verifyParity(
      {
        pipeline: "bank",
        source: b.db.open(),
        store: b.store,
        streams: STREAMS,
        waitMsMax: 60_000,
        samplesMax: 1,
        showValues: false,
      },
      stop.signal,
    );
    asked.catch(() => undefined);
    await sleep(200);
    stop.abort();
    await expect(asked).rejects.toMatchObject({ name: "AbortError" });
  });
});
