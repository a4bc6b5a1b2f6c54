import { setTimeout as sleep } from "node:timers/promises";
import { expect, test } from "vitest";
import { openTestStore } from "./event-store-fixture.ts";
import { openPostgresEventStore } from "../../../connectors/postgres/event-store.ts";
import { batchOf, event, tailing } from "../../contract/event-batches.ts";
import type { EventStore } from "../../../src/store/event-store.ts";
import { startTcpProxy } from "../../support/tcp-proxy.ts";

const never = new AbortController().signal;
const LOOKS_MAX = 2_000;

const USES: readonly (readonly [string, (store: EventStore) => Promise<unknown>])[] = [
  [
    "appends",
    (store) => Promise.all(Array.from({ length: 50 }, () => store.append("a-1", [event()], "any"))),
  ],
  [
    "reads a stream",
    async (store) => {
      for await (const _ of store.readStream("order-1"));
    },
  ],
  ["reads the feed", (store) => store.readAll(undefined, 5_000)],
  [
    "reads a stream type",
    async (store) => {
      for await (const _ of store.readStreamType("order", never)) await sleep(1);
    },
  ],
  [
    "captures",
    async (store) => {
      const writer = await store.openCapture("shop", "test://source");
      try {
        const events = Array.from({ length: 5_000 }, (_, i) => ({
          stream: `c${Math.random()}-${i}`,
          version: 1,
        }));
        await writer.stage({ events: batchOf(events) });
        await writer.commit(tailing(undefined));
      } finally {
        await writer.close();
      }
    },
  ],
  ["sets up", (store) => store.migrate()],
];

test.each(USES)(
  "a store that is closed while it %s settles everything and leaves no session",
  async (_what, use) => {
    await using opened = await openTestStore("closing");
    const events = Array.from({ length: 12_000 }, (_, i) => ({
      stream: `order-${Math.floor(i / 3_000)}`,
      version: (i % 3_000) + 1,
      data: { text: "x".repeat(200) },
    }));
    const writer = await opened.store.openCapture("filler", "test://source");
    await writer.stage({ events: batchOf(events) });
    await writer.commit(tailing(1));
    await writer.close();
    const sessions = async (): Promise<number> => {
      const { rows } = await opened.database.query(
        "SELECT count(*)::int AS n FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'banyan'",
      );
      return (rows as { n: number }[])[0]!.n;
    };
    await opened.store.close();
    for (const delayMs of [0, 2, 10, 30, 80]) {
      const store = await openPostgresEventStore({ url: opened.database.url });
      const used = use(store).then(
        () => "done",
        (error: unknown) => error,
      );
      await sleep(delayMs);
      await store.close();
      const outcome = await Promise.race([used, sleep(30_000, "still busy")]);
      if (outcome !== "done") expect(outcome).toMatchObject({ name: "BanyanError" });
      for (let i = 0; i < LOOKS_MAX && (await sessions()) > 0; i++) await sleep(10);
      expect(await sessions()).toBe(0);
      // Again is harmless.
      await store.close();
    }
  },
);

/** A connection whose other end is gone never ends by itself, and keeps its process alive: nobody would start another. */
test("a store whose server vanished without a word is closed, and leaves no connection", async () => {
  await using opened = await openTestStore("vanished");
  const { hostname, port } = new URL(opened.database.url);
  await using wire = await startTcpProxy({ host: hostname, port: Number(port) });
  const connections = (): number => {
    const { _getActiveHandles: handles } = process as unknown as {
      _getActiveHandles: () => readonly { readonly remotePort?: number }[];
    };
    return handles().filter(({ remotePort }) => remotePort === wire.port).length;
  };
  const store = await openPostgresEventStore({ url: wire.url(opened.database.url) });
  await Promise.all([store.pipeline("a"), store.pipeline("b")]);
  expect(connections()).toBe(2);
  wire.halfOpen();
  await store.close();
  for (let i = 0; i < LOOKS_MAX && connections() > 0; i++) await sleep(10);
  expect(connections()).toBe(0);
});
