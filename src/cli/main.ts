#!/usr/bin/env node
import { readFileSync } from "node:fs";
import yargs from "yargs";
import { checkCommand } from "./commands/check.ts";
import { demoCommand } from "./commands/demo.ts";
import { historyCommand } from "./commands/history.ts";
import { quarantineCommand } from "./commands/quarantine.ts";
import { runCommand } from "./commands/run.ts";
import { stateCommand } from "./commands/state.ts";
import { statusCommand } from "./commands/status.ts";
import { verifyCommand } from "./commands/verify.ts";
import { BanyanError, EXIT } from "../model/errors.ts";

/** Parses arguments, runs one command, and turns what it throws into a message and an exit code. */
export async function main(argv: readonly string[]): Promise<void> {
  try {
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
      .command(checkCommand)
      .command(runCommand)
      .command(statusCommand)
      .command(verifyCommand)
      .command(historyCommand)
      .command(stateCommand)
      .command(quarantineCommand)
      .command(demoCommand)
      .demandCommand(1, "Name a command. See: banyan --help")
      .strict()
      .version(packageVersion())
      .wrap(Math.min(100, process.stdout.columns ?? 100))
      .exitProcess(false)
      .fail((message, error) => {
        throw error ?? new BanyanError("USAGE", message, { hint: "See: banyan --help" });
      })
      .parseAsync();
  } catch (error) {
    reportFailure(error);
  }
}

function reportFailure(error: unknown): void {
  if (error instanceof BanyanError) {
    process.stderr.write(`banyan: [${error.code}] ${error.message}\n`);
    if (error.hint !== undefined) process.stderr.write(`  next: ${error.hint}\n`);
    if (error.recovery === "bug") process.stderr.write(`${error.stack ?? ""}\n`);
    process.exitCode = error.exitCode;
    return;
  }
  process.stderr.write(
    `banyan: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}\n`,
  );
  process.exitCode = EXIT.bug;
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

await main(process.argv.slice(2));
