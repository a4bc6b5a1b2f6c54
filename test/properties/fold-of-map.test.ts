import fc from "fast-check";
import { expect, test } from "vitest";
import { budget } from "../support/random-budget.ts";
import {
  eventsOf,
  foldedRows,
  mappedChanges,
  placedRows,
  randomMigration,
  randomRunning,
  runMigration,
} from "../support/random-migration.ts";

/*
 * Laws of the mapping, on random schemas, mappings and histories, through the whole pipeline with a
 * source and a store in memory:
 *
 *   fold(map(changes)) = rows, each in the stream its key names and nowhere else;
 *   how the log is batched, cut, spilled or interrupted shows nowhere in the events;
 *   ids are deterministic, and no two events share one;
 *   changes in = claimed + fallback + unchanged + parked.
 */

test("the fold of the events is the rows, and every change is accounted for", async () => {
  await fc.assert(
    fc.asyncProperty(randomMigration(), async (migration) => {
      const { capture, store } = await runMigration(migration);
      await using _ = capture;
      expect(await store.quarantine.list()).toEqual([]);
      const folded = await capture.fold(migration.schema.streamType);
      expect(foldedRows(migration.schema, folded)).toEqual(placedRows(migration));

      const { ledger } = (await store.pipeline("random"))!;
      const changes = mappedChanges(migration);
      expect(ledger).toMatchObject({
        changesIn: changes,
        changesParked: 0,
        transactions: migration.history.transactions.length,
      });
      const { changesClaimed, changesFallback, changesUnchanged } = ledger;
      expect(changesClaimed + changesFallback + changesUnchanged).toBe(changes);
      const events = await eventsOf(store);
      expect(new Set(events.map(({ id }) => id)).size).toBe(events.length);
    }),
    budget(250),
  );
});

test("verify finds equal what is equal", async () => {
  await fc.assert(
    fc.asyncProperty(randomMigration(), async (migration) => {
      const { capture } = await runMigration(migration);
      await using _ = capture;
      const report = await capture.verify();
      expect(report).toMatchObject({ state: "equal", samples: [] });
      const rows = placedRows(migration).length;
      expect(report).toMatchObject({ compared: rows, present: rows });
    }),
    budget(50),
  );
});

test("batching, cutting, spilling and restarting change no event, nor the order of events", async () => {
  await fc.assert(
    fc.asyncProperty(randomMigration(), randomRunning, async (migration, running) => {
      const plain = await runMigration(migration);
      const cut = await runMigration(migration, running);
      await using _ = plain.capture;
      await using __ = cut.capture;
      expect(await eventsOf(cut.store)).toEqual(await eventsOf(plain.store));
      const ledger = async (store: typeof plain.store): Promise<unknown> =>
        (await store.pipeline("random"))!.ledger;
      expect(await ledger(cut.store)).toEqual(await ledger(plain.store));
    }),
    budget(200),
  );
});

test("a TRUNCATE anywhere in a transaction leaves the fold equal to the rows", async () => {
  await fc.assert(
    fc.asyncProperty(
      randomMigration({ truncates: true }),
      randomRunning,
      async (migration, running) => {
        // A transaction with a TRUNCATE must fit into memory.
        const limits = { ...running.limits, transactionChangesMax: 1_000 };
        const run = await runMigration(migration, { ...running, limits });
        await using _ = run.capture;
        const folded = await run.capture.fold(migration.schema.streamType);
        expect(foldedRows(migration.schema, folded)).toEqual(placedRows(migration));
        const events = await eventsOf(run.store);
        expect(new Set(events.map(({ id }) => id)).size).toBe(events.length);
        const plain = await runMigration(migration);
        await using __ = plain.capture;
        expect(events).toEqual(await eventsOf(plain.store));
      },
    ),
    budget(100),
  );
});
