import { describe, expect, test } from "vitest";
import { watchParity, type WatchRound } from "../../src/verify/watch-parity.ts";
import { movedBank, type Identity, type MovedBank } from "../support/moved-bank.ts";
import { STREAMS } from "../support/verify-bench.ts";

const IDENTITIES: readonly Identity[] = ["full", "default"];

/** Names an owner as the service; the row is as before until it is written back. */
const name = (b: MovedBank, id: string, owner: string): Promise<number> =>
  b.decide(`account-${id}`, "OwnerNamed", { id, owner });
const set = (id: string, owner: string): string =>
  `UPDATE account SET owner = '${owner}' WHERE id = '${id}'`;

/** What the reverse sync says of itself in the store, up to what is stored now. */
async function noteProgress(b: MovedBank): Promise<void> {
  await b.query(`
    INSERT INTO banyan.reverse_progress (pipeline, cursor)
    SELECT 'bank', transaction_id || '/' || position FROM banyan.events ORDER BY transaction_id DESC, position DESC LIMIT 1
        ON CONFLICT (pipeline) DO UPDATE SET cursor = excluded.cursor`);
}

describe.each(IDENTITIES)("aggregates of a service, replica identity %s", (identity) => {
  test("are compared as far as what it decided was written back", async () => {
    await using b = await movedBank(identity);
    await b.move("new");
    const all = { state: "equal", reasons: [], compared: 80, present: 80, samples: [] };
    // Not written back, with kept folds from before and then from after.
    const first = await name(b, "1", "Ada");
    await name(b, "2", "Bea");
    expect(await b.verify()).toMatchObject(all);
    expect(await b.verify()).toMatchObject(all);
    await b.writeBack("account-1", first, set("1", "Ada"));
    expect(await b.verify()).toMatchObject(all);
    await noteProgress(b);
    // Behind the place that the reverse sync has come to: what it has not told of is looked at from there.
    const third = await name(b, "1", "Cid");
    const fourth = await name(b, "1", "Dan");
    expect(await b.verify()).toMatchObject(all);
    await b.writeBack("account-1", third, set("1", "Cid"));
    expect(await b.verify()).toMatchObject(all);
    await b.writeBack("account-1", fourth, set("1", "Dan"));
    expect(await b.verify()).toMatchObject(all);
  });

  test("are told apart from their rows at key and column, whichever of the two is wrong", async () => {
    await using b = await movedBank(identity);
    await b.move("new");
    const version = await name(b, "3", "Ada");
    await b.writeBack("account-3", version, set("3", "Bea"));
    const entry = { $row: "entries", $op: "delete", id: "1" };
    const gone = await b.decide("account-2", "AccountAmended", entry);
    await b.writeBack("account-2", gone, "SELECT");
    await noteProgress(b);
    const report = await b.verify();
    expect(report).toMatchObject({ state: "different", missing: 1, different: 1, extra: 0 });
    expect(report.samples.toSorted((x, y) => (x.stream < y.stream ? -1 : 1))).toEqual([
      { verdict: "missing", table: "public.entry", stream: "account-2", key: "1", columns: [] },
      {
        verdict: "different",
        table: "public.account",
        stream: "account-3",
        key: "3",
        columns: [{ column: "owner", row: "Bea", fold: "Ada" }],
      },
    ]);
    expect(await b.store.parity.findings("bank")).toHaveLength(2);
  });
});

test("a row that has what was not written back is found, though the newest fold is the same", async () => {
  await using b = await movedBank("full");
  await b.move("new");
  await name(b, "4", "early");
  // Nothing says that the rows have it: somebody else has written the same.
  await b.db.query(
    `ALTER PUBLICATION "${b.db.publication.replaceAll('"', '""')}" DROP TABLE account, entry`,
  );
  await b.db.query(set("4", "early"));
  await b.db.query(
    `ALTER PUBLICATION "${b.db.publication.replaceAll('"', '""')}" ADD TABLE account, entry`,
  );
  const report = await b.verify();
  expect(report).toMatchObject({ state: "different", different: 1 });
  expect(report.samples[0]).toMatchObject({ stream: "account-4", columns: [{ column: "owner" }] });
});

test("a write past the service is left out as long as it waits in quarantine", async () => {
  await using b = await movedBank("full");
  await b.move("new");
  await b.settle();
  await b.db.query(set("5", "past"));
  await b.settle();
  expect(await b.verify()).toMatchObject({
    state: "inconclusive",
    compared: 76,
    excluded: { streams: 1, rows: 4 },
  });
});

test("a stream in a reverse conflict is a difference, with its reason, also where the row is as before", async () => {
  await using b = await movedBank("full");
  await b.move("new");
  const version = await name(b, "6", "Ada");
  await b.query(`INSERT INTO banyan.reverse_conflicts VALUES
    ('bank', 'account-6', ${version}, 'public.account', '6', '{owner}', 'the row was changed by somebody else')`);
  await noteProgress(b);
  const report = await b.verify();
  expect(report).toMatchObject({ state: "different", different: 0 });
  expect(report.reasons.join()).toContain("1 stream waits in a reverse conflict");
  expect(report.reverseConflicts).toEqual({
    streams: 1,
    samples: [
      {
        stream: "account-6",
        version,
        table: "public.account",
        key: "6",
        columns: ["owner"],
        reason: "the row was changed by somebody else",
      },
    ],
  });
});

