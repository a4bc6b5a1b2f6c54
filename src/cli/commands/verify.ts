import type { CommandModule } from "yargs";
import { numberOption } from "../number-option.ts";
import { count, plural, renderTable, writeResult } from "../output.ts";
import { Progress } from "../progress.ts";
import { withSession, type CommonArgs } from "../session.ts";
import { EXIT } from "../../model/errors.ts";
import type { ParityReport } from "../../verify/parity-report.ts";
import { verifyParity } from "../../verify/verify-parity.ts";

interface VerifyArgs extends CommonArgs {
  readonly wait: number;
  readonly samples: number;
  readonly showValues: boolean;
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
      }) as never,
  handler: (args) =>
    withSession(args, async ({ config, scope, source, store }) => {
      const progress = new Progress();
      scope.defer(() => progress.stop());
      const report = await verifyParity(
        {
          pipeline: config.name,
          source: await source(),
          store: await store(),
          streams: config.streams,
          waitMsMax: args.wait * 1000,
          samplesMax: args.samples,
          showValues: args.showValues,
          onProgress: ({ step, rows }) =>
            progress.update(rows === 0 ? step : `${step}: ${count(rows)} rows`),
        },
        scope.signal,
      );
      progress.stop();
      writeResult(args.json, report, () => describeParity(report));
      process.exitCode =
        report.state === "equal"
          ? EXIT.ok
          : report.state === "different"
            ? EXIT.findings
            : EXIT.environment;
    }),
};

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
        `✗ different: ${count(report.missing)} missing, ${count(report.extra)} extra, ${count(report.different)} different of ${plural(report.compared, "row")}${place}`,
      );
      break;
    case "inconclusive":
      lines.push(`? could not tell${place}`);
  }
  lines.push(...report.reasons.map((reason) => `  ${reason}`));
  for (const sample of report.samples) {
    lines.push(`  ${sample.verdict}: ${sample.table} ${sample.key} (${sample.stream})`);
    for (const { column, row, fold } of sample.columns) {
      lines.push(`    ${column}: row ${row ?? "NULL"}, fold ${fold ?? "NULL"}`);
    }
  }
  if (report.nextSteps.length > 0) lines.push(`next: ${report.nextSteps.join("  |  ")}`);
  return lines.join("\n");
}
