import type { CommandModule } from "yargs";
import { note, plural, writeResult } from "../output.ts";
import { withSession, type CommonArgs } from "../session.ts";
import { compileMapping, plannedTables } from "../../mapping/compile.ts";
import { BanyanError, EXIT } from "../../model/errors.ts";
import type { Finding } from "../../source/change-source.ts";

export const checkCommand: CommandModule<object, CommonArgs> = {
  command: "check",
  describe: "List everything that stands in the way, with the SQL that mends it",
  builder: (y) => y as never,
  handler: (args) =>
    withSession(args, async ({ config, source: open }) => {
      const plan = { tables: plannedTables(config.streams) };
      const source = await open();
      const findings: Finding[] = [...(await source.check(plan))];
      try {
        compileMapping(config.streams, await source.discover(plan.tables));
      } catch (error) {
        if (!(error instanceof BanyanError)) throw error;
        // A missing table has its own finding already.
        if (error.code === "MAPPING_INVALID") {
          findings.push({ severity: "error", code: "mapping-invalid", message: error.message });
        } else if (error.code !== "TABLE_MISSING") throw error;
      }
      const errors = findings.filter((finding) => finding.severity === "error");
      const mend = findings.flatMap((finding) => finding.mend ?? []);
      const ready = errors.length === 0;
      writeResult(args.json, { ready, findings, mend }, () =>
        describe(findings, mend, plan.tables.length),
      );
      if (findings.some((finding) => finding.code === "mapping-invalid"))
        process.exitCode = EXIT.usage;
      else if (!ready) process.exitCode = EXIT.findings;
      if (ready && !args.json) note("next: banyan run");
    }),
};

function describe(findings: readonly Finding[], mend: readonly string[], tables: number): string {
  const marks = { error: "✗", warning: "!", info: "·" } as const;
  const lines = findings.map(({ severity, message, table }) => {
    const place = table === undefined || message.includes(table) ? "" : `${table}: `;
    return `${marks[severity]} ${place}${message}`;
  });
  const errors = findings.filter((finding) => finding.severity === "error").length;
  lines.push(
    errors === 0
      ? `✓ ready: ${plural(tables, "table")} can be captured`
      : `${plural(errors, "problem")} to mend before banyan run`,
  );
  if (mend.length > 0)
    lines.push("", "SQL that mends it, in this order:", ...mend.map((sql) => `  ${sql}`));
  return lines.join("\n");
}
