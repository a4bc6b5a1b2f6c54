import type { CommandModule } from "yargs";
import type { DemoDocument } from "../demo/demo.ts";
import { numberOption } from "../number-option.ts";
import { count, note, plural, writeResult } from "../output.ts";
import { Progress } from "../progress.ts";
import { EXIT } from "../../model/errors.ts";
import { withShutdown } from "../../runtime/shutdown.ts";

interface DemoArgs {
  readonly json: boolean;
  readonly keep: boolean;
  readonly seed: number;
  readonly short: boolean;
  readonly rollout: boolean;
}

const GRACE_MS = 30_000;

export const demoCommand: CommandModule<object, DemoArgs> = {
  command: "demo",
  describe: "See all of it in a minute: a small shop on an embedded Postgres under live traffic",
  builder: (y) =>
    y
      .option("keep", {
        type: "boolean",
        default: false,
        describe: "Leave the shop, its traffic and the capture running until Ctrl-C",
      })
      .option("short", {
        type: "boolean",
        default: false,
        describe: "Stay at each share of the rollout only as long as its gates need",
      })
      .option("rollout", {
        type: "boolean",
        default: true,
        describe: "Move orders to the new service; --no-rollout ends after the capture",
      })
      .option("seed", {
        ...numberOption("seed", {
          min: 0,
          max: 2 ** 31 - 1,
          describe: "Of the shop's rows and its traffic",
        }),
        default: 1,
      }) as never,
  handler: async ({ json, keep, seed, short, rollout }) => {
    const progress = new Progress();
    const { runDemo } = await import("../demo/demo.ts");
    const document = await withShutdown({ graceMs: GRACE_MS }, (scope) =>
      runDemo({
        scope,
        seed,
        rollout: rollout ? (short ? "short" : "whole") : "none",
        progress,
        tell: (text) => (json ? progress.line(text) : process.stdout.write(`${text}\n`)),
        onDone: async (done, howToLook) => {
          progress.stop();
          writeResult(json, done, () => summary(done));
          if (!keep) return;
          progress.line(howToLook);
          await new Promise<void>((end) =>
            scope.signal.addEventListener("abort", () => end(), { once: true }),
          );
        },
      }),
    );
    if (document === undefined) note("stopped before its end");
    process.exitCode = document === undefined ? EXIT.environment : exitCodeOf(document);
  },
};

function exitCodeOf({ parity, killedAndResumed, rollout }: DemoDocument): number {
  if (parity.state === "different" || (rollout?.lostWrites ?? 0) > 0) return EXIT.findings;
  if ((rollout?.clientErrors ?? 0) > 0 || (rollout?.staleReads ?? 0) > 0) return EXIT.findings;
  return parity.state === "equal" && killedAndResumed ? EXIT.ok : EXIT.environment;
}

function summary({
  rows,
  baselined,
  changes,
  events,
  killedAndResumed,
  lagSeconds,
  parity,
  rates,
  rollout,
}: DemoDocument): string {
  const { compared, missing, extra, different } = parity;
  const verdict = {
    equal: `✓ the fold of all events equals the ${plural(compared, "row")} of the live shop`,
    different: `✗ ${count(missing)} rows missing, ${count(extra)} extra, ${count(different)} different of ${count(compared)}`,
    inconclusive: "? the events could not be compared with the rows",
  }[parity.state];
  return [
    "",
    verdict,
    `  ${plural(rows, "row")} before, ${plural(baselined, "aggregate")} baselined at ${count(rates.baselineRowsPerSecond)} rows/s`,
    `  ${plural(changes, "change")} captured, ${plural(events, "event")} in the store`,
    `  the capture was killed and ${killedAndResumed ? `resumed; it caught up at ${count(rates.catchUpChangesPerSecond)} changes/s` : "did not come back"}`,
    `  lag ${lagSeconds.toFixed(1)} s under ${count(rates.changesPerSecond)} changes/s`,
    ...(rollout === undefined ? [] : rolloutLines(rollout)),
  ].join("\n");
}

function rolloutLines(moved: NonNullable<DemoDocument["rollout"]>): readonly string[] {
  const { stagesReached, dual, caught, shadow, rolledBackInSeconds } = moved;
  const isClean = moved.clientErrors + moved.lostWrites + moved.staleReads === 0;
  return [
    `${isClean ? "✓" : "✗"} orders went ${stagesReached.join(" → ")}: of ${count(moved.requests)} requests ${count(moved.clientErrors)} failed, of ${count(moved.acknowledgedWrites)} acknowledged writes ${count(moved.lostWrites)} are lost`,
    `  dual writes: ${count(dual.pass)} alike, ${count(dual.fail)} not, ${count(dual.inconclusive)} could not be told; reads: ${count(shadow.compared)} compared, ${count(shadow.different)} differed`,
    `  with a bug: ${count(caught.fail)} of ${count(caught.pass + caught.fail)} dual writes failed; forced past that, it was taken back in ${rolledBackInSeconds.toFixed(1)} s`,
  ];
}
