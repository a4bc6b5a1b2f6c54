import { readFileSync } from "node:fs";
import yargs from "yargs";
import { assessCommand } from "./commands/assess.ts";
import { checkCommand } from "./commands/check.ts";
import { demoCommand } from "./commands/demo.ts";
import { historyCommand } from "./commands/history.ts";
import { quarantineCommand } from "./commands/quarantine.ts";
import { runCommand } from "./commands/run.ts";
import { stateCommand } from "./commands/state.ts";
import { statusCommand } from "./commands/status.ts";
import { verifyCommand } from "./commands/verify.ts";
import { BanyanError } from "../model/errors.ts";

export const COMMANDS: readonly string[] =
  "assess check run status verify history state quarantine demo".split(" ");

/**
 * Parses arguments and runs the command that they name.
 *
 * @throws BanyanError `USAGE`, and whatever the command throws
 */
export async function runCommandLine(argv: readonly string[]): Promise<void> {
  await yargs(argv)
    .scriptName("banyan")
    .usage(
      "$0 <command>\n\nMoves a living CRUD database to event sourcing, with proof at every step.",
    )
    .option("config", {
      type: "string",
      describe: "Config file (default: banyan.config.ts in this folder)",
      global: true,
    })
    .option("json", {
      type: "boolean",
      default: false,
      describe: "Write one JSON document to stdout",
      global: true,
    })
    .command(assessCommand)
    .command(checkCommand)
    .command(runCommand)
    .command(statusCommand)
    .command(verifyCommand)
    .command(historyCommand)
    .command(stateCommand)
    .command(quarantineCommand)
    .command(demoCommand)
    .demandCommand(1, "no command was named")
    .strict()
    .version(packageVersion())
    .epilogue(
      "Exit codes: 0 done, 1 found a difference or a problem, 2 usage or config, 4 environment,\n" +
        "70 a bug, 75 did not end in time after Ctrl-C, 130 ended by a second Ctrl-C.\n" +
        "docs/ in this package explains everything; docs/errors.md each [CODE].",
    )
    .wrap(Math.min(100, process.stdout.columns ?? 100))
    .exitProcess(false)
    .fail((message, error) => {
      // The parser's own errors, which say what is wrong with the command line.
      if (error === undefined || error.name === "YError") throw usageError(message, argv);
      throw error;
    })
    .parseAsync();
}

function usageError(message: string, argv: readonly string[]): BanyanError {
  const command = COMMANDS.find((name) => argv.includes(name));
  const hint = command === undefined ? "See: banyan --help" : `See: banyan ${command} --help`;
  const plain = message.startsWith("Not enough non-option") ? "an argument is missing" : message;
  return new BanyanError("USAGE", plain, { hint });
}

function packageVersion(): string {
  // src/cli in the repository, dist/src/cli in the package.
  for (const up of ["../../package.json", "../../../package.json"]) {
    try {
      const text = readFileSync(new URL(up, import.meta.url), "utf8");
      return (JSON.parse(text) as { version: string }).version;
    } catch {
      continue;
    }
  }
  return "unknown";
}
