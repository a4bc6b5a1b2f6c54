import { join } from "node:path";
import { createInterface } from "node:readline/promises";
import { setTimeout as sleep } from "node:timers/promises";
import { count, note, plural } from "./output.ts";
import type { Progress } from "./progress.ts";
import { isRunning } from "./running.ts";
import type { Session } from "./session.ts";
import { openRolloutState } from "./wire.ts";
import { BanyanError } from "../model/errors.ts";
import { runPipeline, type PipelineOptions } from "../pipeline/pipeline.ts";
import { requestRebaseline } from "../pipeline/rebaseline-plan.ts";
import { MovedStreams } from "../rollout/moved-streams.ts";
import type { Authority } from "../store/authority.ts";

const LOOK_MS = 250;
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
    authority: new MovedStreams(rollout.state),
    name: config.name,
    source: await source(),
    store: await store(),
    streams: config.streams,
    limits: config.limits,
    pace: config.limits,
    spillDirectory: join(config.directory, ".banyan", `spill-${config.name}`),
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
 * @returns how many were asked for now, without those that had been already
 */
export async function readAnew(
  { config, scope, store }: Session,
  options: ReadAnewOptions,
  streams: readonly string[],
  { reason, isRunning }: { readonly reason: string; readonly isRunning: boolean },
  progress: Progress,
): Promise<number> {
  const opened = await store();
  const { authority } = options;
  await authority.refresh();
  const own = streams.filter((stream) => !authority.isMoved(stream));
  if (own.length < streams.length)
    note(
      `${plural(streams.length - own.length, "stream")} left as they are: the new service decides over them`,
    );
  if (own.length === 0) return 0;
  const asked = await requestRebaseline(opened, config.name, own, reason);
  const isDone = async (): Promise<boolean> => {
    const waiting = await opened.rebaselineRequests(config.name, "0", REQUESTS_LOOKED_AT);
    return waiting.every(({ stream }) => authority.isMoved(stream));
  };
  const stop = new AbortController();
  const either = AbortSignal.any([stop.signal, scope.signal]);
  const running = isRunning
    ? undefined
    : runPipeline({ ...options, ifFree: "if-free" }, either).catch((error: unknown) => {
        // One that was just being started has it, and does it.
        if (!(error instanceof BanyanError) || error.code !== "PIPELINE_FENCED") throw error;
        progress.line("a banyan run that was started meanwhile does it");
      });
  const watching = (async () => {
    while (!either.aborted && !(await isDone())) {
      progress.update(`reading ${plural(asked, "stream")} anew`);
      await sleep(LOOK_MS, undefined, { signal: either }).catch(() => undefined);
    }
    stop.abort();
  })();
  // A run that fails ends the wait.
  const failing = running?.catch((error: unknown) => {
    stop.abort();
    throw error;
  });
  await Promise.all([failing, watching]);
  progress.stop();
  return asked;
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
