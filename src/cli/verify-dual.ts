import { describeDual, describeLeft } from "./dual-text.ts";
import { note, writeResult } from "./output.ts";
import { isRunning } from "./running.ts";
import type { Session } from "./session.ts";
import { BanyanError, EXIT } from "../model/errors.ts";
import { reportDual } from "../verify/dual/dual-report.ts";
import { judgeOnce } from "../verify/dual/judge-once.ts";
import type { RunJudgeOptions } from "../verify/dual/run-judge.ts";

export interface VerifyDualArgs {
  readonly json: boolean;
  readonly since: string;
  readonly samples: number;
  readonly showValues: boolean;
  readonly judgeOnce: boolean;
  readonly wait: number;
}

const UNIT_MS: Readonly<Record<string, number>> = {
  s: 1_000,
  min: 60_000,
  h: 3_600_000,
  d: 86_400_000,
};
/** A judge that runs has judged a write by then. */
const LATE_MS = 15_000;

/** `1h` → milliseconds. @throws Error that says how it is written; the parser keeps only the message */
export function sinceMs(text: string): number {
  const [, digits, unit] = /^([1-9]\d{0,5})(s|min|h|d)$/.exec(text) ?? [];
  if (digits === undefined || unit === undefined)
    throw new Error("--since is a number with its unit, as 30min, 1h or 2d");
  return Number(digits) * UNIT_MS[unit]!;
}

/** `banyan verify --dual`: gives verdicts where nobody else does, and tells those that there are. */
export async function verifyDual(args: VerifyDualArgs, session: Session): Promise<void> {
  const { config, scope } = session;
  const store = await session.store();
  const record = await store.pipeline(config.name);
  if (record === undefined) {
    throw new BanyanError("PIPELINE_UNKNOWN", `there is no pipeline ${config.name} in the store`, {
      hint: "Start it with: banyan run",
    });
  }
  const options: Omit<RunJudgeOptions, "fence"> = {
    pipeline: config.name,
    store,
    streams: config.streams,
    settings: config.dual,
  };
  const isCaptured = await isRunning(store, record);
  if (args.judgeOnce || (isCaptured && (await hasLate(options)))) {
    const source = await session.source();
    const until = args.judgeOnce ? "all" : "due";
    await judgeOnce(
      { ...options, fence: () => source.fence() },
      until,
      args.wait * 1000,
      scope.signal,
    );
  } else if (!isCaptured)
    note("the pipeline does not run, so that nothing new can be judged: banyan run");
  const report = await reportDual(store.dual, {
    pipeline: config.name,
    streamTypes: Object.keys(config.streams),
    sinceMs: Date.now() - sinceMs(args.since),
    samplesPerRoute: args.samples,
    showValues: args.showValues,
  });
  if (args.judgeOnce && report.waiting > 0) note(describeLeft(report.waiting));
  writeResult(args.json, report, () => describeDual(report));
  process.exitCode = { pass: EXIT.ok, fail: EXIT.findings, inconclusive: EXIT.environment }[
    report.state
  ];
}

/** Whether something waits that a judge would have judged. */
async function hasLate({
  pipeline,
  store,
  settings,
}: Omit<RunJudgeOptions, "fence">): Promise<boolean> {
  const windowMs = settings.windowSeconds * 1000;
  const answeredBefore = Date.now() - windowMs - LATE_MS;
  const page = { answeredBefore, after: undefined, windowMs, limit: 1 };
  return (await store.dual.waiting(pipeline, page)).length > 0;
}
