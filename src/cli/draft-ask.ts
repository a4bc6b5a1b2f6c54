import type { DraftAnswers } from "../draft/answers.ts";
import { choicesOf, type PartChoice } from "../draft/choices.ts";
import type { Draft } from "../draft/draft.ts";
import type { DatabaseFacts, LogSample } from "../source/database-facts.ts";

/** Asks a person at a terminal. */
export interface Prompter {
  choose(message: string, options: readonly Option[]): Promise<string>;
  /** @returns the values that are ticked in the end */
  tick(message: string, options: readonly TickOption[]): Promise<readonly string[]>;
  type(message: string, given: string, validate: (text: string) => true | string): Promise<string>;
}

export interface Option {
  readonly value: string;
  readonly name: string;
  readonly description?: string;
}

export interface TickOption extends Option {
  readonly ticked: boolean;
  /** Why it cannot be ticked. */
  readonly disabled?: string;
}

interface Asked {
  readonly facts: DatabaseFacts;
  readonly sample: LogSample | undefined;
  /** Of an earlier draft. */
  readonly answers: DraftAnswers;
  readonly draftWith: (answers: DraftAnswers) => Draft;
  readonly prompter: Prompter;
  readonly say: (line: string) => void;
}

/** Lets a person group the tables, choose the aggregates, and name the events; gives what was decided. */
export async function askAnswers(asked: Asked): Promise<DraftAnswers> {
  const grouped = await askOwners(asked, asked.answers);
  const chosen = await askAggregates(asked, grouped);
  return askNames(asked, chosen);
}

const GO_ON = "";

async function askOwners(asked: Asked, before: DraftAnswers): Promise<DraftAnswers> {
  let answers = before;
  for (;;) {
    const { aggregates, parts } = choicesOf(asked.facts, asked.sample, answers);
    if (parts.length === 0) return answers;
    for (const { name, root, children } of aggregates)
      if (children.length > 0) asked.say(`  ${name} = ${[root, ...children].join(" + ")}`);
    const table = await asked.prompter.choose("Does a table belong elsewhere?", [
      { value: GO_ON, name: "No, go on" },
      ...parts.map((part) => ({
        value: part.table,
        name: placeOf(part),
        description: part.reasons.join("; "),
      })),
    ]);
    if (table === GO_ON) return answers;
    const part = parts.find((one) => one.table === table)!;
    const owner = await asked.prompter.choose(`To what does ${table} belong?`, [
      { value: table, name: "To nothing: a stream of its own" },
      ...part.owners.map((name) => ({ value: name, name: `It is a part of ${name}` })),
    ]);
    answers = { ...answers, owners: { ...answers.owners, [table]: owner } };
    const now = choicesOf(asked.facts, asked.sample, answers).parts.find(
      (one) => one.table === table,
    )!;
    asked.say(`  ${placeOf(now)}: ${now.reasons.join("; ")}`);
  }
}

function placeOf({ table, root }: PartChoice): string {
  return root === table ? `${table}, on its own` : `${table}, a part of ${root}`;
}

async function askAggregates(asked: Asked, answers: DraftAnswers): Promise<DraftAnswers> {
  const { aggregates } = choicesOf(asked.facts, asked.sample, answers);
  const options = aggregates.map(({ root, name, children, verdict, reason, blocked, chosen }) => ({
    value: root,
    name: `${name} (${[root, ...children].join(", ")})`,
    description: `${verdict}: ${reason}`,
    ticked: chosen && blocked === undefined,
    ...(blocked === undefined ? {} : { disabled: `blocked: ${blocked}` }),
  }));
  const ticked = await asked.prompter.tick("Which aggregates shall have a history?", options);
  const proposed = options.filter((option) => option.ticked).map(({ value }) => value);
  if (isSame(ticked, proposed)) return answers;
  return { ...answers, aggregates: ticked.toSorted() };
}

async function askNames(asked: Asked, before: DraftAnswers): Promise<DraftAnswers> {
  let answers = before;
  for (;;) {
    const { aggregates } = asked.draftWith(answers);
    const rules = aggregates.flatMap((aggregate) => aggregate.rules);
    if (rules.length === 0) return answers;
    const id = await asked.prompter.choose("Should an event have another name?", [
      { value: GO_ON, name: "No, go on" },
      ...rules.map((rule) => ({
        value: rule.id,
        name: rule.event,
        description: `${rule.table}: ${rule.why}`,
      })),
    ]);
    if (id === GO_ON) return answers;
    const rule = rules.find((one) => one.id === id)!;
    const taken = new Set(
      aggregates.flatMap(({ otherwise, baseline, rules: own }) => [
        otherwise,
        baseline,
        ...own.filter((one) => one.id !== id).map(({ event }) => event),
      ]),
    );
    const event = await asked.prompter.type(`${rule.table}: ${rule.why}`, rule.event, (text) =>
      problemOf(text, taken),
    );
    if (event !== rule.event) answers = { ...answers, events: { ...answers.events, [id]: event } };
  }
}

function problemOf(text: string, taken: ReadonlySet<string>): true | string {
  if (!/^[A-Z][a-zA-Z0-9]{0,99}$/.test(text))
    return "A capital letter, then letters and digits: OrderShipped";
  const other = [...taken].find((name) => name.toLowerCase() === text.toLowerCase());
  return other === undefined ? true : `Another event is called ${other}`;
}

function isSame(a: readonly string[], b: readonly string[]): boolean {
  return a.toSorted().join("\0") === b.toSorted().join("\0");
}
