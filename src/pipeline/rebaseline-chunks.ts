import { runPipeline, type PipelineOptions } from "./pipeline.ts";
import { BanyanError, invariant } from "../model/errors.ts";
import type { Position } from "../model/position.ts";
import { pause } from "../runtime/pause.ts";
import type { BaselineRecord } from "../store/event-store.ts";

/** Between two looks at whether whoever runs the pipeline has read all. */
const LOOK_MS = 500;

/** Stream types of the config that are being read anew, because the place in the log was lost. */
export function readAnewNow(
  records: readonly BaselineRecord[],
  streams: PipelineOptions["streams"],
): readonly BaselineRecord[] {
  return records.filter((record) => isReadAnew(record) && Object.hasOwn(streams, record.stream));
}

export function isReadAnew({ gap, done }: BaselineRecord): boolean {
  return gap !== undefined && !done;
}

/** What the newest rebaseline has read in chunks so far. */
export interface ReadAnewInChunks {
  /** Where the last of the rows were read. */
  readonly to: Position;
  readonly restated: number;
  readonly gone: number;
  readonly moved: number;
  /** Stream types that are not read to their end. */
  readonly unfinished: readonly string[];
}

/**
 * Runs the pipeline until all that is being read anew in chunks is read, or the signal aborts. When
 * another process runs it, that one reads, and is waited for; when it ends before, this one goes on.
 */
export async function readAnewInChunks(
  options: PipelineOptions,
  signal: AbortSignal,
): Promise<ReadAnewInChunks> {
  const { name, store, streams } = options;
  for (;;) {
    const records = (await store.pipeline(name))?.baselines ?? [];
    if (signal.aborted || readAnewNow(records, streams).length === 0)
      return sumUp(records, streams);
    if (!(await runUntilRead(options, signal))) await pause(LOOK_MS, signal);
  }
}

function sumUp(
  records: readonly BaselineRecord[],
  streams: PipelineOptions["streams"],
): ReadAnewInChunks {
  const newest = ofNewest(records);
  const sum = (of: (record: BaselineRecord) => number): number =>
    newest.reduce((total, record) => total + of(record), 0);
  const ends = newest.map(({ chunks, position }) => chunks.at(-1)?.fence ?? position);
  const to = ends.toSorted().at(-1);
  invariant(to !== undefined, "something is read anew");
  return {
    to,
    restated: sum(({ aggregates }) => aggregates),
    gone: sum(({ gap }) => gap!.gone),
    moved: sum(({ gap }) => gap!.moved),
    unfinished: readAnewNow(newest, streams).map(({ stream }) => stream),
  };
}

/** @returns false when another process runs it */
async function runUntilRead(options: PipelineOptions, signal: AbortSignal): Promise<boolean> {
  const done = new AbortController();
  const onProgress: PipelineOptions["onProgress"] = (status) => {
    options.onProgress?.(status);
    if (status.phase !== "baseline") done.abort();
  };
  try {
    const own = { ...options, onProgress, ifFree: "if-free" } as const;
    await runPipeline(own, AbortSignal.any([signal, done.signal]));
    return true;
  } catch (error) {
    if (error instanceof BanyanError && error.code === "PIPELINE_FENCED") return false;
    throw error;
  }
}

/** What began last, at one place in the log. */
function ofNewest(records: readonly BaselineRecord[]): readonly BaselineRecord[] {
  const anew = records.filter(({ gap }) => gap !== undefined);
  const newest = anew
    .map(({ position }) => position)
    .toSorted()
    .at(-1);
  return anew.filter(({ position }) => position === newest);
}
