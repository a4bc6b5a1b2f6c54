import type { CommandModule } from "yargs";
import { count, describeBaseline, note, plural, writeResult } from "../output.ts";
import { Progress } from "../progress.ts";
import {
  isConfirmed,
  isPipelineRunning,
  noteReadAnew,
  pipelineOptionsOf,
  describeReadAnew,
  readAnew,
  type ReadAnewOptions,
} from "../read-anew.ts";
import { tellPlans } from "../tell-plans.ts";
import { withSession, type CommonArgs, type Session } from "../session.ts";
import type { BaselineMode } from "../../pipeline/baseline-plan.ts";
import type { PipelineOptions } from "../../pipeline/pipeline.ts";
import { rebaselinePipeline } from "../../pipeline/rebaseline.ts";
import {
  requestedOfTypes,
  requireStreams,
  streamsOfTypes,
} from "../../pipeline/rebaseline-plan.ts";

interface RebaselineArgs extends CommonArgs {
  readonly stream: readonly string[];
  readonly type: readonly string[];
  readonly baseline: BaselineMode;
  readonly withdraw: boolean;
  readonly yes: boolean;
}

export const rebaselineCommand: CommandModule<object, RebaselineArgs> = {
  command: "rebaseline",
  describe:
    "Read aggregates anew and note in each that its history has a gap: all after the place in the log was lost, or some",
  builder: (y) =>
    y
      .option("stream", {
        type: "string",
        array: true,
        default: [],
        describe: "Only these streams, e.g. order-1 order-2, of a pipeline that goes on",
      })
      .option("type", {
        type: "string",
        array: true,
        default: [],
        describe: "Likewise all streams of these types",
      })
      .option("baseline", {
        choices: ["auto", "snapshot", "chunked"] as const,
        default: "auto",
        describe:
          "After a lost place: how the rows are read, under one snapshot or in chunks that a kill does not undo; auto takes chunks where that is worth it and possible",
      })
      .option("withdraw", {
        type: "boolean",
        default: false,
        describe:
          "Read nothing: take back what was asked for and is not done, of the named streams and types, or all of it",
      })
      .option("yes", {
        type: "boolean",
        default: false,
        describe: "Do it without asking; needed where nobody can be asked",
      }) as never,
  handler: (args) =>
    withSession(args, async (session) => {
      if (args.withdraw) return await withdraw(args, session);
      const progress = new Progress();
      session.scope.defer(() => progress.stop());
      const options = await pipelineOptionsOf(session, progress);
      if (args.stream.length + args.type.length > 0)
        await someStreams(args, session, options, progress);
      else await wholeLog(args, session, options, progress);
    }),
};

async function wholeLog(
  args: RebaselineArgs,
  { config, scope }: Session,
  options: PipelineOptions,
  progress: Progress,
): Promise<void> {
  const isWanted = async (plan: { readonly from: string; readonly reason: string }) => {
    note(`the place of ${config.name} in the log is lost: ${plan.reason}`);
    note(
      `Every aggregate gets an event …HistoryGapped: what happened since ${plan.from} is not known, and these are its rows now. ` +
        "Then the log is followed from there.",
    );
    return await isConfirmed(args.yes);
  };
  const how: PipelineOptions = {
    ...options,
    baseline: args.baseline,
    onBaseline: (plans) => tellPlans(progress, plans),
    onProgress: ({ phase, baseline }) => {
      if (phase === "baseline" && baseline !== undefined)
        progress.update(describeBaseline(baseline));
    },
  };
  const done = await rebaselinePipeline(how, isWanted, scope.signal, (aggregates) =>
    progress.update(`read anew: ${plural(aggregates, "aggregate")}`),
  );
  progress.stop();
  if (done === undefined) return refused();
  const { unfinished, ...counts } = done;
  const document = {
    pipeline: config.name,
    asked: done.restated + done.gone,
    ...counts,
    ...(unfinished.length === 0 ? {} : { unfinished }),
  };
  writeResult(args.json, document, () =>
    [
      `${plural(done.restated, "aggregate")} restated, ${count(done.gone)} gone${done.moved === 0 ? "" : `, ${count(done.moved)} left to the new service`}; history is not known from ${done.from} to ${done.to}`,
      unfinished.length === 0
        ? "next: banyan run  |  banyan verify"
        : `not finished: ${unfinished.join(", ")}\nnext: banyan run  |  banyan rebaseline, each of which goes on behind the last chunk`,
    ].join("\n"),
  );
}

async function someStreams(
  args: RebaselineArgs,
  session: Session,
  options: ReadAnewOptions,
  progress: Progress,
): Promise<void> {
  const { config, scope } = session;
  const isRunning = await isPipelineRunning(session);
  await requireStreams(options, args.stream);
  if (args.type.length > 0) progress.update(`gathering the streams of ${args.type.join(", ")}`);
  const ofTypes = await streamsOfTypes(options, args.type, scope.signal);
  const streams = [...new Set([...args.stream, ...ofTypes])];
  progress.stop();
  noteReadAnew(config.name, streams.length, isRunning);
  if (!(await isConfirmed(args.yes))) return refused();
  const how = { reason: "asked for", isRunning };
  const done = await readAnew(session, options, streams, how, progress);
  const { asked, notReadAnew } = done;
  const document = {
    pipeline: config.name,
    asked,
    readAnew: done.readAnew,
    ...(notReadAnew.length === 0 ? {} : { notReadAnew }),
  };
  writeResult(args.json, document, () =>
    scope.signal.aborted
      ? `${plural(asked, "stream")} asked for; the next banyan run goes on with what is left`
      : `${describeReadAnew(done)}\nnext: banyan verify`,
  );
}

async function withdraw(args: RebaselineArgs, { config, store }: Session): Promise<void> {
  const opened = await store();
  const isAll = args.stream.length + args.type.length === 0;
  const streams = isAll
    ? undefined
    : [...args.stream, ...(await requestedOfTypes(opened, config.name, args.type))];
  const withdrawn = await opened.withdrawRebaselines(config.name, streams);
  writeResult(args.json, { pipeline: config.name, withdrawn }, () =>
    withdrawn === 0
      ? "nothing of it waits to be read anew"
      : `${plural(withdrawn, "stream")} no longer to be read anew; what the streams hold is as it was`,
  );
}

function refused(): void {
  note("nothing was changed");
}
