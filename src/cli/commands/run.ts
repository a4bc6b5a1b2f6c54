import type { CommandModule } from "yargs";
import {
  bytes,
  count,
  describeBaseline,
  describeLogLeft,
  describeNotReadAnew,
  plural,
  writeResult,
} from "../output.ts";
import { parseListenAddress } from "../metrics-address.ts";
import { parityNote } from "../parity-note.ts";
import { pipelineOptions } from "../pipeline-options.ts";
import { reverseNote } from "../reverse-note.ts";
import { Progress } from "../progress.ts";
import { runWithRetries } from "../retries.ts";
import { tellPlans } from "../tell-plans.ts";
import type { CommonArgs } from "../session.ts";
import { openRolloutState, openSource, openStore, type OpenedStore } from "../wire.ts";
import { loadConfig } from "../../config/load-config.ts";
import type { Drift } from "../../mapping/drift.ts";
import type { BaselineMode } from "../../pipeline/baseline-plan.ts";
import { runPipeline } from "../../pipeline/pipeline.ts";
import type { Position } from "../../model/position.ts";
import type { PipelineStatus } from "../../pipeline/status.ts";
import { MovedStreams } from "../../rollout/moved-streams.ts";
import { isShort } from "../../source/change-source.ts";
import { withShutdown } from "../../runtime/shutdown.ts";

interface RunArgs extends CommonArgs {
  readonly untilCaughtUp: boolean;
  readonly baseline: BaselineMode;
  readonly metrics: string | undefined;
}

const GRACE_MS = 30_000;
/** How often a log that is short is spoken of. */
const WARN_AGAIN_MS = 60_000;

export const runCommand: CommandModule<object, RunArgs> = {
  command: "run",
  describe: "Write the baseline if there is none, then follow the source until stopped",
  builder: (y) =>
    y
      .option("until-caught-up", {
        type: "boolean",
        default: false,
        describe: "Stop by itself once everything committed before the start is in the store",
      })
      .option("baseline", {
        choices: ["auto", "snapshot", "chunked"] as const,
        default: "auto" as const,
        describe:
          "Read a baseline that is to be begun under one snapshot, or in chunks where possible",
      })
      .option("metrics", {
        type: "string",
        requiresArg: true,
        describe: "Serve figures for Prometheus on this port, or address and port",
      }) as never,
  handler: async (args) => {
    const listen = args.metrics === undefined ? undefined : parseListenAddress(args.metrics);
    const config = await loadConfig(args.config);
    const progress = new Progress();
    await withShutdown({ graceMs: GRACE_MS }, async ({ signal, defer }) => {
      defer(() => progress.stop());
      let last: PipelineStatus | undefined;
      let warnedMs = 0;
      const done = new AbortController();
      const stop = AbortSignal.any([signal, done.signal]);
      const retrying = (attempt: () => Promise<void>): Promise<void> =>
        runWithRetries(progress, stop, attempt);
      let store: OpenedStore | undefined;
      await retrying(async () => {
        store = await openStore(config);
      });
      // Undefined when a signal came first.
      if (store === undefined) return writeResult(args.json, null, () => "stopped");
      const opened = store;
      defer(() => opened.close());
      const rollout = await openRolloutState(config);
      defer(() => rollout.close());
      progress.line(`pipeline ${config.name}: events go to ${opened.place}`);
      if (listen !== undefined) {
        const parity = (): ReturnType<typeof parityNote> => parityNote(opened.store, config.name);
        const reverse = (): ReturnType<typeof reverseNote> =>
          reverseNote(opened.store, config.name);
        const { pipelineMetrics, serveMetrics } = await import("../metrics.ts");
        const metrics = await serveMetrics(
          pipelineMetrics(config.name, () => last, parity, reverse),
          listen,
        );
        defer(() => metrics.close());
        progress.line(`metrics at ${metrics.url}`);
      }
      const attempt = async (): Promise<void> => {
        const source = await openSource(config);
        try {
          const goal = args.untilCaughtUp ? (await source.head(undefined)).position : undefined;
          await runPipeline(
            {
              ...pipelineOptions(config, source, opened.store),
              authority: new MovedStreams(rollout.state),
              baseline: args.baseline,
              onBaseline: (plans) => tellPlans(progress, plans),
              onProgress: (status) => {
                tell(progress, last, status);
                last = status;
                if (goal !== undefined && hasReached(status, goal)) done.abort();
              },
              onDrift: (drift) => tellDrift(progress, drift),
              onNotReadAnew: (note) => progress.line(describeNotReadAnew(note)),
              onLogLeft: (left) => {
                if (!isShort(left) || Date.now() - warnedMs < WARN_AGAIN_MS) return;
                warnedMs = Date.now();
                progress.line(`the source loses our place in its log ${describeLogLeft(left)}`);
              },
            },
            stop,
          );
        } finally {
          await source.close();
        }
      };
      await retrying(attempt);
      progress.stop();
      writeResult(args.json, last ?? null, () =>
        last === undefined ? "stopped" : summaryOf(last),
      );
    });
  },
};

