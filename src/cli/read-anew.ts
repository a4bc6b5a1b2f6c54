import { createInterface } from "node:readline/promises";
import { count, describeNotReadAnew, note, plural } from "./output.ts";
import { pipelineOptions } from "./pipeline-options.ts";
import type { Progress } from "./progress.ts";
import { isRunning } from "./running.ts";
import type { Session } from "./session.ts";
import { openRolloutState } from "./wire.ts";
import { BanyanError } from "../model/errors.ts";
import { runPipeline, type PipelineOptions } from "../pipeline/pipeline.ts";
import { requestRebaseline } from "../pipeline/rebaseline-plan.ts";
import type { NotReadAnew, PipelineStatus } from "../pipeline/status.ts";
import { MovedStreams } from "../rollout/moved-streams.ts";
import type { Authority } from "../store/authority.ts";
import type { EventStore } from "../store/event-store.ts";
import { pause } from "../runtime/pause.ts";

const LOOK_MS = 250;
/** Between two looks at whether somebody still runs the pipeline. */
const LOOK_AT_RUN_MS = 2_000;
/** A run that ended may have been restarted, which takes a moment. */
const GONE_MS_MAX = 10_000;
/** Between two counts of what is left. */
const COUNT_MS = 5_000;
/** Requests that may wait for legacy to decide again. */
const REQUESTS_LOOKED_AT = 1_000;

/** What a pipeline is run with in passing. */
export type ReadAnewOptions = PipelineOptions & { readonly authority: Authority };

export async function pipelineOptionsOf(
  { config, scope, source, store }: Session,
  progress: Progress,
): Promise<ReadAnewOptions> {
  const rollout = await openRolloutState(config);
  scope.defer(() => rollout.close());
  return {
    ...pipelineOptions(config, await source(), await store()),
    authority: new MovedStreams(rollout.state),
    onProgress: ({ ledger }) => progress.update(`${count(ledger.events)} events`),
  };
}

/** Whether some process runs the pipeline. @throws BanyanError `PIPELINE_UNKNOWN` without a baseline */
export async function isPipelineRunning({ config, store }: Session): Promise<boolean> {
  const opened = await store();
  const record = await opened.pipeline(config.name);
  if (record?.checkpoint === undefined) {
    throw new BanyanError("PIPELINE_UNKNOWN", `pipeline ${config.name} has no baseline yet`, {
      hint: "Run: banyan run",
    });
  }
  return await isRunning(opened, record);
}

/** Says on stderr what reading streams anew does. */
export function noteReadAnew(pipeline: string, streams: number, isRunning: boolean): void {
  note(
    `${plural(streams, "stream")} of ${pipeline}: each is read anew and gets an event …HistoryGapped with its rows as they are; ` +
      `what was told before is kept, and is no longer what the aggregate follows from. ${isRunning ? "The pipeline that runs does it." : "Nothing runs; it is done here."}`,
  );
}

/**
 * Has streams read anew, by the pipeline that runs or else here, and waits until it is done or the
 * session ends. Those over which the new service decides are left: their rows follow their events.
 *
 * @param reason for people; it stands in the events
 * @returns how many were asked for now, without those that had been already, and what could not be read
 * @throws BanyanError `PIPELINE_STOPPED` when the run that was to do it has ended
 */
export async function readAnew(
  { config, scope, store }: Session,
  options: ReadAnewOptions,
  streams: readonly string[],
  { reason, isRunning: isOthers }: { readonly reason: string; readonly isRunning: boolean },
  progress: Progress,
): Promise<ReadAnew> {
  const opened = await store();
  const { authority } = options;
  await authority.refresh();
  const own = streams.filter((stream) => !authority.isMoved(stream));
  if (own.length < streams.length)
    note(
      `${plural(streams.length - own.length, "stream")} left as they are: the new service decides over them`,
    );
  if (own.length === 0) return { asked: 0, readAnew: 0, notReadAnew: [] };
  const { last } = await opened.rebaselineTally(config.name, "0");
  progress.update(`asking for ${plural(own.length, "stream")}`);
  const asked = await requestRebaseline(opened, config.name, own, reason);
  const stop = new AbortController();
  const either = AbortSignal.any([stop.signal, scope.signal]);
  const by = { isOthers };
  const running = isOthers
    ? undefined
    : runPipeline({ ...options, ifFree: "if-free" }, either).catch((error: unknown) => {
        // One that was just being started has it, and does it.
        if (!(error instanceof BanyanError) || error.code !== "PIPELINE_FENCED") throw error;
        by.isOthers = true;
        progress.line("a banyan run that was started meanwhile does it");
      });
  // A run that fails ends the wait, and the other way round.
  const ending = <T>(work: Promise<T>): Promise<T> => work.finally(() => stop.abort());
  let countedMs = performance.now();
  progress.update(`reading ${plural(asked, "stream")} anew`);
  const onLook = async (): Promise<void> => {
    if (performance.now() - countedMs < COUNT_MS) return;
    const { waiting: left } = await opened.rebaselineTally(config.name, last);
    progress.update(`reading ${plural(asked, "stream")} anew, ${count(left)} left`);
    countedMs = performance.now();
  };
  const waiting = ending(
    untilReadAnew(
      opened,
      config.name,
      { isOthers: () => by.isOthers, isLeft: (stream) => authority.isMoved(stream), onLook },
      either,
    ),
  );
  const failing = running?.catch((error: unknown) => {
    stop.abort();
    throw error;
  });
  await Promise.all([failing, waiting]);
  progress.stop();
  const notReadAnew = await notReadOf(opened, config.name, streams);
  for (const one of notReadAnew) note(describeNotReadAnew(one));
  const tally = await opened.rebaselineTally(config.name, last);
  return { asked, readAnew: tally.readAnew, notReadAnew };
}

