import { setTimeout as sleep } from "node:timers/promises";
import type { EmbeddedPostgres } from "../connectors/embedded/embedded-postgres.ts";
import { openPostgresEventStore } from "../connectors/postgres/event-store.ts";
import { connect, disconnect } from "../connectors/postgres/session.ts";
import type { FeedCursor } from "../src/store/event-store.ts";
import { say, whole, withServer } from "./support.ts";
import { capture, prepare } from "./workload.ts";

export interface LatencyOptions {
  readonly changesPerSecond: number;
  readonly seconds: number;
}

const ROWS = 10_000;
const WRITERS = 4;
/** The follower asks this often; half of it is in the figures on average. */
const POLL_MS = 2;
const PAGE_EVENTS = 1_000;
/** Caches and code get warm first. */
const WARM_SECONDS = 3;
const PERCENTILES = [0.5, 0.9, 0.99, 0.999, 1] as const;

/** From a commit in the source, as its client sees it, to the event in the hands of a follower of the store. */
export async function benchLatency({ changesPerSecond, seconds }: LatencyOptions): Promise<void> {
  say(`\n== latency at ${whole(changesPerSecond)} changes/s, each a transaction, for ${seconds} s`);
  const latencies = await withServer((server) => measure(server, changesPerSecond, seconds));
  latencies.sort((a, b) => a - b);
  const at = (share: number): string =>
    `${share === 1 ? "max" : `p${share * 100}`} ${latencies[Math.ceil(share * latencies.length) - 1]!.toFixed(1)} ms`;
  say(
    `commit to readable ${PERCENTILES.map(at).join(", ")} of ${whole(latencies.length)} (bar: p99 100 ms)`,
  );
}

async function measure(
  server: EmbeddedPostgres,
  changesPerSecond: number,
  seconds: number,
): Promise<number[]> {
  await server.createDatabase("source");
  await server.createDatabase("events");
  const sourceUrl = server.url("source");
  const storeUrl = server.url("events");
  await prepare(sourceUrl, ROWS, "full");
  let baselined: (() => void) | undefined;
  const isBaselined = new Promise<void>((done) => (baselined = done));
  const stop = new AbortController();
  const capturing = capture({
    sourceUrl,
    storeUrl,
    slot: "bench",
    signal: stop.signal,
    isDone: ({ phase }) => {
      if (phase === "tail") baselined!();
      return false;
    },
  });
  await isBaselined;

  /** When the commit of the n-th change was answered, by its amount, which is its number. */
  const committedMs = new Map<string, number>();
  const latencies: number[] = [];
  const following = follow(storeUrl, committedMs, latencies, stop.signal);
  const total = changesPerSecond * (seconds + WARM_SECONDS);
  await write(sourceUrl, changesPerSecond, total, committedMs);
  const deadline = performance.now() + 10_000;
  while (latencies.length < total && performance.now() < deadline) await sleep(50);
  stop.abort();
  await Promise.all([capturing, following]);
  if (latencies.length !== total)
    throw new Error(`${latencies.length} of ${total} changes were seen`);
  return latencies.slice(changesPerSecond * WARM_SECONDS);
}

async function write(
  url: string,
  perSecond: number,
  total: number,
  committedMs: Map<string, number>,
): Promise<void> {
  const start = performance.now();
  let next = 0;
  const writer = async (): Promise<void> => {
    const client = await connect({ url, applicationName: "bench writer" });
    while (next < total) {
      const n = next++;
      const dueMs = start + (n * 1000) / perSecond - performance.now();
      if (dueMs > 0) await sleep(dueMs);
      const amount = `${n + 1}.00`;
      await client.query({
        name: "touch",
        text: "UPDATE public.items SET amount = $2, updated_at = clock_timestamp() WHERE id = $1",
        values: [(n % ROWS) + 1, amount],
      });
      committedMs.set(amount, performance.now());
    }
    await disconnect(client);
  };
  await Promise.all(Array.from({ length: WRITERS }, writer));
}

async function follow(
  url: string,
  committedMs: ReadonlyMap<string, number>,
  latencies: number[],
  signal: AbortSignal,
): Promise<void> {
  const store = await openPostgresEventStore({ url });
  let cursor: FeedCursor | undefined;
  while (!signal.aborted) {
    const page = await store.readAll(cursor, PAGE_EVENTS);
    const now = performance.now();
    cursor = page.next;
    for (const { origin, data } of page.events) {
      if (origin !== "capture") continue;
      // An event can be there before the writer's own answer is.
      const committed = committedMs.get(String(data["amount"])) ?? now;
      latencies.push(Math.max(0, now - committed));
    }
    if (page.events.length < PAGE_EVENTS) await sleep(POLL_MS);
  }
  await store.close();
}