/** Not before tables that join have their baseline, wherever the checkpoint stands. */
export function hasReached(
  { phase, positions: { checkpoint } }: Pick<PipelineStatus, "phase" | "positions">,
  goal: Position,
): boolean {
  return phase !== "baseline" && checkpoint !== undefined && checkpoint >= goal;
}

function tellDrift(progress: Progress, drift: Drift): void {
  const { table, added, dropped, retyped, renamed, untold, broken } = drift;
  const parts = [
    ...renamed.map(({ from, to }) => `${from}→${to}`),
    ...added.filter((name) => !renamed.some(({ to }) => to === name)).map((name) => `+${name}`),
    ...dropped.filter((name) => !renamed.some(({ from }) => from === name)).map((n) => `-${n}`),
    ...retyped.map((name) => `~${name}`),
  ];
  progress.line(`schema of ${table} changed: ${parts.join(" ")}`);
  if (broken !== undefined) progress.line(`  its streams stop: ${broken.message}`);
  if (untold.length === 0) return;
  const columns = untold.map(({ column }) => column).join(", ");
  progress.line(
    `  what that made of ${columns} in rows written before is not in the log: verify may call them different until they change`,
  );
}

function tell(progress: Progress, before: PipelineStatus | undefined, now: PipelineStatus): void {
  if (now.phase === "baseline" && now.baseline !== undefined) {
    const { restarted } = now.baseline;
    if (before?.baseline === undefined && restarted) {
      progress.line("an interrupted baseline was found and removed; beginning anew");
    }
    progress.update(describeBaseline(now.baseline));
    return;
  }
  if (before?.phase === "baseline" && now.phase === "tail")
    progress.line(baselineDone(before, now));
  progress.update(
    `${now.phase}: ${count(now.ledger.changesIn)} changes, ${count(now.rates.changesPerSecond)}/s, lag ${now.lag.seconds.toFixed(1)} s, ${bytes(now.lag.bytes)}`,
  );
}

/** One that is read under one snapshot has no checkpoint before it is done; one in chunks always has. */
export function baselineDone(
  before: Pick<PipelineStatus, "positions">,
  {
    baseline,
    positions,
  }: Pick<PipelineStatus, "positions"> & Partial<Pick<PipelineStatus, "baseline">>,
): string {
  const { mode, aggregates, rowsRead } = baseline ?? {
    mode: "snapshot",
    aggregates: 0,
    rowsRead: 0,
  };
  const told = `done: ${count(aggregates)} aggregates, ${count(rowsRead)} rows`;
  if (mode === "chunks") return `baseline in chunks ${told}`;
  return before.positions.checkpoint === undefined
    ? `baseline ${told}, at ${positions.baseline}`
    : `baseline of the tables that join ${told}`;
}

export function summaryOf({
  ledger,
  positions,
  baseline,
}: Pick<PipelineStatus, "ledger" | "positions"> &
  Partial<Pick<PipelineStatus, "baseline">>): string {
  if (positions.checkpoint === undefined)
    return "stopped before the baseline was complete, so nothing is kept. Run it again to begin anew.";
  const { done, total } = baseline?.streams ?? { done: 0, total: 0 };
  const rest = done < total ? " The baseline is not finished." : "";
  return `stopped at ${positions.checkpoint}: ${plural(ledger.baselined, "aggregate")} baselined, ${plural(ledger.changesIn, "change")}, ${plural(ledger.events, "event")} in all.${rest} Run it again to go on.`;
}
