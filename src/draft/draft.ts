import type { DraftAnswers } from "./answers.ts";
import { draftAggregate, type DraftedAggregate } from "./draft-aggregate.ts";
import { capitalized } from "./happening.ts";
import { selectAggregates, type LeftOut } from "./select-aggregates.ts";
import { tableNames } from "./table-names.ts";
import { UniqueNames } from "./unique-names.ts";
import { writeConfig } from "./write-config.ts";
import { writeTables } from "./write-tables.ts";
import { latinWords, camelCase } from "../assess/identifier-words.ts";
import { assess } from "../assess/assess.ts";
import { proposeAggregates } from "../assess/propose-aggregates.ts";
import { RULE_SLOTS_MAX } from "../mapping/event-id.ts";
import { BanyanError } from "../model/errors.ts";
import type { DatabaseFacts, LogSample } from "../source/database-facts.ts";

/** A first mapping of a database, with the reason of each choice. */
export interface Draft {
  /** Of the pipeline. */
  readonly name: string;
  readonly aggregates: readonly DraftedAggregate[];
  readonly leftOut: readonly LeftOut[];
  /** Text of `banyan.config.ts`; undefined when there is nothing to map. */
  readonly config: string | undefined;
  /** Text of `banyan.tables.ts`: every table of the database, drafted or not. */
  readonly tables: string;
}

export interface DraftOptions {
  readonly sample?: LogSample | undefined;
  /** Draft the aggregates of these tables only, whatever is judged of them. */
  readonly tables?: readonly string[] | undefined;
  readonly answers?: DraftAnswers | undefined;
}

/**
 * Drafts a mapping from what a database says of itself. The same facts, sample and answers always give
 * the same text.
 *
 * @throws BanyanError `USAGE` for a table that there is not, `SOURCE_NOT_READY` for a named one that is blocked
 */
export function draft(facts: DatabaseFacts, options: DraftOptions = {}): Draft {
  const { sample, tables, answers } = options;
  const owners = new Map(Object.entries(answers?.owners ?? {}));
  const { aggregates: proposals, references } = proposeAggregates(facts, { owners });
  const assessment = assess(facts, { owners, ...(sample === undefined ? {} : { sample }) });
  const selection = selectAggregates({ facts, assessment, proposals, tables, answers });
  const names = tableNames(facts.tables);
  const known = new Map(facts.tables.map((table) => [table.table.name, table]));
  // Streams first, so that the events that each of them must have are not taken by the rules of another.
  const renamed = new Map(Object.entries(answers?.events ?? {}));
  const eventNames = new UniqueNames(renamed.values());
  const reserved = selection.chosen.map((one) => ({
    ...one,
    otherwise: eventNames.claim(`${capitalized(one.proposal.name)}Amended`),
    baseline: eventNames.claim(`${capitalized(one.proposal.name)}Baselined`),
  }));
  const order = new Map(assessment.aggregates.map(({ root }, i) => [root, i]));
  const place = ({ proposal }: DraftedAggregate): number => order.get(proposal.root)!;
  const aggregates = reserved.map((one) =>
    draftAggregate({
      ...one,
      known,
      references,
      sample,
      eventNames,
      renamed,
    }),
  );
  requireRoom(aggregates);
  // As they were judged: what to begin with comes first.
  aggregates.sort((a, b) => place(a) - place(b));
  const name = pipelineName(facts.database);
  const parts = { facts, name, names, aggregates, leftOut: selection.leftOut };
  return {
    name,
    aggregates,
    leftOut: selection.leftOut,
    config: aggregates.length === 0 ? undefined : writeConfig(parts),
    tables: writeTables(facts, names),
  };
}

/** Beside its rules a stream needs a few numbers of its own: see `planStreams`. */
const SLOTS_PER_STREAM = 6;

/** @throws BanyanError `USAGE` */
function requireRoom(aggregates: readonly DraftedAggregate[]): void {
  const slots = aggregates.reduce((sum, { rules }) => sum + rules.length + SLOTS_PER_STREAM, 0);
  if (slots <= RULE_SLOTS_MAX) return;
  throw new BanyanError(
    "USAGE",
    `the draft would have ${aggregates.length} streams with so many rules that no config can hold them`,
    { hint: "Draft a part of the database: --schema NAME, or --tables NAME …" },
  );
}

const NAME_LENGTH_MAX = 40;

/** Of the database, in letters, digits and underscores. */
function pipelineName(database: string): string {
  const plain = /^[a-zA-Z][a-zA-Z0-9_]*$/.test(database)
    ? database
    : camelCase(latinWords(database));
  const name = /^[a-zA-Z]/.test(plain) ? plain : `legacy${plain}`;
  return name.slice(0, NAME_LENGTH_MAX);
}
