import { isFoldable } from "./as-of-snapshot.ts";
import { hashesOf, scopeOf } from "./comparison.ts";
import { HistoryCheck, type Flaw } from "./history-check.ts";
import { advanceFolds, type CompiledTables, type VerifyOptions } from "./prepare.ts";
import { foldStreams } from "../projection/fold-streams.ts";
import type { FlawedStream, FoldSnapshot } from "../store/parity-store.ts";

/** Flawed streams that are looked into; of those beyond only their number is told. */
const STREAMS_MAX = 10_000;
const STREAMS_PER_LOOK = 500;

/** What is wrong with the events themselves, whatever they fold to. */
export interface History {
  /** Streams whose events do not follow on from each other, the first {@link STREAMS_MAX} of each type. */
  readonly streams: readonly string[];
  readonly samples: readonly Flaw[];
  /** Events of pipelines that are stored beyond those that their ledgers tell of; lost ones below zero. */
  readonly untold: number;
}

/**
 * Names what is wrong with the events of streams that were marked when they were folded, and holds the
 * number of all events against what the pipelines have told of.
 *
 * Of events that may be shown by now, see `EventStore.readAll`: what is held back the next look tells. So that
 * they are all marked, kept folds are brought up to date.
 */
export async function readHistory(
  options: VerifyOptions,
  compiled: CompiledTables,
  signal: AbortSignal,
): Promise<History> {
  const { store, pipeline, samplesMax } = options;
  const { mapping, tables } = compiled;
  await advanceFolds(options, compiled, signal);
  const streams: string[] = [];
  const samples: Flaw[] = [];
  for (const stream of mapping.streams) {
    const folds = await store.parity.openFolds(
      scopeOf(pipeline, hashesOf(mapping, stream, tables)),
    );
    try {
      const flawed = await folds.flawed(STREAMS_MAX);
      for (let at = 0; at < flawed.length; at += STREAMS_PER_LOOK) {
        const some = flawed.slice(at, at + STREAMS_PER_LOOK);
        for (const flaws of await flawsOf(some, folds, compiled, signal)) {
          streams.push(flaws[0]!.stream);
          samples.push(...flaws.slice(0, samplesMax - samples.length));
        }
      }
    } finally {
      await folds.close();
    }
  }
  const { stored, told, settled } = await store.parity.countEvents();
  return { streams, samples, untold: stored - told - settled };
}

/** Of each stream that has any, in order. */
async function flawsOf(
  streams: readonly FlawedStream[],
  folds: FoldSnapshot,
  { recorded, folder }: CompiledTables,
  signal: AbortSignal,
): Promise<readonly (readonly Flaw[])[]> {
  const check = new HistoryCheck(recorded);
  const skipped = new Set(streams.filter((one) => one.hasSkipped).map(({ stream }) => stream));
  const events = folds.events(
    streams.map(({ stream }) => stream),
    signal,
  );
  const found: (readonly Flaw[])[] = [];
  const folding = foldStreams(events, folder, (event, state) => {
    check.look(state, event);
    return isFoldable(event);
  });
  for await (const { stream } of folding) {
    const all = check.take();
    // A change that was skipped on purpose is missing, and what comes behind it shows that.
    const flaws = skipped.has(stream) ? all.filter(({ verdict }) => verdict !== "broken") : all;
    if (flaws.length > 0) found.push(flaws);
  }
  return found;
}
