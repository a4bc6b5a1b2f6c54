import type { EmbeddedPostgres } from "../connectors/embedded/embedded-postgres.ts";
import { openPostgresEventStore } from "../connectors/postgres/event-store.ts";
import { connect, destroy, disconnect } from "../connectors/postgres/session.ts";
import { openSession, resolveStoreUrl } from "../connectors/postgres/store-session.ts";
import { readServerError, Wire } from "../connectors/postgres/wire.ts";
import { loadEncoded, readEncoded } from "./copied-events.ts";
import {
  cpuNow,
  ratio,
  rssMaxMb,
  say,
  spread,
  timed,
  whole,
  withServer,
  type CpuSeconds,
} from "./support.ts";
import { capture, LIMITS, onServer, prepare, PUBLICATION } from "./workload.ts";

const SLOT = "bench";
const DECODE_SLOT = "bench_decode";

export interface ThroughputOptions {
  readonly rows: number;
  readonly changes: number;
  readonly rounds: number;
  readonly identity: "full" | "default";
}

interface Round {
  readonly baselineRate: number;
  readonly baselineLimit: number;
  readonly rate: number;
  readonly decodeLimit: number;
  readonly copyLimit: number;
  readonly nodeCpu: number;
  readonly readerCpu: number;
  readonly writerCpu: number;
}

/**
 * Source commit to durable event, of a backlog: changes per second, beside two limits measured in
 * the same run: the server's decoding with nobody looking, and COPY of the very same events.
 */
export async function benchThroughput(options: ThroughputOptions): Promise<void> {
  const { rows, changes, rounds, identity } = options;
  say(
    `\n== ${whole(rows)} rows baselined, then ${whole(changes)} changes in transactions of 100, replica identity ${identity}`,
  );
  const measured: Round[] = [];
  for (let round = 0; round < rounds; round++)
    measured.push(await withServer((server) => measure(server, options)));
  const of = (name: keyof Round): number[] => measured.map((one) => one[name]);
  const ratios = (name: keyof Round, limit: keyof Round): string =>
    spread(
      measured.map((one) => one[name] / one[limit]),
      ratio,
    );
  say(`baseline           ${spread(of("baselineRate"))} rows/s`);
  say(`  limit COPY       ${spread(of("baselineLimit"))} events/s`);
  say(`  ratio            ${ratios("baselineRate", "baselineLimit")} (bar 0.5)`);
  say(`changes            ${spread(of("rate"))} changes/s`);
  say(
    `  limit decode     ${spread(of("decodeLimit"))} changes/s, ratio ${ratios("rate", "decodeLimit")}`,
  );
  say(
    `  limit COPY       ${spread(of("copyLimit"))} events/s, ratio ${ratios("rate", "copyLimit")} (bar 0.5)`,
  );
  say(
    `  CPU per million  node ${spread(of("nodeCpu"), seconds)}, server: reading the log ${spread(of("readerCpu"), seconds)}, writing events ${spread(of("writerCpu"), seconds)}`,
  );
  say(
    `  memory           ${whole(rssMaxMb())} MB at most (this process, with the limits' own buffers)`,
  );
}

async function measure(
  server: EmbeddedPostgres,
  { rows, changes, identity }: ThroughputOptions,
): Promise<Round> {
  for (const name of ["source", "events", "limit"]) await server.createDatabase(name);
  const sourceUrl = server.url("source");
  const storeUrl = server.url("events");
  await prepare(sourceUrl, rows, identity);

  const baseline = await timed(() =>
    capture({ sourceUrl, storeUrl, slot: SLOT, isDone: ({ phase }) => phase === "tail" }),
  );
  await onServer(sourceUrl, [
    `SELECT pg_copy_logical_replication_slot('${SLOT}', '${DECODE_SLOT}')`,
    `CALL public.traffic(${changes}, 100, ${rows + 1})`,
    "CHECKPOINT",
  ]);

  const decode = await timed(() => decodeToNowhere(sourceUrl, changes));
  const before = cpuNow(server);
  let after: CpuSeconds = before;
  const captured = await timed(() =>
    capture({
      sourceUrl,
      storeUrl,
      slot: SLOT,
      isDone: ({ ledger }) => {
        after = cpuNow(server);
        return ledger.changesIn >= changes;
      },
    }),
  );
  const { changesIn, changesParked } = captured.result.ledger;
  if (changesIn !== changes || changesParked > 0)
    throw new Error(`${changesIn} of ${changes} changes, ${changesParked} parked`);

  const limits = await copyLimits(server, storeUrl);
  const perMillion = 1_000_000 / changes;
  const spent = [...after.server]
    .map(([pid, cpu]) => cpu - (before.server.get(pid) ?? 0))
    .sort((a, b) => b - a);
  return {
    baselineRate: rows / baseline.seconds,
    baselineLimit: limits.baseline,
    rate: changes / captured.seconds,
    decodeLimit: changes / decode.seconds,
    copyLimit: limits.capture,
    nodeCpu: (after.node - before.node) * perMillion,
    writerCpu: (spent[0] ?? 0) * perMillion,
    readerCpu: (spent[1] ?? 0) * perMillion,
  };
}

/** Loads what the capture wrote into an empty store, in the capture's order and batches. @returns events per second */
async function copyLimits(
  server: EmbeddedPostgres,
  storeUrl: string,
): Promise<{ baseline: number; capture: number }> {
  const url = await resolveStoreUrl(server.url("limit"));
  const store = await openPostgresEventStore({ url });
  await store.migrate();
  await store.close();
  const from = await resolveStoreUrl(storeUrl);
  const client = await openSession(url);
  const rate = async (origin: "baseline" | "capture", batch: number): Promise<number> => {
    const encoded = await readEncoded(from, origin, batch);
    await client.query("CHECKPOINT");
    const { seconds: took } = await timed(() => loadEncoded(client, encoded));
    const { rows } = await client.query<{ count: string }>(
      `SELECT count(*) FROM banyan.events WHERE origin = '${origin}'`,
    );
    return Number(rows[0]!.count) / took;
  };
  // The baseline is one transaction.
  const baseline = await rate("baseline", Number.POSITIVE_INFINITY);
  const captured = await rate("capture", LIMITS.batchChangesMax);
  await disconnect(client);
  return { baseline, capture: captured };
}

const TAG = { copyData: 0x64, error: 0x45 } as const;

/** What pg_recvlogical does with an output of /dev/null: the server decodes, the client only takes the bytes. */
async function decodeToNowhere(url: string, changes: number): Promise<void> {
  const client = await connect({ url, applicationName: "bench decode", replication: true });
  let seen = 0;
  await new Promise<void>((done, fail) => {
    const wire = new Wire(
      client,
      (tag, body, start, end) => {
        if (tag === TAG.error) return fail(new Error(readServerError(body, start, end).message));
        if (tag !== TAG.copyData || body[start] !== 0x77) return;
        const message = body[start + 25];
        if (message === 0x49 || message === 0x55 || message === 0x44) seen += 1;
        if (seen === changes) done();
      },
      fail,
    );
    wire.query(
      `START_REPLICATION SLOT ${DECODE_SLOT} LOGICAL 0/0 (proto_version '1', publication_names '${PUBLICATION}')`,
    );
  });
  destroy(client);
}

function seconds(value: number): string {
  return `${value.toFixed(1)} s`;
}
