import type { CommandModule } from "yargs";
import { numberOption } from "../number-option.ts";
import { count, note, plural, renderTable, writeResult } from "../output.ts";
import { writePage } from "../page.ts";
import { Progress } from "../progress.ts";
import { runWithRetries } from "../retries.ts";
import { isRunning } from "../running.ts";
import {
  isConfirmed,
  isPipelineRunning,
  noteReadAnew,
  pipelineOptionsOf,
  readAnew,
  type ReadAnewOptions,
} from "../read-anew.ts";
import { withSession, type CommonArgs, type Session } from "../session.ts";
import { sinceMs, verifyDual } from "../verify-dual.ts";
import { parityHtml } from "../verify-html.ts";
import { BanyanError, EXIT } from "../../model/errors.ts";
import { FINDINGS_MAX } from "../../verify/findings.ts";
import type { Flaw } from "../../verify/history-check.ts";
import type { ParityReport, ParityState } from "../../verify/parity-report.ts";
import { sweepParity, type Sweep, type VerifyOptions } from "../../verify/verify-parity.ts";
import {
  watchParity,
  WatchMemory,
  type WatchOptions,
  type WatchRound,
} from "../../verify/watch-parity.ts";

interface VerifyArgs extends CommonArgs {
  readonly wait: number;
  readonly samples: number;
  readonly showValues: boolean;
  readonly refold: boolean;
  readonly html: string | undefined;
  readonly watch: boolean;
  readonly checkEvery: number;
  readonly sweepEvery: number;
  readonly busyAbove: number;
  readonly repair: boolean;
  readonly yes: boolean;
  readonly dual: boolean;
  readonly since: string;
  readonly judgeOnce: boolean;
}

export const verifyCommand: CommandModule<object, VerifyArgs> = {
  command: "verify",
  describe: "Compare folded events with legacy rows as of one exact position",
  builder: (y) =>
    y
      .option("wait", {
        ...numberOption("wait", {
          min: 0,
          max: 86_400,
          describe: "Seconds to wait for the pipeline to reach the fence",
        }),
        default: 60,
      })
      .option("samples", {
        ...numberOption("samples", { min: 0, max: 10_000, describe: "Differences to show" }),
        default: 20,
      })
      .option("show-values", {
        type: "boolean",
        default: false,
        describe: "Show values of differing columns instead of their lengths",
      })
      .option("refold", {
        type: "boolean",
        default: false,
        describe: "Fold all events anew instead of trusting what is kept of earlier folds",
      })
      .option("html", {
        type: "string",
        requiresArg: true,
        describe: "Also write the report as one page to this file",
      })
      .option("watch", {
        type: "boolean",
        default: false,
        describe: "Go on until stopped: what changed at once, everything now and then",
      })
      .option("check-every", {
        ...numberOption("check-every", {
          min: 1,
          max: 3_600,
          describe: "With --watch: seconds between looks at what changed",
        }),
        default: 5,
      })
      .option("sweep-every", {
        ...numberOption("sweep-every", {
          min: 10,
          max: 604_800,
          describe: "With --watch: seconds between looks at everything",
        }),
        default: 900,
      })
      .option("busy-above", {
        ...numberOption("busy-above", {
          min: 1,
          max: 10_000,
          describe: "With --watch: a sweep waits while more sessions are at work in the source",
        }),
        default: 50,
      })
      .option("repair", {
        type: "boolean",
        default: false,
        describe: "Read aggregates that differ anew, and note in each that its history has a gap",
      })
      .option("yes", {
        type: "boolean",
        default: false,
        describe: "With --repair: do it without asking; needed where nobody can be asked",
      })
      .option("dual", {
        type: "boolean",
        default: false,
        describe: "Instead: what a service in shadow would have written, against what legacy did",
      })
      .option("since", {
        type: "string",
        requiresArg: true,
        default: "24h",
        describe: "With --dual: writes of the last 30min, 1h, 2d",
        coerce: (text: string) => (sinceMs(text), text),
      })
      .option("judge-once", {
        type: "boolean",
        default: false,
        describe: "With --dual: judge all that waits, also where banyan rollout run would",
      }) as never,
  handler: (args) =>
    withSession(args, async (session) => {
      const { config, scope, source, store } = session;
      refuseMixed(args);
      if (args.dual) return await verifyDual(args, session);
      const alone = args.repair ? "--repair" : args.html === undefined ? undefined : "--html";
      if (args.watch && alone !== undefined) {
        throw new BanyanError("USAGE", `${alone} and --watch cannot be given together`, {
          hint: "Do the one, then the other",
        });
      }
      const progress = new Progress();
      scope.defer(() => progress.stop());
      const options: VerifyOptions = {
        pipeline: config.name,
        source: await source(),
        store: await store(),
        streams: config.streams,
        waitMsMax: args.wait * 1000,
        samplesMax: args.samples,
        showValues: args.showValues,
        refold: args.refold,
        onProgress: ({ step, rows }) =>
          progress.update(rows === 0 ? step : `${step}: ${count(rows)} rows`),
      };
      if (args.watch) {
        let state: ParityState = "inconclusive";
        const watching = watchOptions(args, (round) => (state = round.state));
        const memory = new WatchMemory(watching);
        await runWithRetries(progress, scope.signal, async () => {
          await watchParity({ ...options, ...watching }, scope.signal, memory);
        });
        process.exitCode = exitCodeOf(state);
        return;
      }
      for (const type of await options.store.reverse.completed(config.name))
        note(`${type} is complete: nothing is written back any more; rows and events as of then`);
      const record = await options.store.pipeline(config.name);
      if (record !== undefined && !(await isRunning(options.store, record)))
        note(
          `nothing runs ${config.name}: start banyan run beside this, which waits ${plural(args.wait, "second")} for it`,
        );
      const first = await sweepParity(options, scope.signal);
      progress.stop();
      const { report } = args.repair
        ? await repair(args, session, options, first, progress)
        : first;
      if (args.html !== undefined) {
        writePage(args.html, parityHtml(report));
        note(`wrote ${args.html}`);
      }
      writeResult(args.json, report, () => describeParity(report));
      process.exitCode = exitCodeOf(report.state);
    }),
};

