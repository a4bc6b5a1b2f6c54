import type { CommandModule } from "yargs";
import { assessmentHtml } from "../assess-html.ts";
import { assessmentText } from "../assess-text.ts";
import { note, writeResult } from "../output.ts";
import { writePage } from "../page.ts";
import { Progress } from "../progress.ts";
import {
  requirePostgresUrl,
  requireSchemas,
  SAMPLE_OPTION,
  SCHEMA_OPTION,
  takeSample,
  URL_ARGUMENT,
} from "../survey-options.ts";
import { openSurvey } from "../wire.ts";
import { assess } from "../../assess/assess.ts";
import { withShutdown } from "../../runtime/shutdown.ts";

interface AssessArgs {
  readonly url: string;
  readonly json: boolean;
  readonly sample: number | undefined;
  readonly schema: readonly string[] | undefined;
  readonly html: string | undefined;
}

const GRACE_MS = 30_000;

export const assessCommand: CommandModule<object, AssessArgs> = {
  command: "assess <url>",
  describe: "Judge a database: what to migrate first, what to leave, what stands in the way",
  builder: (y) =>
    y
      .positional("url", URL_ARGUMENT)
      .option("sample", SAMPLE_OPTION)
      .option("schema", SCHEMA_OPTION)
      .option("html", {
        type: "string",
        requiresArg: true,
        describe: "Also write the judgement as one page to this file",
      }) as never,
  handler: async ({ url, json, sample, schema, html }) => {
    requirePostgresUrl(url);
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
