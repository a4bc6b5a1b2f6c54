import type { CommandModule } from "yargs";
import { writeResult } from "../output.ts";
import { withSession, type CommonArgs } from "../session.ts";
import { BanyanError } from "../../model/errors.ts";

interface BaselineArgs extends CommonArgs {
  readonly action: "pause" | "resume";
}

export const baselineCommand: CommandModule<object, BaselineArgs> = {
  command: "baseline <action>",
  describe: "Let a baseline that is read in chunks rest, or go on; the log is followed meanwhile",
  builder: (y) =>
    y.positional("action", {
      choices: ["pause", "resume"] as const,
      demandOption: true,
      describe: "pause stays until resume, also when banyan run is started again",
    }) as never,
  handler: (args) =>
    withSession(args, async ({ config, store }) => {
      const paused = args.action === "pause";
      if (!(await (await store()).pauseBaseline(config.name, paused))) {
        throw new BanyanError("PIPELINE_UNKNOWN", `pipeline ${config.name} has never run`, {
          hint: "Run: banyan run",
        });
      }
      writeResult(args.json, { pipeline: config.name, paused }, () =>
        paused
          ? "paused: a running pipeline reads no further chunk within about a second, and goes on with: banyan baseline resume"
          : "resumed: a running pipeline reads on within about a second, else the next banyan run",
      );
    }),
};
