import { spawn, spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { openPostgresEventStore } from "../connectors/postgres/event-store.ts";
import { openPostgresSource } from "../connectors/postgres/source.ts";
import type { ParityReport } from "../src/verify/parity-report.ts";
import { verifyParity } from "../src/verify/verify-parity.ts";
import { ratio, say, spread, timed, whole, withServer } from "./support.ts";
import { capture, onServer, prepare, PUBLICATION, STREAMS } from "./workload.ts";

const SLOT = "bench";
const RELADIFF = "reladiff==0.6.0";
const DIFFERENCES = 100;

export interface VerifyBenchOptions {
  readonly rows: number;
  readonly rounds: number;
}

/**
 * A verification of one table beside reladiff, which compares the same table with a plain copy of it on
 * the same server; first of equal sets, then of sets with a hundred differences.
 */
export async function benchVerify({ rows, rounds }: VerifyBenchOptions): Promise<void> {
  say(`\n== verify of ${whole(rows)} rows`);
  const peer = installReladiff();
  try {
    await withServer(async (server) => {
      for (const name of ["source", "events"]) await server.createDatabase(name);
      const sourceUrl = server.url("source");
      const storeUrl = server.url("events");
      await prepare(sourceUrl, rows, "full");
      await onServer(sourceUrl, [
        "CREATE TABLE public.items_copy (LIKE public.items INCLUDING ALL)",
        "INSERT INTO public.items_copy SELECT * FROM public.items",
        "VACUUM ANALYZE public.items_copy",
      ]);
      const run = { sourceUrl, storeUrl, slot: SLOT };
      await capture({ ...run, isDone: ({ phase }) => phase === "tail" });
      const measure = async (what: string, state: ParityReport["state"]): Promise<void> => {
        const stop = new AbortController();
        const running = capture({ ...run, isDone: () => false, signal: stop.signal });
        const ours: number[] = [];
        const theirs: number[] = [];
        for (let round = 0; round < rounds; round++) {
          ours.push((await timed(() => verify(sourceUrl, storeUrl, state))).seconds);
          if (peer === undefined) continue;
          theirs.push((await timed(() => reladiff(peer, sourceUrl, state))).seconds);
        }
        stop.abort();
        await running;
        say(`${what.padEnd(18)} ${spread(ours, seconds)}`);
        if (theirs.length === 0) return;
        say(`  reladiff         ${spread(theirs, seconds)}`);
        const ratios = theirs.map((their, i) => their / ours[i]!);
        say(`  ratio            ${spread(ratios, ratio)} (bar 1)`);
      };
      const cold = new AbortController();
      const beside = capture({ ...run, isDone: () => false, signal: cold.signal });
      const first = await timed(() => verify(sourceUrl, storeUrl, "equal"));
      cold.abort();
      await beside;
      say(`first              ${seconds(first.seconds)}, with the fold of all events`);
      await measure("equal", "equal");
      const changed = `SET customer = customer || '!' WHERE id % ${Math.floor(rows / DIFFERENCES)} = 7`;
      await onServer(sourceUrl, [
        // What is not published is not captured: the rows change, and no event tells it.
        `ALTER PUBLICATION ${PUBLICATION} SET (publish = 'insert')`,
        `UPDATE public.items ${changed}`,
        `ALTER PUBLICATION ${PUBLICATION} SET (publish = 'insert, update, delete, truncate')`,
      ]);
      await measure(`${DIFFERENCES} differences`, "different");
    });
  } finally {
    if (peer !== undefined) rmSync(peer, { recursive: true, force: true });
  }
}

export async function verify(
  sourceUrl: string,
  storeUrl: string,
  state: ParityReport["state"],
): Promise<void> {
  const source = openPostgresSource({ url: sourceUrl, slot: SLOT, publication: PUBLICATION });
  const store = await openPostgresEventStore({ url: storeUrl });
  try {
    const report = await verifyParity(
      {
        pipeline: "bench",
        source,
        store,
        streams: STREAMS,
        waitMsMax: 60_000,
        samplesMax: DIFFERENCES,
        showValues: false,
      },
      AbortSignal.timeout(300_000),
    );
    if (report.state !== state) throw new Error(`verify: ${JSON.stringify(report)}`);
  } finally {
    await source.close();
    await store.close();
  }
}

/** @returns a folder with reladiff in it, or undefined when it cannot be had here */
function installReladiff(): string | undefined {
  const folder = mkdtempSync(join(tmpdir(), "banyan-bench-reladiff-"));
  const install = `python3 -m venv ${folder} && ${folder}/bin/pip install -q ${RELADIFF} psycopg2-binary`;
  const { status, stderr } = spawnSync("sh", ["-c", install], { encoding: "utf8" });
  if (status === 0) return folder;
  rmSync(folder, { recursive: true, force: true });
  say(
    `reladiff is left out: ${stderr.trim().split("\n").at(-1)}; it needs python3 with venv and pip`,
  );
  return undefined;
}

/** It ends with 0 when the two are equal, and with 1 when they are not. */
async function reladiff(folder: string, url: string, state: ParityReport["state"]): Promise<void> {
  const address = url.replace("postgres://", "postgresql://").replace(/\?.*$/, "");
  const columns = ["customer", "status", "amount", "updated_at"].flatMap((name) => ["-c", name]);
  const parameters = [address, "items", "items_copy", "-k", "id", ...columns, "--threads", "2"];
  let found = 0;
  const child = spawn(`${folder}/bin/reladiff`, parameters, {
    stdio: ["ignore", "pipe", "inherit"],
  });
  child.stdout.on("data", (data: Buffer) => (found += data.toString().split("\n").length - 1));
  const code = await new Promise((done) => child.once("close", done));
  // Each difference is told twice, as the row that is gone and the one that came.
  const expected = state === "equal" ? 0 : DIFFERENCES * 2;
  if (found !== expected)
    throw new Error(`reladiff ended with ${String(code)} and found ${found} lines`);
}

function seconds(value: number): string {
  return `${value.toFixed(2)} s`;
}
