import { plural } from "./output.ts";
import type { Progress } from "./progress.ts";
import { BanyanError } from "../model/errors.ts";
import type { Scope } from "../runtime/shutdown.ts";
import type { DatabaseSurvey, LogSample } from "../source/database-facts.ts";

/** Options of the commands that look at a database of which nothing is configured yet. */

const SAMPLE_SECONDS_MAX = 3_600;

export const URL_ARGUMENT = {
  type: "string",
  demandOption: true,
  describe: "postgres://user@host:port/database; the password may stand in PGPASSWORD",
} as const;

export const SCHEMA_OPTION = {
  type: "string",
  array: true,
  requiresArg: true,
  describe: "Look at these schemas only",
} as const;

export const SAMPLE_OPTION = {
  type: "string",
  describe: "Watch the log for so long, e.g. 60s or 5m, through a temporary slot",
  coerce: sampleSeconds,
} as const;

/** @throws BanyanError `USAGE` */
export function requirePostgresUrl(url: string): void {
  if (/^postgres(ql)?:\/\//.test(url)) return;
  throw new BanyanError("USAGE", "the address does not begin with postgres://", {
    hint: "Write it as postgres://user@host:port/database",
  });
}

/** @throws BanyanError `USAGE` */
export function requireSchemas(
  wanted: readonly string[] | undefined,
  known: readonly string[],
): void {
  const missing = wanted?.filter((name) => !known.includes(name)) ?? [];
  if (missing.length === 0) return;
  throw new BanyanError("USAGE", `there is no schema ${missing.join(", ")} of an application`, {
    hint: known.length === 0 ? "The database has none." : `There are: ${known.join(", ")}`,
  });
}

/** `60s`, `5m` or a number of seconds. */
function sampleSeconds(text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  const [, number, unit] = /^(\d{1,6})(s|m)?$/.exec(text) ?? [];
  const seconds = Number(number) * (unit === "m" ? 60 : 1);
  if (number !== undefined && seconds >= 1 && seconds <= SAMPLE_SECONDS_MAX) return seconds;
  // The parser keeps only the message.
  throw new Error(`--sample is a time from 1s to ${SAMPLE_SECONDS_MAX / 60}m, such as 60s`);
}

/** A log that cannot be watched does not end the command: the catalogue says much without it. */
export async function takeSample(
  survey: DatabaseSurvey,
  seconds: number,
  { signal }: Scope,
  progress: Progress,
): Promise<{ sample: LogSample } | { sampleRefused: string }> {
  const started = performance.now();
  const timer = setInterval(() => {
    const left = Math.max(0, Math.ceil(seconds - (performance.now() - started) / 1000));
    progress.update(`watching the log: ${left} s to go (Ctrl-C ends it early)`);
  }, 1_000);
  try {
    const sample = await survey.sample(seconds, signal);
    progress.line(
      `watched the log for ${Math.round(sample.seconds)} s: ${plural(sample.transactions, "transaction")}`,
    );
    return { sample };
  } catch (error) {
    if (!(error instanceof BanyanError)) throw error;
    if (error.code !== "SOURCE_NOT_READY" && error.code !== "SLOT_CREATION_BLOCKED") throw error;
    progress.line(error.message);
    if (error.hint !== undefined) progress.line(`  next: ${error.hint}`);
    return {
      sampleRefused: error.hint === undefined ? error.message : `${error.message}. ${error.hint}`,
    };
  } finally {
    clearInterval(timer);
  }
}
