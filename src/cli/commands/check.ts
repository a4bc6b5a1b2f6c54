import { randomInt } from "node:crypto";
import type { CommandModule } from "yargs";
import { check } from "../check-findings.ts";
import { checkText } from "../check-text.ts";
import { numberOption } from "../number-option.ts";
import { note, writeResult } from "../output.ts";
import { withSession, type CommonArgs } from "../session.ts";
import { openRowSampler, openStoreAsIs } from "../wire.ts";
import { EXIT } from "../../model/errors.ts";

interface CheckArgs extends CommonArgs {
  readonly seed: number | undefined;
  readonly runs: number;
  readonly sample: number;
  readonly "show-values": boolean;
  readonly explain: boolean;
}

const SEED_MAX = 2 ** 31 - 1;

export const checkCommand: CommandModule<object, CheckArgs> = {
  command: "check",
  describe: "List everything that stands in the way, and try the laws of the mapping",
  builder: (y) =>
    y
      .option("explain", {
        type: "boolean",
        default: false,
        describe: "Show which rule claims which column, and what is left",
      })
      .option("runs", {
        ...numberOption("runs", {
          min: 0,
          max: 1_000_000,
          describe: "Generated histories for each stream",
        }),
        default: 200,
      })
      .option("sample", {
        ...numberOption("sample", {
          min: 0,
          max: 1_000,
          describe: "Real rows of each table to try the laws on",
        }),
        default: 20,
      })
      .option(
        "seed",
        numberOption("seed", {
          min: 0,
          max: SEED_MAX,
          describe: "Try the same generated histories again",
        }),
      )
      .option("show-values", {
        type: "boolean",
        default: false,
        describe: "Show the values of real rows in stories",
      }) as never,
  handler: (args) =>
    withSession(args, async ({ config, scope, source }) => {
      const sampler = async () => {
        const opened = await openRowSampler(config);
        scope.defer(() => opened.close());
        return opened;
      };
      const store = async () => {
        const opened = await openStoreAsIs(config);
        scope.defer(() => opened.close());
        return opened.store;
      };
      const options = {
        seed: args.seed ?? randomInt(SEED_MAX),
        runs: args.runs,
        sample: args.sample,
        showValues: args["show-values"],
        explain: args.explain,
      };
      const checked = await check(config, { source, sampler, store }, options, scope.signal);
      const { findings, isInvalid, laws, explanations, changes } = checked;
      const ready = !findings.some(({ severity }) => severity === "error");
      const mend = findings.flatMap((finding) => finding.mend ?? []);
      const document = {
        ready,
        findings,
        mend,
        ...(laws === undefined ? {} : { laws: { seed: laws.seed, streams: laws.streams } }),
        ...(explanations === undefined ? {} : { explain: explanations }),
        ...(changes === undefined ? {} : { changes }),
      };
      writeResult(args.json, document, () => checkText(checked, mend));
      if (isInvalid) process.exitCode = EXIT.usage;
      else if (!ready) process.exitCode = EXIT.findings;
      if (ready && !args.json) note("next: banyan run");
    }),
};
