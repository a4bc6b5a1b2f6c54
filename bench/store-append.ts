/**
 * How near the store's writer comes to the database's own limit, and how fast a stream type is read.
 *
 * The limit is measured in the same run: the very same rows, encoded before the clock starts, sent by
 * binary COPY into the same table, a transaction per batch.
 *
 *   npx jiti bench/store-append.ts [events=300000] [rounds=3]
 */
import { mkdtempSync, rmSync } from "node:fs";
import { cpus, tmpdir } from "node:os";
import { join } from "node:path";
import type pg from "pg";
import { startEmbeddedPostgres } from "../connectors/embedded/embedded-postgres.ts";
import { encodeEvents, EVENT_COPY_COLUMNS } from "../connectors/postgres/copy-encoder.ts";
import { openPostgresEventStore } from "../connectors/postgres/event-store.ts";
import { disconnect } from "../connectors/postgres/session.ts";
import { copyIn } from "../connectors/postgres/store-copy.ts";
import { insertEvents } from "../connectors/postgres/store-insert.ts";
import {
  openPipeliningSession,
  openSession,
  resolveStoreUrl,
} from "../connectors/postgres/store-session.ts";
import { EventBuffer } from "../src/mapping/event-buffer.ts";
import { writeCaptureId } from "../src/mapping/event-id.ts";
import type { EventBatch, EventContext } from "../src/model/event.ts";
import { changePosition, type Position } from "../src/model/position.ts";
import type { CaptureWriter, EventStore } from "../src/store/event-store.ts";

const EVENTS = Number(process.argv[2] ?? 300_000);
const ROUNDS = Number(process.argv[3] ?? 3);
const BATCH = 20_000;
const EVENTS_PER_TRANSACTION = 100;
const STREAMS = 50_000;
const COPY = `COPY banyan.events (${EVENT_COPY_COLUMNS}) FROM STDIN (FORMAT binary)`;

const directory = mkdtempSync(join(tmpdir(), "banyan-bench-"));
const server = await startEmbeddedPostgres({
  dir: directory,
  flags: ["-c", "max_wal_size=8GB", "-c", "shared_buffers=512MB"],
});
try {
  const batches = makeBatches(EVENTS);
  say(
    `${cpus().length} × ${cpus()[0]?.model}, Node ${process.version}, embedded Postgres, fsync on`,
  );
  say(
    `${EVENTS} events over ${STREAMS} streams, ${bytesPerEvent(batches)} bytes each on the wire, ${ROUNDS} rounds\n`,
  );
  await compareRates(batches);
  await compareSmall();
} finally {
  await server.stop("fast");
  rmSync(directory, { recursive: true, force: true });
}

/** Batches by turns: the one way, the other way, so that what else the machine does meets both. */
async function compareRates(batches: readonly EventBatch[]): Promise<void> {
  const rates = {
    copy: [] as number[],
    stage: [] as number[],
    ratio: [] as number[],
    read: [] as number[],
  };
  for (let round = 0; round < ROUNDS; round++) {
    await withStore(`rates_${round}`, async (store, url) => {
      const client = await openSession(url);
      const writer = await store.openCapture("bench", "bench://source");
      const seconds = { copy: 0, stage: 0 };
      const events = { copy: 0, stage: 0 };
      for (const [i, batch] of batches.entries()) {
        const way = (i + round) % 2 === 0 ? "copy" : "stage";
        const encoded = way === "copy" ? [...encodeEvents(batch, 1)] : [];
        const start = performance.now();
        if (way === "copy") await plainCopy(client, encoded);
        else await stageAndCommit(writer, batch, i);
        seconds[way] += (performance.now() - start) / 1_000;
        events[way] += batch.length;
      }
      await writer.close();
      await disconnect(client);
      rates.copy.push(events.copy / seconds.copy);
      rates.stage.push(events.stage / seconds.stage);
      rates.ratio.push(rates.stage.at(-1)! / rates.copy.at(-1)!);
      rates.read.push(await readType(store));
    });
  }
  const ratios = rates.ratio.map((ratio) => ratio.toFixed(3)).join(", ");
  say(`plain COPY        ${spread(rates.copy)} events/s`);
  say(`stage and commit  ${spread(rates.stage)} events/s`);
  say(`ratio             ${median(rates.ratio).toFixed(3)} of plain COPY (${ratios}; bar: 0.9)`);
  say(`readStreamType    ${spread(rates.read)} events/s (bar: 150,000)\n`);
}

/** The same transaction as {@link stageAndCommit}, with nothing to encode and no checkpoint to keep. */
async function plainCopy(client: pg.Client, encoded: readonly Buffer[]): Promise<void> {
  await client.query("BEGIN");
  await copyIn(client, COPY, encoded);
  await client.query("COMMIT");
}

async function stageAndCommit(writer: CaptureWriter, events: EventBatch, i: number): Promise<void> {
  await writer.stage({ events });
  await writer.commit({
    phase: "tail",
    checkpoint: `${(i + 1).toString(16).toUpperCase().padStart(16, "0")}/00000000` as Position,
    ledger: { events: events.length, changesIn: events.length, changesClaimed: events.length },
    status: { phase: "tail" },
  });
}

async function readType(store: EventStore): Promise<number> {
  let read = 0;
  const start = performance.now();
  for await (const group of store.readStreamType("order", new AbortController().signal))
    read += group.length;
  const rate = (read / (performance.now() - start)) * 1_000;
  if (read !== EVENTS) throw new Error(`read ${read} of ${EVENTS} events`);
  return rate;
}

