#!/usr/bin/env node
import { runCommandLine } from "./command-line.ts";
import { BanyanError, EXIT } from "../model/errors.ts";

/** The program: runs a command, and turns what it throws into a message and an exit code. */
async function main(argv: readonly string[]): Promise<void> {
  try {
    await runCommandLine(argv);
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

await main(process.argv.slice(2));