/** Options that mean nothing together. */
function refuseMixed({ dual, judgeOnce, watch, repair, refold, html }: VerifyArgs): void {
  const refuse = (message: string): never => {
    throw new BanyanError("USAGE", message, { hint: "See: banyan verify --help" });
  };
  if (judgeOnce && !dual) refuse("--judge-once is for --dual");
  const rows = { "--watch": watch, "--repair": repair, "--refold": refold, "--html": html };
  const other = Object.entries(rows).find(([, given]) => given !== undefined && given !== false);
  if (dual && other !== undefined) refuse(`${other[0]} and --dual cannot be given together`);
}

/** More than are kept by key are repaired in as many rounds. */
const REPAIR_ROUNDS_MAX = 100;

/**
 * Reads what differs anew until nothing does, each aggregate once: what differs again has a cause that
 * goes on. What other verifications find meanwhile is theirs.
 *
 * @returns the last sweep
 */
async function repair(
  args: VerifyArgs,
  session: Session,
  options: VerifyOptions,
  first: Sweep,
  progress: Progress,
): Promise<Sweep> {
  const { config, scope } = session;
  const repaired = new Set<string>();
  let sweep = first;
  let pipeline: ReadAnewOptions | undefined;
  for (let round = 0; sweep.report.state === "different"; round++) {
    const { report, differences, flawed } = sweep;
    const differing = differences.slice(0, FINDINGS_MAX).map(({ stream }) => stream);
    const found = new Set([...differing, ...flawed].slice(0, FINDINGS_MAX));
    const streams = [...found].filter((stream) => !repaired.has(stream));
    if (streams.length === 0 && round === 0 && report.history.untold !== 0)
      return await settleEvents(args, options, sweep);
    if (streams.length === 0 || round === REPAIR_ROUNDS_MAX) {
      note(whyNoMore(sweep, streams.length, round));
      return sweep;
    }
    for (const stream of streams) repaired.add(stream);
    const isRunning = await isPipelineRunning(session);
    if (round === 0) {
      note(describeParity(report));
      if (report.missing + report.extra + report.different > FINDINGS_MAX)
        note(
          `These are ${plural(FINDINGS_MAX, "difference")} at a time, and so on with the others.`,
        );
      noteReadAnew(config.name, streams.length, isRunning);
      if (!(await isConfirmed(args.yes))) {
        note("nothing was changed");
        return sweep;
      }
    }
    pipeline ??= await pipelineOptionsOf(session, progress);
    const how = { reason: "verify found a difference", isRunning };
    await readAnew(session, pipeline, streams, how, progress);
    if (report.history.untold !== 0) await options.store.parity.settleEvents();
    if (!isRunning || scope.signal.aborted) {
      // A fence is passed by a pipeline that runs.
      note("read anew; next: banyan run, and beside it banyan verify");
      return sweep;
    }
    sweep = await sweepParity({ ...options, refold: false }, scope.signal);
    progress.stop();
  }
  return sweep;
}

/** Where only the number of events is not as told, no aggregate can be named for it: it is known from then on. */
async function settleEvents(
  args: VerifyArgs,
  { store }: VerifyOptions,
  sweep: Sweep,
): Promise<Sweep> {
  note(describeParity(sweep.report));
  note(
    "No stream shows which events these are. The number is noted, and only a further one is told of.",
  );
  if (!(await isConfirmed(args.yes))) {
    note("nothing was changed");
    return sweep;
  }
  await store.parity.settleEvents();
  note("noted; next: banyan verify");
  return sweep;
}

