import fc from "fast-check";
import { expect, test } from "vitest";
import { budget } from "../support/random-budget.ts";
import { withMistake } from "../support/random-mapping.ts";
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
 * A user's function that throws for some rows: their streams wait in quarantine, the others go on and
 * stay right; once the config is corrected and the streams are retried, the fold is the rows.
 */

test("streams in quarantine wait, others stay right, and a retry with a corrected mapping mends all", async () => {
  let parkedEver = 0;
  await fc.assert(
    fc.asyncProperty(randomMigration(), randomRunning, async (migration, running) => {
      const faulty = { ...migration, streams: withMistake(migration.streams) };
      const run = await runMigration(faulty, running);
      await using _ = run.capture;
      const { store } = run;
      const changes = mappedChanges(migration);
      const ledger = async () => (await store.pipeline("random"))!.ledger;
      const balance = async (): Promise<void> => {
        const { changesIn, changesClaimed, changesFallback, changesUnchanged, changesParked } =
          await ledger();
        expect(changesIn).toBe(changes);
        expect(changesClaimed + changesFallback + changesUnchanged + changesParked).toBe(changes);
      };
      await balance();
      const waiting = new Set(
        (await store.quarantine.streams("random")).map((each) => each.stream),
      );
      parkedEver += waiting.size;

      const type = migration.schema.streamType;
      const before = await run.capture.fold(type);
      const toldRight = foldedRows(
        migration.schema,
        before.filter(({ stream }) => !waiting.has(stream)),
      );

      await store.quarantine.decide("random", undefined, "retry");
      const corrected = await run.with(migration.streams);
      await using __ = corrected;
      await corrected.catchUp(running.limits);
      expect(await store.quarantine.count("random")).toBe(0);
      await balance();
      expect((await ledger()).changesParked).toBe(0);
      const after = await corrected.fold(type);
      expect(foldedRows(migration.schema, after)).toEqual(placedRows(migration));
      // Each stream's events are those of a config that was right from the start.
      const plain = await runMigration(migration);
      await using ___ = plain.capture;
      expect(byStream(await eventsOf(store))).toEqual(byStream(await eventsOf(plain.store)));
      // What did not wait has gained nothing by the retry: it was right before.
      const unmoved = after.filter(({ stream }) => !waiting.has(stream));
      expect(foldedRows(migration.schema, unmoved)).toEqual(toldRight);
    }),
    budget(120),
  );
  expect(parkedEver).toBeGreaterThan(0);
});

/** Types, ids and data of each stream's events. */
function byStream(events: Awaited<ReturnType<typeof eventsOf>>): Record<string, unknown[]> {
  const streams: Record<string, unknown[]> = {};
  for (const { stream, version, type, id, data } of events)
    (streams[stream] ??= []).push({ version, type, id, data });
  return streams;
}
