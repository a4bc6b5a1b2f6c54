import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { StreamRef } from "../../src/mapping/rules.ts";
import { compileMapping } from "../../src/mapping/compile.ts";
import type { Position } from "../../src/model/position.ts";
import { runPipeline } from "../../src/pipeline/pipeline.ts";
import type { TailLimits } from "../../src/pipeline/tail.ts";
import { foldStreams, type FoldedStream } from "../../src/projection/fold-streams.ts";
import { Folder, type StreamState } from "../../src/projection/fold.ts";
import type { ChangeSource } from "../../src/source/change-source.ts";
import type { EventStore, FoldEvent } from "../../src/store/event-store.ts";
import { HistoryCheck } from "../../src/verify/history-check.ts";
import type { ParityReport } from "../../src/verify/parity-report.ts";
import { verifyParity } from "../../src/verify/verify-parity.ts";

/** A pipeline that is run in steps: each time until all that was committed by then is in the store. */
export interface Capture extends AsyncDisposable {
  readonly store: EventStore;
  /** Runs the pipeline until it has passed all that is committed now; the first time with the baseline. */
  catchUp(limits?: Partial<TailLimits>): Promise<void>;
  /** Compares folds and rows as `banyan verify` does, with the pipeline running beside it. */
  verify(): Promise<ParityReport>;
  /** All streams of a type, folded. */
  fold(streamType: string): Promise<FoldedStream[]>;
  /** What the runs so far said of changed shapes. */
  readonly drifts: readonly string[];
}

export interface CaptureOptions {
  readonly name: string;
  /** A new source on the same log each time; closed here. */
  readonly openSource: () => ChangeSource;
  /** The caller's to close. */
  readonly store: EventStore;
  readonly streams: Readonly<Record<string, StreamRef>>;
}

const LIMITS: TailLimits = {
  batchChangesMax: 1_000,
  batchBytesMax: 16 * 1024 * 1024,
  lingerMs: 0,
  transactionChangesMax: 10_000,
  transactionBytesMax: 64 * 1024 * 1024,
  idleMs: 20,
};
const CATCH_UP_MS_MAX = 90_000;

export async function openCapture(options: CaptureOptions): Promise<Capture> {
  const { name, store, streams } = options;
  const spillDirectory = await mkdtemp(join(tmpdir(), "banyan-spill-"));
  const drifts: string[] = [];

  const run = async (
    source: ChangeSource,
    limits: Partial<TailLimits>,
    signal: AbortSignal,
    onCheckpoint: (checkpoint: Position) => void,
  ): Promise<void> => {
    await runPipeline(
      {
        name,
        source,
        store,
        streams,
        limits: { ...LIMITS, ...limits },
        spillDirectory,
        onProgress: ({ phase, positions }) => {
          if (phase === "tail" && positions.checkpoint !== undefined)
            onCheckpoint(positions.checkpoint);
        },
        onDrift: (drift) => void drifts.push(JSON.stringify(drift)),
      },
      signal,
    );
  };

  return {
    store,
    drifts,
    async catchUp(limits = {}) {
      const source = options.openSource();
      const stop = new AbortController();
      try {
        const fence = await source.fence();
        const signal = AbortSignal.any([stop.signal, AbortSignal.timeout(CATCH_UP_MS_MAX)]);
        await run(source, limits, signal, (checkpoint) => {
          if (checkpoint >= fence) stop.abort();
        });
        if (!stop.signal.aborted) throw new Error(`the pipeline did not reach ${fence}`);
      } finally {
        await source.close();
      }
    },
    async verify() {
      const [tailed, compared] = [options.openSource(), options.openSource()];
      const stop = new AbortController();
      const signal = AbortSignal.any([stop.signal, AbortSignal.timeout(CATCH_UP_MS_MAX)]);
      const running = run(tailed, {}, signal, () => undefined);
      try {
        const verifying = verifyParity(
          {
            pipeline: name,
            source: compared,
            store,
            streams,
            waitMsMax: CATCH_UP_MS_MAX,
            samplesMax: 10,
            showValues: true,
          },
          signal,
        );
        // A pipeline that fails would leave the comparison waiting.
        return await Promise.race([
          verifying,
          running.then(() => Promise.reject<never>(new Error("the pipeline ended"))),
        ]);
      } finally {
        stop.abort();
        await running;
        await Promise.all([tailed.close(), compared.close()]);
      }
    },
    async fold(streamType) {
      const inverses = compileMapping(streams, []).inverses();
      const mappings = await store.mappings();
      const folder = new Folder(mappings, inverses);
      const check = new HistoryCheck(mappings);
      const events = store.readStreamType(streamType, AbortSignal.timeout(CATCH_UP_MS_MAX));
      const folded: FoldedStream[] = [];
      const look = (event: FoldEvent, state: StreamState): boolean => {
        check.look(state, event);
        return true;
      };
      for await (const stream of foldStreams(events, folder, look)) {
        folded.push(stream);
        const flaws = check.take();
        if (flaws.length > 0) throw new Error(`no history: ${JSON.stringify(flaws)}`);
      }
      return folded;
    },
    async [Symbol.asyncDispose]() {
      await rm(spillDirectory, { recursive: true, force: true });
    },
  };
}
