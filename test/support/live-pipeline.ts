import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import type { StreamRef } from "../../src/mapping/rules.ts";
import type { Drift } from "../../src/mapping/drift.ts";
import { runPipeline, type PipelineOptions } from "../../src/pipeline/pipeline.ts";
import type { PipelineStatus } from "../../src/pipeline/status.ts";
import type { TailLimits } from "../../src/pipeline/tail.ts";
import type { ChangeSource } from "../../src/source/change-source.ts";
import type { EventStore } from "../../src/store/event-store.ts";
import type { ParityReport } from "../../src/verify/parity-report.ts";
import { verifyParity } from "../../src/verify/verify-parity.ts";

export const TEST_LIMITS: TailLimits = {
  batchChangesMax: 1_000,
  batchBytesMax: 16 * 1024 * 1024,
  lingerMs: 0,
  transactionChangesMax: 10_000,
  transactionBytesMax: 64 * 1024 * 1024,
  idleMs: 50,
};
const REACH_MS_MAX = process.env["BANYAN_TEST_BUDGET"] === "nightly" ? 900_000 : 100_000;

export interface LivePipelineOptions {
  readonly name: string;
  /** A new source on the same log each time; closed here. */
  readonly openSource: () => ChangeSource;
  /** The caller's to close. */
  readonly store: EventStore;
  readonly streams: Readonly<Record<string, StreamRef>>;
  readonly limits?: Partial<TailLimits>;
  /** Anything else. */
  readonly more?: Partial<PipelineOptions>;
}

/** A pipeline that runs beside a test until it is stopped. */
export interface LivePipeline extends AsyncDisposable {
  readonly drifts: readonly Drift[];
  readonly status: () => PipelineStatus | undefined;
  /** Waits until all that is committed now is in the store. */
  reach(): Promise<void>;
  /** Waits until something holds; fails when the pipeline does, or after some minutes. */
  until(holds: () => boolean | Promise<boolean>): Promise<void>;
  verify(): Promise<ParityReport>;
  /** Ends it as the first signal would. Rejects with what the pipeline failed with. */
  stop(): Promise<void>;
}

export async function startPipeline(options: LivePipelineOptions): Promise<LivePipeline> {
  const { name, store, streams } = options;
  const [source, other] = [options.openSource(), options.openSource()];
  const spillDirectory = await mkdtemp(join(tmpdir(), "banyan-spill-"));
  const stopping = new AbortController();
  const drifts: Drift[] = [];
  let status: PipelineStatus | undefined;
  let failure: unknown;
  let ended = false;
  const running = runPipeline(
    {
      name,
      source,
      store,
      streams,
      limits: { ...TEST_LIMITS, ...options.limits },
      spillDirectory,
      onProgress: (now) => (status = now),
      onDrift: (drift) => void drifts.push(drift),
      ...options.more,
    },
    stopping.signal,
  ).then(
    () => (ended = true),
    (error: unknown) => {
      failure = error;
      ended = true;
    },
  );
  const until = async (holds: () => boolean | Promise<boolean>): Promise<void> => {
    const deadline = Date.now() + REACH_MS_MAX;
    while (!(await holds())) {
      if (ended) throw failure ?? new Error("the pipeline ended");
      if (Date.now() > deadline) throw new Error("the pipeline did not get there in time");
      await sleep(10);
    }
  };
  const stop = async (): Promise<void> => {
    stopping.abort();
    await running;
    if (failure !== undefined) throw failure;
  };
  return {
    drifts,
    status: () => status,
    until,
    stop,
    async reach() {
      const fence = await other.fence();
      await until(async () => {
        const record = await store.pipeline(name);
        return record?.checkpoint !== undefined && record.checkpoint >= fence;
      });
    },
    verify: () =>
      verifyParity(
        {
          pipeline: name,
          source: other,
          store,
          streams,
          waitMsMax: REACH_MS_MAX,
          samplesMax: 10,
          showValues: true,
        },
        AbortSignal.timeout(REACH_MS_MAX),
      ),
    async [Symbol.asyncDispose]() {
      await stop().catch(() => undefined);
      await Promise.all([source.close(), other.close()]);
      await rm(spillDirectory, { recursive: true, force: true });
    },
  };
}