export interface ReadAnew {
  readonly asked: number;
  /** Less than were asked for where some could not be read, were withdrawn, or wait. */
  readonly readAnew: number;
  /** Of the streams that were asked for. */
  readonly notReadAnew: readonly NotReadAnew[];
}

/** What came of it, in one line. */
export function describeReadAnew({ asked, readAnew: done, notReadAnew }: ReadAnew): string {
  const others = asked - done - notReadAnew.length;
  const rest = others > 0 ? `, ${count(others)} withdrawn or left to the new service` : "";
  return `${plural(done, "stream")} read anew${rest}`;
}

/**
 * Waits until all that was asked for is settled, or the signal aborts.
 *
 * @throws BanyanError `PIPELINE_STOPPED` when another process was to do it and has ended
 */
export async function untilReadAnew(
  store: EventStore,
  pipeline: string,
  {
    isOthers,
    isLeft = () => false,
    onLook,
    goneMsMax = GONE_MS_MAX,
    lookAtRunMs = LOOK_AT_RUN_MS,
  }: {
    readonly isOthers: () => boolean;
    /** Streams that nobody reads anew for now. */
    readonly isLeft?: (stream: string) => boolean;
    readonly onLook: () => void | Promise<void>;
    readonly goneMsMax?: number;
    readonly lookAtRunMs?: number;
  },
  signal: AbortSignal,
): Promise<void> {
  let lastSeenMs = performance.now();
  let lookedMs = lastSeenMs;
  const isOver = async (): Promise<boolean> => {
    const waiting = await store.rebaselineRequests(pipeline, "0", REQUESTS_LOOKED_AT);
    return waiting.every(({ stream }) => isLeft(stream));
  };
  while (!signal.aborted && !(await isOver())) {
    await onLook();
    const nowMs = performance.now();
    if (!isOthers()) lastSeenMs = nowMs;
    else if (nowMs - lookedMs >= lookAtRunMs) {
      lookedMs = nowMs;
      const record = await store.pipeline(pipeline);
      if (record !== undefined && (await isRunning(store, record))) lastSeenMs = nowMs;
      if (nowMs - lastSeenMs >= goneMsMax) throw stopped(pipeline);
    }
    await pause(LOOK_MS, signal);
  }
}

function stopped(pipeline: string): BanyanError {
  return new BanyanError(
    "PIPELINE_STOPPED",
    `the process that ran ${pipeline} has ended before all was read anew`,
    {
      hint: "What was asked for is kept. Run: banyan run; or the same command again, which then does it itself.",
    },
  );
}

async function notReadOf(
  store: EventStore,
  pipeline: string,
  streams: readonly string[],
): Promise<readonly NotReadAnew[]> {
  const status = (await store.pipeline(pipeline))?.status as Partial<PipelineStatus> | undefined;
  const asked = new Set(streams);
  return status?.notReadAnew?.filter(({ stream }) => asked.has(stream)) ?? [];
}

/** @throws BanyanError `USAGE` where nobody can be asked */
export async function isConfirmed(yes: boolean): Promise<boolean> {
  if (yes) return true;
  if (!process.stdin.isTTY) {
    throw new BanyanError("USAGE", "nobody can be asked here whether to do it", {
      hint: "Run it again with --yes",
    });
  }
  const terminal = createInterface({ input: process.stdin, output: process.stderr });
  try {
    return /^y(es)?$/i.test((await terminal.question("Do it? [y/N] ")).trim());
  } finally {
    terminal.close();
  }
}
