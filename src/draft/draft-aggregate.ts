import { creationRule } from "./creation-rule.ts";
import type { DraftedRule, RuleSketch } from "./drafted-rule.ts";
import { capitalized } from "./happening.ts";
import { removalRule } from "./removal-rule.ts";
import type { ChosenAggregate } from "./select-aggregates.ts";
import { nounOf } from "./table-names.ts";
import type { UniqueNames } from "./unique-names.ts";
import { updateRules } from "./update-rules.ts";
import { latinWords } from "../assess/identifier-words.ts";
import { columnRoles, type ColumnReading } from "../assess/column-roles.ts";
import { referringColumns, type Reference } from "../assess/references.ts";
import type { LogSample, SampledTable, TableFacts } from "../source/database-facts.ts";

/** One stream of the drafted mapping. */
export interface DraftedAggregate extends ChosenAggregate {
  readonly otherwise: string;
  readonly baseline: string;
  readonly rules: readonly DraftedRule[];
  readonly rootFacts: TableFacts;
  /** Whether the sample saw one of its tables truncated. */
  readonly truncates: boolean;
}

/** What the rules of one table are drafted from. */
export interface RuleParts {
  readonly facts: TableFacts;
  readonly readings: readonly ColumnReading[];
  readonly sampled: SampledTable | undefined;
  /** References of this table, without the link of a child to its root. */
  readonly references: readonly Reference[];
  /** Columns that tell which row is meant: its key, and of a child its link to the root. */
  readonly identity: ReadonlySet<string>;
  readonly isRoot: boolean;
  /** Words of its noun, so that a value does not repeat them. */
  readonly subject: readonly string[];
}

interface AggregateParts extends ChosenAggregate {
  readonly otherwise: string;
  readonly baseline: string;
  readonly known: ReadonlyMap<string, TableFacts>;
  readonly references: readonly Reference[];
  readonly sample: LogSample | undefined;
  readonly eventNames: UniqueNames;
  /** Names that a person gave, by the rule's id. */
  readonly renamed: ReadonlyMap<string, string>;
}

/** Proposes the events of an aggregate: those of its root first, then those of its children. */
export function draftAggregate(parts: AggregateParts): DraftedAggregate {
  const { proposal, children, known, eventNames, renamed } = parts;
  const root = known.get(proposal.root)!;
  const rootNoun = capitalized(proposal.name);
  const rules: DraftedRule[] = [];
  const tables = [
    { facts: root, noun: rootNoun, key: proposal.key, link: [] as readonly string[] },
    ...children.map((child) => {
      const facts = known.get(child.table)!;
      const { relation } = facts.table;
      return { facts, noun: nounOf(relation), key: child.key, link: Object.keys(child.parent) };
    }),
  ];
  for (const { facts, noun, key, link } of tables) {
    const { name } = facts.table;
    const isRoot = facts === root;
    const identity = new Set([...key, ...link]);
    const rule: RuleParts = {
      facts,
      readings: columnRoles(
        facts,
        referringColumns(name, parts.references),
        parts.sample?.tables.get(name),
      ).filter(({ column }) => !identity.has(column)),
      sampled: parts.sample?.tables.get(name),
      references: parts.references.filter(
        (reference) =>
          reference.table === name && !reference.columns.every((column) => identity.has(column)),
      ),
      identity,
      isRoot,
      subject: latinWords(noun),
    };
    const sketches: readonly RuleSketch[] = [
      creationRule(rule, isRoot ? children.map(({ table }) => table) : []),
      ...updateRules(rule),
      removalRule(rule),
    ];
    for (const sketch of sketches) {
      const { phrases, ...rest } = sketch;
      const wanted = renamed.get(sketch.id);
      const [best, ...more] = phrases;
      const long = isRoot || noun.startsWith(rootNoun) ? [] : [`${rootNoun}${noun}${best}`];
      const names = [...more.map((phrase) => `${noun}${phrase}`), ...long];
      const event =
        wanted === undefined
          ? eventNames.claim(`${noun}${best}`, ...names)
          : // Nothing else has it: names that a person gave are taken from the beginning.
            wanted;
      rules.push({ anyOf: [], data: [], with: [], filled: undefined, ...rest, event, table: name });
    }
  }
  const truncates = tables.some(
    ({ facts }) => (parts.sample?.tables.get(facts.table.name)?.truncated ?? 0) > 0,
  );
  const { assessed, otherwise, baseline } = parts;
  return { proposal, assessed, children, otherwise, baseline, rules, rootFacts: root, truncates };
}
