import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { SourceDatabase } from "./source-support.ts";
import { stream, table } from "../../../src/mapping/rules.ts";
import { runPipeline } from "../../../src/pipeline/pipeline.ts";
import type { PipelineStatus } from "../../../src/pipeline/status.ts";
import type { TailLimits } from "../../../src/pipeline/tail.ts";
import type { EventStore } from "../../../src/store/event-store.ts";

/** A table with its mapping, for tests that need a whole pipeline but are not about mapping. */
export const BANYAN_TABLE = "CREATE TABLE item (id int PRIMARY KEY, name text)";
export const PIPELINE = "items";

const LIMITS: TailLimits = {
  batchChangesMax: 100,
  batchBytesMax: 1024 * 1024,
  lingerMs: 0,
  transactionChangesMax: 1_000,
  transactionBytesMax: 1024 * 1024,
  idleMs: 50,
};
const RUN_MS_MAX = 100_000;

/** Runs the pipeline of {@link BANYAN_TABLE} until `enough`, or fails in the end. */
export async function runUntil(
  db: SourceDatabase,
  store: EventStore,
  enough: (status: PipelineStatus) => boolean,
  limits: Partial<TailLimits> = {},
): Promise<PipelineStatus> {
  const spillDirectory = await mkdtemp(join(tmpdir(), "banyan-spill-"));
  const stop = new AbortController();
  const late = setTimeout(() => stop.abort(), RUN_MS_MAX);
  const source = db.open();
  let reached: PipelineStatus | undefined;
  try {
    await runPipeline(
      {
        name: PIPELINE,
        source,
        store,
        streams: { item: stream(table("item"), { otherwise: "ItemAmended" }) },
        limits: { ...LIMITS, ...limits },
        spillDirectory,
        onProgress(status) {
          if (reached !== undefined || !enough(status)) return;
          reached = status;
          stop.abort();
        },
      },
      stop.signal,
    );
    if (reached === undefined) throw new Error("the pipeline did not get there in time");
    return reached;
  } finally {
    clearTimeout(late);
    await source.close();
    await rm(spillDirectory, { recursive: true, force: true });
  }
}
