import pg from "pg";
import { expect, test } from "vitest";
import { openServiceStore } from "./service-store-fixture.ts";
import { event } from "../../contract/event-batches.ts";
import { openPostgresEventStore } from "../../../connectors/postgres/event-store.ts";
import { bucketOf } from "../../../src/rollout/bucket.ts";
import { seededRandom } from "../../support/seeded-random.ts";

/*
 * Appends in a tight loop while authority goes to and fro. Under the lock that every switch takes, all is
 * counted that was stored of the aggregates that are legacy's from then on; under the lock of the next
 * switch it is counted again. An append that was let in before a switch away, and stored behind it, would
 * be in the second count and not in the first.
 */

const STREAMS_PER_WRITER = 12;
const WRITERS = 5;
const SWITCHES = 120;

test("no event is stored behind a switch that took the authority over its aggregate away", async () => {
  const seed = Date.now() % 1_000_000;
  process.stdout.write(`seed ${seed}\n`);
  const random = seededRandom(seed);
  await using at = await openServiceStore("service_race");
  await at.moveTo("canary", 5_000);
  const store = await openPostgresEventStore({ url: at.database.url, sessionsMax: WRITERS });
  const operator = new pg.Client({ connectionString: at.database.url });
  await operator.connect();
  const end = new AbortController();
  const counts = { stored: 0, elsewhere: 0 };

  const write = async (writer: number): Promise<void> => {
    const versions = new Map<string, number>();
    for (let i = 0; !end.signal.aborted; i++) {
      const stream = `order-${writer * STREAMS_PER_WRITER + (i % STREAMS_PER_WRITER)}`;
      const request = {
        pipeline: "shop",
        stream,
        expected: versions.get(stream) ?? 0,
        mappingVersion: 1,
        events: [event()],
      };
      try {
        await store.services.append(request);
        versions.set(stream, request.expected + 1);
        counts.stored += 1;
      } catch (error) {
        expect(error).toMatchObject({ code: "AUTHORITY_ELSEWHERE" });
        counts.elsewhere += 1;
      }
    }
  };

  /** Streams of legacy, as long as the share is this. */
  const ofLegacy = (share: number): readonly string[] =>
    Array.from({ length: WRITERS * STREAMS_PER_WRITER }, (_, id) => String(id))
      .filter((id) => bucketOf(id, "s") >= share)
      .map((id) => `order-${id}`);
  const storedOf = async (streams: readonly string[]): Promise<number> => {
    const { rows } = await operator.query<{ n: number }>(
      "SELECT count(*)::int AS n FROM banyan.events WHERE stream_id = ANY ($1)",
      [streams],
    );
    return rows[0]!.n;
  };

  const writing = Promise.all(Array.from({ length: WRITERS }, (_, writer) => write(writer)));
  try {
    let before: { readonly streams: readonly string[]; readonly stored: number } | undefined;
    for (let i = 0; i < SWITCHES; i++) {
      const share = Math.floor(random() * 10_001);
      await operator.query("BEGIN");
      await operator.query("SELECT banyan.lock_authority('shop', 'order')");
      if (before !== undefined)
        expect(await storedOf(before.streams), `switch ${i}`).toBe(before.stored);
      await operator.query("UPDATE banyan.rollouts SET share = $1, epoch = epoch + 1", [share]);
      const streams = ofLegacy(share);
      before = { streams, stored: await storedOf(streams) };
      await operator.query("COMMIT");
      const reached = counts.stored + counts.elsewhere + 20;
      while (counts.stored + counts.elsewhere < reached) await new Promise(setImmediate);
    }
  } finally {
    end.abort();
    await writing;
    await operator.end();
    await store.close();
  }
  process.stdout.write(`${counts.stored} stored, ${counts.elsewhere} refused\n`);
  expect(Math.min(counts.stored, counts.elsewhere)).toBeGreaterThan(100);
});
