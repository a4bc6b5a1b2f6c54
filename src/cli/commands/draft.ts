import { existsSync } from "node:fs";
import { join, resolve } from "node:path";
import type { CommandModule } from "yargs";
import { askAnswers } from "../draft-ask.ts";
import { draftDocument, draftText } from "../draft-document.ts";
import { readIfThere, writeDrafted, type DraftedFile } from "../draft-files.ts";
import { terminalPrompter } from "../draft-prompts.ts";
import { note, writeResult } from "../output.ts";
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
import { CONFIG_NAMES } from "../../config/load-config.ts";
import type { DraftAnswers } from "../../draft/answers.ts";
import { draft, type Draft } from "../../draft/draft.ts";
import { answersIn, signText } from "../../draft/signed-text.ts";
import { BanyanError, EXIT } from "../../model/errors.ts";
import { withShutdown } from "../../runtime/shutdown.ts";
import type { LogSample } from "../../source/database-facts.ts";

interface DraftArgs {
  readonly url: string;
  readonly json: boolean;
  readonly tables: readonly string[] | undefined;
  readonly schema: readonly string[] | undefined;
  readonly out: string;
  readonly ask: boolean;
  readonly sample: number | undefined;
}

const GRACE_MS = 30_000;
const CONFIG = "banyan.config.ts";
const TABLES = "banyan.tables.ts";

export const draftCommand: CommandModule<object, DraftArgs> = {
  command: "draft <url>",
  describe: "Write a first mapping of a database: banyan.config.ts and the types of its rows",
  builder: (y) =>
    y
      .positional("url", URL_ARGUMENT)
      .option("tables", {
        type: "string",
        array: true,
        requiresArg: true,
        describe: "Draft these tables only, with what belongs to them, whatever is judged of them",
      })
      .option("schema", SCHEMA_OPTION)
      .option("out", {
        type: "string",
        default: ".",
        requiresArg: true,
        describe: "Folder of the files",
      })
      .option("ask", {
        type: "boolean",
        default: false,
        describe: "Choose aggregates and name events at the terminal",
      })
      .option("sample", SAMPLE_OPTION) as never,
  handler: async ({ url, json, tables, schema, out, ask, sample }) => {
    requirePostgresUrl(url);
    if (ask && !process.stdin.isTTY) {
      throw new BanyanError("USAGE", "--ask needs a terminal to ask at", {
        hint: "Run it at one, or leave --ask out: everything it asks can be changed in the file",
      });
    }
    const directory = resolve(out);
    refuseOtherConfig(directory);
    const progress = new Progress();
    await withShutdown({ graceMs: GRACE_MS }, async (scope) => {
      scope.defer(() => progress.stop());
      const survey = await openSurvey(url);
      scope.defer(() => survey.close());
      progress.update("reading catalogue and statistics");
      const facts = await survey.facts(schema);
      requireSchemas(schema, facts.schemas);
      const sampled: { readonly sample?: LogSample; readonly sampleRefused?: string } =
        sample === undefined ? {} : await takeSample(survey, sample, scope, progress);
      const seen = sampled.sample;
      progress.stop();
      const draftWith = (answers: DraftAnswers): Draft =>
        draft(facts, { sample: seen, tables, answers });
      const earlier = answersIn(readIfThere(join(directory, CONFIG)) ?? "") ?? {};
      const answers = ask
        ? await askAnswers({
            facts,
            sample: seen,
            answers: earlier,
            draftWith,
            prompter: await terminalPrompter(scope.signal),
            say: note,
          })
        : earlier;
      const drafted = draftWith(answers);
      const files = writeFiles(directory, drafted, answers);
      report(json, draftDocument(facts.database, drafted, files, sampled.sampleRefused));
    });
  },
};

/** A config that nobody drafted would no longer be read, because one in TypeScript is taken before it. */
function refuseOtherConfig(directory: string): void {
  const other = CONFIG_NAMES.find((name) => name !== CONFIG && existsSync(join(directory, name)));
  if (other === undefined || existsSync(join(directory, CONFIG))) return;
  throw new BanyanError(
    "USAGE",
    `${join(directory, other)} is there, and ${CONFIG} would be taken in its place`,
    {
      hint: "Name another folder with --out DIR",
    },
  );
}

/** The types first: a config that refers to them is never there without them. */
function writeFiles(directory: string, drafted: Draft, answers: DraftAnswers): DraftedFile[] {
  if (drafted.config === undefined) return [];
  return [
    writeDrafted(directory, TABLES, signText(drafted.tables)),
    writeDrafted(directory, CONFIG, signText(drafted.config, answers)),
  ];
}

function report(json: boolean, document: ReturnType<typeof draftDocument>): void {
  const text = draftText(document);
  const diffs = document.files.flatMap(({ diff }) => diff ?? []);
  // A difference is the result then, so that it can be piped; what was drafted is said beside it.
  if (diffs.length > 0 && !json) note(text);
  writeResult(json, document, () => (diffs.length > 0 ? diffs.join("\n") : text));
  const kept = document.files.filter(({ state }) => state === "kept");
  for (const { path } of kept)
    note(`${path} was edited by hand and is left as it is; the difference shows what was drafted`);
  if (kept.length > 0 || document.files.length === 0) process.exitCode = EXIT.findings;
  if (!json) for (const step of document.nextSteps) note(`next: ${step}`);
}