/** Where COPY overtakes INSERT of arrays, and how long a small batch takes to be durable. */
async function compareSmall(): Promise<void> {
  await withStore("small", async (store, url) => {
    const client = await openPipeliningSession(url);
    say("events  INSERT ms  COPY ms   (median of one transaction)");
    let stream = 0;
    for (const size of [1, 10, 50, 100, 200, 500, 1_000, 2_000]) {
      const times = { insert: [] as number[], copy: [] as number[] };
      for (let i = 0; i < 40; i++) {
        for (const way of ["insert", "copy"] as const) {
          const batch = makeBatch(size, stream);
          stream += size;
          const start = performance.now();
          const begun = client.query("BEGIN");
          if (way === "insert") await Promise.all([begun, insertEvents(client, batch, 1)]);
          else {
            await begun;
            await copyIn(client, COPY, encodeEvents(batch, 1));
          }
          await client.query("COMMIT");
          times[way].push(performance.now() - start);
        }
      }
      say(
        `${String(size).padStart(6)}  ${median(times.insert).toFixed(2).padStart(9)}  ${median(times.copy).toFixed(2).padStart(7)}`,
      );
    }
    await disconnect(client);

    const writer = await store.openCapture("bench", "bench://source");
    const times: number[] = [];
    for (let i = 0; i < 2_000; i++) {
      const events = makeBatch(10, stream);
      stream += 10;
      const start = performance.now();
      await writer.stage({ events });
      await writer.commit({
        phase: "tail",
        checkpoint: undefined,
        ledger: { events: 10 },
        status: {},
      });
      times.push(performance.now() - start);
    }
    await writer.close();
    times.sort((a, b) => a - b);
    say(
      `\nten events, stage and commit: p50 ${times[1_000]!.toFixed(2)} ms, p99 ${times[1_980]!.toFixed(2)} ms`,
    );
  });
}

async function withStore<T>(
  name: string,
  use: (store: EventStore, url: string) => Promise<T>,
): Promise<T> {
  await server.createDatabase(name);
  const store = await openPostgresEventStore({ url: server.url(name) });
  try {
    await store.migrate();
    return await use(store, await resolveStoreUrl(server.url(name)));
  } finally {
    await store.close();
  }
}

function makeBatches(events: number): EventBatch[] {
  const versions = new Map<string, number>();
  const batches: EventBatch[] = [];
  for (let from = 0; from < events; from += BATCH) {
    batches.push(makeBatch(Math.min(BATCH, events - from), from, versions));
  }
  return batches;
}

/**
 * Events as updates and inserts of a five-column row give them.
 *
 * @param from number of the first @param versions where streams stand; each event begins one of its own when absent
 */
function makeBatch(length: number, from: number, versions?: Map<string, number>): EventBatch {
  const batch = new EventBuffer();
  let context: EventContext | undefined;
  for (let i = 0; i < length; i++) {
    const n = from + i;
    const transaction = Math.floor(n / EVENTS_PER_TRANSACTION);
    if (context === undefined || n % EVENTS_PER_TRANSACTION === 0) {
      context = {
        origin: "capture",
        sourceTransaction: String(70_000 + transaction),
        correlationId: undefined,
        causationId: undefined,
        actor: undefined,
        metadata: undefined,
        mappingVersion: 1,
      };
    }
    // A fixed walk over the streams, so that every round writes the same.
    const stream = versions === undefined ? `small-${n}` : `order-${(n * 7_919) % STREAMS}`;
    const version = (versions?.get(stream) ?? 0) + 1;
    versions?.set(stream, version);
    const commit = (0x1_5000_0000 + transaction * 0x2000)
      .toString(16)
      .toUpperCase()
      .padStart(16, "0");
    const ordinal = (n % EVENTS_PER_TRANSACTION) + 1;
    const total = ((n % 1_000) + 0.5).toFixed(2);
    const data =
      version === 1
        ? `{"id":"${n}","customerId":"${n % 5_000}","status":"placed","total":"${total}","note":"note for order ${n}","updatedAt":"2026-01-31T10:00:00.123456Z"}`
        : `{"id":"${n}","status":"paid","total":"${total}","updatedAt":"2026-01-31T10:00:01.5Z","$was":{"status":"placed","total":"${n % 100}.50","updatedAt":"2026-01-31T10:00:00.123456Z"}}`;
    const at = batch.push(
      stream,
      version === 1 ? "OrderPlaced" : "OrderPaid",
      1_700_000_000_000_000 + n,
      changePosition(commit, ordinal),
      data,
      context,
    );
    batch.versions[at] = version;
    writeCaptureId(
      batch.ids,
      at * 16,
      { high: 1, low: 0x5000_0000 + transaction * 0x2000 },
      3,
      ordinal,
      n,
    );
  }
  return batch;
}

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)]!;
}

function spread(values: readonly number[]): string {
  const format = (value: number): string => Math.round(value).toLocaleString("en");
  return `${format(median(values)).padStart(9)} (${format(Math.min(...values))} to ${format(Math.max(...values))})`;
}

function bytesPerEvent(batches: readonly EventBatch[]): number {
  const batch = batches[0]!;
  let bytes = 0;
  for (const frame of encodeEvents(batch, 1)) bytes += frame.length;
  return Math.round(bytes / batch.length);
}

function say(line: string): void {
  process.stdout.write(`${line}\n`);
}