test("a decision that is written back wrongly after it was looked at is found without a sweep", async () => {
  await using b = await movedBank("full");
  await b.move("new");
  const rounds: WatchRound[] = [];
  const source = b.db.open({ pipeline: "bank" });
  const stop = new AbortController();
  const watching = watchParity(
    {
      pipeline: "bank",
      source,
      store: b.store,
      streams: STREAMS,
      waitMsMax: 30_000,
      samplesMax: 10,
      showValues: true,
      checkEveryMs: 20,
      sweepEveryMs: 1_000_000,
      activeSessionsMax: 1_000,
      onRound: (one) => rounds.push(one),
    },
    AbortSignal.any([stop.signal, AbortSignal.timeout(60_000)]),
  );
  watching.catch(() => undefined);
  try {
    const look = (): number => rounds.filter(({ kind }) => kind === "changes").length;
    await b.pipeline.until(() => rounds.length > 0);
    const version = await name(b, "7", "Ada");
    await b.pipeline.until(() => look() > 1);
    expect(rounds.at(-1)).toMatchObject({ state: "equal" });
    await b.writeBack("account-7", version, set("7", "Bea"));
    await b.pipeline.until(() => (rounds.at(-1)?.findings.settled ?? 0) > 0);
    expect(await b.store.parity.findings("bank")).toMatchObject([
      { stream: "account-7", columns: ["owner"] },
    ]);
    expect(rounds.filter(({ kind }) => kind === "sweep")).toHaveLength(1);
  } finally {
    stop.abort();
    await watching.catch(() => undefined);
    await source.close();
  }
});

test("a role that may not read what was written back is told the grant", async () => {
  await using b = await movedBank("full");
  const role = `reader_${b.db.name}`;
  await b.db.query(
    `CREATE ROLE ${role} LOGIN PASSWORD 'x' REPLICATION; GRANT SELECT ON account, entry TO ${role}`,
  );
  try {
    await b.move("new");
    const version = await name(b, "1", "Ada");
    await b.writeBack("account-1", version, set("1", "Ada"));
    const url = new URL(b.db.url);
    url.username = role;
    url.password = "x";
    const source = b.db.open({ pipeline: "bank", url: url.href });
    await expect(b.verify({ source })).rejects.toMatchObject({
      code: "SOURCE_NOT_READY",
      hint: expect.stringContaining("GRANT SELECT ON banyan_reverse.applied") as string,
    });
    await source.close();
    await b.db.query(
      `GRANT USAGE ON SCHEMA banyan_reverse TO ${role}; GRANT SELECT ON banyan_reverse.applied TO ${role}`,
    );
    const again = b.db.open({ pipeline: "bank", url: url.href });
    expect(await b.verify({ source: again })).toMatchObject({ state: "equal" });
    await again.close();
  } finally {
    await b.db.query(`DROP OWNED BY ${role}; DROP ROLE ${role}`);
  }
});

test("a database of which nothing was written back has nothing to leave out, and all to leave out of the folds", async () => {
  await using b = await movedBank("full");
  await b.db.query("DROP SCHEMA banyan_reverse CASCADE");
  await b.move("new");
  await name(b, "1", "Ada");
  expect(await b.verify()).toMatchObject({ state: "equal", compared: 80 });
});

test.each(IDENTITIES)(
  "under traffic on both sides nothing but the lie is found, replica identity %s",
  async (identity) => {
    await using b = await movedBank(identity);
    await b.move("canary", 10_000);
    await b.settle();
    let writing = true;
    let decided = 0;
    const service = (async () => {
      for (; writing; decided++) {
        const id = String(1 + (decided % 18));
        const version = await name(b, id, `service ${decided}`);
        await b.writeBack(`account-${id}`, version, set(id, `service ${decided}`));
        if (decided % 5 === 0) await noteProgress(b);
      }
    })();
    const legacy = (async () => {
      for (let i = 0; writing; i++)
        await b.db.query(
          `BEGIN; INSERT INTO account VALUES ('new ${i}', 'x', 1); INSERT INTO entry VALUES (${1_000 + i}, 'new ${i}', 1); COMMIT`,
        );
    })();
    const ended = Promise.all([service, legacy]);
    const rounds: WatchRound[] = [];
    try {
      for (let round = 0; round < 2; round++) {
        const report = await b.verify();
        expect(report.samples).toEqual([]);
        expect(report.state).toBe("equal");
        expect(report.compared).toBe(report.present);
      }
      const lie = await name(b, "19", "truth");
      await b.writeBack("account-19", lie, set("19", "lie"));
      const source = b.db.open({ pipeline: "bank" });
      const stop = new AbortController();
      const limit = AbortSignal.any([stop.signal, AbortSignal.timeout(60_000)]);
      await watchParity(
        {
          pipeline: "bank",
          source,
          store: b.store,
          streams: STREAMS,
          waitMsMax: 30_000,
          samplesMax: 10,
          showValues: true,
          checkEveryMs: 50,
          sweepEveryMs: 1_000_000,
          activeSessionsMax: 1_000,
          onRound: (one) => {
            rounds.push(one);
            if (rounds.length >= 4 && one.findings.settled > 0) stop.abort();
          },
        },
        limit,
      ).catch((error: unknown) => {
        if (!stop.signal.aborted) throw error;
      });
      await source.close();
      const findings = await b.store.parity.findings("bank");
      expect(findings.map(({ stream, columns }) => [stream, columns])).toEqual([
        ["account-19", ["owner"]],
      ]);
    } finally {
      writing = false;
      await ended;
    }
    expect(decided).toBeGreaterThan(10);
  },
);