/** @param streams that would be read anew next */
function whyNoMore({ differences, flawed }: Sweep, streams: number, round: number): string {
  if (streams > 0) return `stopped after ${count(round)} rounds; the same command goes on`;
  return differences.length + flawed.length === 0
    ? "only reverse conflicts are left, which nothing is read anew for; see banyan status"
    : "what was read anew differs again: its cause goes on";
}

function exitCodeOf(state: ParityState): number {
  if (state === "equal") return EXIT.ok;
  return state === "different" ? EXIT.findings : EXIT.environment;
}

/** Rounds come out as they end: a line of JSON each, or a line for people when something is to be said. */
function watchOptions(
  args: VerifyArgs,
  onRound: (round: WatchRound) => void,
): Pick<WatchOptions, "checkEveryMs" | "sweepEveryMs" | "activeSessionsMax" | "onRound"> {
  let said = "";
  return {
    checkEveryMs: args.checkEvery * 1000,
    sweepEveryMs: args.sweepEvery * 1000,
    activeSessionsMax: args.busyAbove,
    onRound(round) {
      onRound(round);
      if (args.json) return void process.stdout.write(`${JSON.stringify(round)}\n`);
      const line = describeRound(round);
      if (round.kind === "sweep" || line !== said) {
        process.stdout.write(`${round.at.slice(0, 19)}Z  ${line}\n`);
        if (round.state === "different")
          note("next: banyan verify, which names them  |  banyan verify --repair");
        said = line;
      }
    },
  };
}

function describeRound({ kind, state, reasons, findings, skipped = 0 }: WatchRound): string {
  const sign = state === "equal" ? "✓" : state === "different" ? "✗" : "?";
  const open =
    findings.open === 0
      ? "no findings"
      : `${plural(findings.open, "finding")}, of them ${count(findings.settled)} settled`;
  const left =
    skipped === 0 ? [] : [`${plural(skipped, "changed aggregate")} left to the next sweep`];
  return [`${sign} ${state} (${kind})`, open, ...left, ...reasons].join("; ");
}

function describeFlaw({ verdict, stream, version, table, key, columns }: Flaw): string {
  const at = `${stream} version ${version}`;
  const row = table === undefined ? "" : `: ${table} ${key}`;
  switch (verdict) {
    case "hole":
      return `${verdict}: before ${at}`;
    case "doubled":
      return `${verdict}: ${at} tells what version ${version - 1} told${row}`;
    case "mistimed":
      return `${verdict}: ${at} happened at another time than it says${row} (${columns.join(", ")})`;
    case "broken":
      return `${verdict}: ${at} does not follow from the events before it${row}${columns.length === 0 ? "" : ` (${columns.join(", ")})`}`;
  }
}

export function describeParity(report: ParityReport): string {
  const rows = report.tables.map((table) => [
    table.table,
    count(table.compared),
    count(table.missing),
    count(table.extra),
    count(table.different),
  ]);
  const lines: string[] = [];
  if (rows.length > 0) {
    lines.push(renderTable(["table", "compared", "missing", "extra", "different"], rows), "");
  }
  const place = report.fence === undefined ? "" : ` at ${report.fence}`;
  switch (report.state) {
    case "equal":
      lines.push(
        `✓ equal: ${plural(report.compared, "row")} of ${count(report.present)} compared${place}`,
      );
      break;
    case "different":
      lines.push(
        `✗ different: ${report.unexamined > 0 ? "at least " : ""}${count(report.missing)} missing, ${count(report.extra)} extra, ${count(report.different)} different of ${plural(report.compared, "row")}${place}`,
      );
      break;
    case "inconclusive":
      lines.push(`? could not tell${place}`);
  }
  for (const { table, columnsLeftOut } of report.tables) {
    if (columnsLeftOut.length > 0) {
      const columns = columnsLeftOut.join(", ");
      lines.push(`  ${table}: not compared, because generated and not in the log: ${columns}`);
    }
  }
  lines.push(...report.reasons.map((reason) => `  ${reason}`));
  for (const sample of report.samples) {
    const why = sample.reason === undefined ? "" : `: ${sample.reason}`;
    lines.push(`  ${sample.verdict}: ${sample.table} ${sample.key} (${sample.stream})${why}`);
    for (const { column, row, fold } of sample.columns) {
      lines.push(`    ${column}: row ${row ?? "NULL"}, fold ${fold ?? "NULL"}`);
    }
  }
  for (const flaw of report.history.samples) lines.push(`  ${describeFlaw(flaw)}`);
  const told = new Set(report.samples.map(({ stream }) => stream));
  for (const { stream, table, key, reason } of report.reverseConflicts.samples)
    if (!told.has(stream)) lines.push(`  not written back: ${table} ${key} (${stream}): ${reason}`);
  if (report.nextSteps.length > 0) lines.push(`next: ${report.nextSteps.join("  |  ")}`);
  return lines.join("\n");
}
