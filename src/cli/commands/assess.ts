import { writeFileSync } from "node:fs";
import type { CommandModule } from "yargs";
import { assessmentHtml } from "../assess-html.ts";
import { assessmentText } from "../assess-text.ts";
import { note, plural, writeResult } from "../output.ts";
import { Progress } from "../progress.ts";
import { openSurvey } from "../wire.ts";
import { assess } from "../../assess/assess.ts";
import { BanyanError } from "../../model/errors.ts";
import { withShutdown, type Scope } from "../../runtime/shutdown.ts";
import type { DatabaseSurvey, LogSample } from "../../source/database-facts.ts";

interface AssessArgs {
  readonly url: string;
  readonly json: boolean;
  readonly sample: number | undefined;
  readonly schema: readonly string[] | undefined;
  readonly html: string | undefined;
}

const GRACE_MS = 30_000;
const SAMPLE_SECONDS_MAX = 3_600;

export const assessCommand: CommandModule<object, AssessArgs> = {
  command: "assess <url>",
  describe: "Judge a database: what to migrate first, what to leave, what stands in the way",
  builder: (y) =>
    y
      .positional("url", {
        type: "string",
        demandOption: true,
        describe: "postgres://user@host:port/database; the password may stand in PGPASSWORD",
      })
      .option("sample", {
        type: "string",
        describe: "Watch the log for so long, e.g. 60s or 5m, through a temporary slot",
        coerce: sampleSeconds,
      })
      .option("schema", {
        type: "string",
        array: true,
        requiresArg: true,
        describe: "Look at these schemas only",
      })
      .option("html", {
        type: "string",
        requiresArg: true,
        describe: "Also write the judgement as one page to this file",
      }) as never,
  handler: async ({ url, json, sample, schema, html }) => {
    if (!/^postgres(ql)?:\/\//.test(url)) {
      throw new BanyanError("USAGE", "the address does not begin with postgres://", {
        hint: "Write it as postgres://user@host:port/database",
      });
    }
    const progress = new Progress();
    await withShutdown({ graceMs: GRACE_MS }, async (scope) => {
      scope.defer(() => progress.stop());
      const survey = await openSurvey(url);
      scope.defer(() => survey.close());
      progress.update("reading catalogue and statistics");
      const facts = await survey.facts(schema);
      requireSchemas(schema, facts.schemas);
      const sampled = sample === undefined ? {} : await takeSample(survey, sample, scope, progress);
      const assessment = assess(facts, sampled);
      progress.stop();
      if (html !== undefined) {
        writePage(html, assessmentHtml(assessment, new Date()));
        note(`wrote ${html}`);
      }
      writeResult(json, assessment, () => assessmentText(assessment));
    });
  },
};

/** A log that cannot be watched does not end the command: the catalogue says much without it. */
async function takeSample(
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

function requireSchemas(wanted: readonly string[] | undefined, known: readonly string[]): void {
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

function writePage(file: string, html: string): void {
  try {
    writeFileSync(file, html);
  } catch (cause) {
    throw new BanyanError("USAGE", `${file} cannot be written`, {
      cause,
      hint: cause instanceof Error ? cause.message : "Name a file in a folder that exists",
    });
  }
}
