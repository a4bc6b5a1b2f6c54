import type { CommandModule } from "yargs";
import { runDemo, type DemoDocument } from "../demo/demo.ts";
import { numberOption } from "../number-option.ts";
import { count, note, plural, writeResult } from "../output.ts";
import { Progress } from "../progress.ts";
import { EXIT } from "../../model/errors.ts";
import { withShutdown } from "../../runtime/shutdown.ts";

interface DemoArgs {
  readonly json: boolean;
  readonly keep: boolean;
  readonly seed: number;
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
      .option("seed", {
        ...numberOption("seed", {
          min: 0,
          max: 2 ** 31 - 1,
          describe: "Of the shop's rows and its traffic",
        }),
        default: 1,
      }) as never,
  handler: async ({ json, keep, seed }) => {
    const progress = new Progress();
    const document = await withShutdown({ graceMs: GRACE_MS }, (scope) =>
      runDemo({
        scope,
        seed,
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

function exitCodeOf({ parity, killedAndResumed }: DemoDocument): number {
  if (parity.state === "different") return EXIT.findings;
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
  ].join("\n");
}
