import { setTimeout as sleep } from "node:timers/promises";
import { expect, test } from "vitest";
import { BANYAN_TABLE } from "./run-support.ts";
import { startTcpProxy } from "../../support/tcp-proxy.ts";
import { sourceDatabase, startOf, type SourceDatabase } from "./source-support.ts";
import type { ChangeSource } from "../../../src/source/change-source.ts";

const PLAN = { tables: [{ name: "public.item" }] };
const never = new AbortController().signal;
const LOOKS_MAX = 2_000;

async function sessions(db: SourceDatabase, name: string): Promise<number> {
  const { rows } = await db.query(
    "SELECT count(*)::int AS n FROM pg_stat_activity WHERE application_name = $1",
    [name],
  );
  return Number((rows as { n: number }[])[0]?.n);
}

async function isRead(db: SourceDatabase): Promise<boolean> {
  const { rows } = await db.query("SELECT active FROM pg_replication_slots WHERE slot_name = $1", [
    db.slot,
  ]);
  return (rows as { active: boolean }[])[0]!.active;
}

test("once a source is closed its slot is free for the next, whether or not the stream was waiting", async () => {
  await using db = await sourceDatabase("close", BANYAN_TABLE, "item");
  const position = await startOf(db.open(), PLAN);
  await db.query("INSERT INTO item SELECT i, 'n' FROM generate_series(1, 100) i");
  for (let round = 0; round < 5; round++) {
    for (const waiting of [true, false]) {
      const source = db.open();
      const reading = (async () => {
        for await (const _ of source.stream(position, never)) if (!waiting) break;
      })();
      if (waiting) for (let i = 0; i < LOOKS_MAX && !(await isRead(db)); i++) await sleep(10);
      else await reading;
      await source.close();
      expect(await isRead(db)).toBe(false);
      await reading;
    }
  }
});

test("a source that is closed while its stream begins waits until the slot is free", async () => {
  await using db = await sourceDatabase("close", BANYAN_TABLE, "item");
  const position = await startOf(db.open(), PLAN);
  const { hostname, port } = new URL(db.url);
  await using proxy = await startTcpProxy({ host: hostname, port: Number(port) });
  const source = db.open({ url: proxy.url(db.url) });
  await source.identify();
  // The server has given the slot long before its answer is here.
  proxy.delay(60);
  const reading = (async () => {
    for await (const _ of source.stream(position, never));
  })();
  for (let i = 0; i < LOOKS_MAX && !(await isRead(db)); i++) await sleep(5);
  await source.close();
  expect(await isRead(db)).toBe(false);
  await reading;
});

/** So often in a row there must be none, ten milliseconds apart. */
const QUIET_LOOKS = 5;

test("a source that is closed at any moment of its life leaves no session and no failure behind", async () => {
  await using db = await sourceDatabase("close", BANYAN_TABLE, "item");
  await db.query("INSERT INTO item SELECT i, repeat('x', 100) FROM generate_series(1, 20000) i");
  const position = await startOf(db.open(), PLAN);
  const uses: readonly ((source: ChangeSource) => Promise<unknown>)[] = [
    async (source) => {
      for await (const _ of source.stream(position, never));
    },
    async (source) => {
      const tables = await source.discover(PLAN.tables);
      const parity = await source.openParity(tables, never);
      for await (const _ of parity.readRows(tables[0]!, [], never)) await sleep(1);
    },
    (source) => source.fence(),
    (source) => source.check(PLAN),
  ];
  let round = 0;
  for (const use of uses) {
    for (const delayMs of [0, 1, 5, 15, 40, 80, 150]) {
      const applicationName = `closed ${(round += 1)}`;
      const source = db.open({ applicationName });
      const used = use(source).then(
        () => "done",
        (error: unknown) => error,
      );
      await sleep(delayMs);
      const begunMs = performance.now();
      await source.close();
      expect(performance.now() - begunMs).toBeLessThan(8_000);
      const outcome = await used;
      // A stream ends like one that was stopped; a question may go unanswered.
      if (use === uses[0]) expect(outcome).toBe("done");
      else if (outcome !== "done")
        expect(outcome).toMatchObject({ name: expect.any(String) as unknown });
      // One that was let go while the server still began it shows late, and goes at once.
      let quiet = 0;
      for (let i = 0; i < LOOKS_MAX && quiet < QUIET_LOOKS; i++) {
        quiet = (await sessions(db, applicationName)) === 0 ? quiet + 1 : 0;
        await sleep(10);
      }
      expect(quiet, applicationName).toBe(QUIET_LOOKS);
    }
  }
});
