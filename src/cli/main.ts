#!/usr/bin/env node
import { runCommandLine } from "./command-line.ts";
import { withoutPasswords } from "./without-passwords.ts";
import { BanyanError, EXIT } from "../model/errors.ts";

/** The program: runs a command, and turns what it throws into a message and an exit code. */
async function main(argv: readonly string[]): Promise<void> {
  watchOutput();
  try {
    await runCommandLine(argv);
  } catch (error) {
    reportFailure(error);
  }
}

function reportFailure(error: unknown): void {
  if (error instanceof BanyanError) {
    say(`banyan: [${error.code}] ${error.message}`);
    if (error.hint !== undefined) say(`  next: ${error.hint}`);
    if (error.recovery === "bug") say(error.stack ?? "");
    process.exitCode = error.exitCode;
  } else if (error instanceof Error && error.name === "AbortError") {
    // A signal ended what has no result unless it comes to its end, as a comparison.
    say("banyan: stopped before there was a result. Run it again to begin anew.");
    process.exitCode = EXIT.environment;
  } else {
    say(`banyan: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`);
    process.exitCode = EXIT.bug;
  }
}

function say(text: string): void {
  process.stderr.write(`${withoutPasswords(text)}\n`);
}

/** What cannot be written must not end the work under way, nor look as if the work had found something. */
function watchOutput(): void {
  // Nobody is left who could be told.
  process.stderr.on("error", () => undefined);
  process.stdout.on("error", (error: NodeJS.ErrnoException) => {
    // The reader has seen enough, as `head` has.
    if (error.code === "EPIPE") return;
    say(`banyan: the result could not be written: ${error.message}`);
    process.once("exit", () => (process.exitCode = EXIT.environment));
  });
}

await main(process.argv.slice(2));
