import { changesWith } from "./attached-columns.ts";
import { initialValue, isDeclared, jsonValue, stepOf, valuesOf } from "./column-values.ts";
import type { RuleParts } from "./draft-aggregate.ts";
import type { RuleSketch, Value } from "./drafted-rule.ts";
import { happeningOf, pascalCase, tellsOf } from "./happening.ts";
import { columnPhrase } from "./table-names.ts";
import type { ColumnReading } from "../assess/column-roles.ts";
import { latinWords, wordsOf } from "../assess/identifier-words.ts";

/** Words of a column that say only that it holds a state. */
const PLAIN =
  /^(status|state|stage|phase|lifecycle|workflow|zustand|statut|estado|etat|stato|id|code|current)$/;

/** Whether a column holds the state of the row as a whole, as `status` does and `payment_status` does not. */
export function isMainState(column: string): boolean {
  return latinWords(column).every((word) => PLAIN.test(word));
}

/** An event per state that a row may come into: `status` becoming `shipped` is Shipped. */
export function stateRules(parts: RuleParts): readonly RuleSketch[] {
  const states = parts.readings.filter(({ role }) => role === "state");
  const taken = new Set(states.map(({ column }) => column));
  return states.flatMap((reading) => rulesOf(parts, reading, taken));
}

function rulesOf(
  parts: RuleParts,
  { column }: ColumnReading,
  taken: Set<string>,
): readonly RuleSketch[] {
  const { facts, sampled } = parts;
  const { name, relation } = facts.table;
  const together = changesWith(sampled, column).filter(
    (other) => !parts.identity.has(other) && !taken.has(other) && isInLog(parts, other),
  );
  const initial = initialValue(facts, column);
  const values = valuesOf(facts, column, sampled);
  const rules = valueRules(parts, column, values, taken).map((rule) => ({
    ...rule,
    data: [...(rule.data ?? []), ...together],
  }));
  for (const { data } of rules) for (const other of data) taken.add(other);
  const told = rules.map(({ when }) => when[0]?.becomes);
  const isTold = (value: string): boolean => told.includes(jsonValue(facts, column, value));
  const isLeft = initial !== undefined && values.includes(initial) && !isTold(initial);
  const isComplete =
    isDeclared(facts, column) &&
    rules.length > 0 &&
    values.every((value) => isTold(value) || value === initial);
  const changes: RuleSketch = {
    id: `${name} ${column}`,
    phrases: [`${columnPhrase(column)}Changed`, `${columnPhrase(column)}ColumnChanged`],
    on: "update",
    when: [{ column }],
    data: together,
    why: `${column} becomes something else.`,
    note: "Any other value.",
  };
  const [first, ...rest] = rules;
  if (first === undefined) {
    const why = `The values of ${column} are not known: ANALYZE ${relation}, or draft with --sample, to name its states.`;
    return [{ ...changes, why, note: why }];
  }
  const heading = [
    `${column}: ${isDeclared(facts, column) ? "declared values" : "values as the statistics know them"}.`,
    ...(isLeft
      ? [
          `A row begins as ${initial}; to come back to that is told by the ${isComplete ? "otherwise event" : "last of these"}.`,
        ]
      : []),
    ...(rules.some(({ phrases }) => phrases[0].includes("SetTo"))
      ? ["They say little by themselves: name the events."]
      : []),
    ...(first.note === undefined ? [] : [first.note]),
  ].join(" ");
  return [{ ...first, note: heading }, ...rest, ...(isComplete ? [] : [changes])];
}

/** A rule for each value but the one in which a row begins, unless the sample saw rows go back to it. */
function valueRules(
  parts: RuleParts,
  column: string,
  values: readonly string[],
  taken: ReadonlySet<string>,
): readonly RuleSketch[] {
  const { facts, sampled } = parts;
  const initial = initialValue(facts, column);
  const steps = [...(sampled?.transitions.get(column) ?? [])];
  // Two texts may be one value, with blanks at the end of one.
  const done = new Set<Value>();
  return values.flatMap((value): RuleSketch[] => {
    const becomes = jsonValue(facts, column, value);
    const seen = steps.filter(([step]) => stepOf(step).to === value);
    if (becomes === undefined || done.has(becomes)) return [];
    if (value === initial && seen.length === 0) return [];
    done.add(becomes);
    const phrases = phrasesOf(parts, column, value, value === initial);
    const shown = value === "" ? "empty" : value;
    return [
      {
        id: `${facts.table.name} ${column}=${value}`,
        phrases,
        on: "update",
        when: [{ column, becomes }],
        // Of the states of one column only one is reached by a change: they may share what tells more of it.
        data: attachedTo(parts, wordsOf(phrases[0]), taken),
        why: `${column} becomes ${shown}${seen.length === 0 ? "" : ` (seen ${seenText(seen)})`}.`,
        ...(seen.length === 0 ? {} : { note: `Seen ${seenText(seen)}.` }),
      },
    ];
  });
}

function phrasesOf(
  { subject }: RuleParts,
  column: string,
  value: string,
  back: boolean,
): readonly [string, ...string[]] {
  const about = latinWords(column).filter((word) => !PLAIN.test(word));
  const own = about.join(" ") === subject.join(" ") ? "" : pascalCase(about);
  const text = pascalCase(latinWords(value));
  const plain = columnPhrase(column);
  const coded = `${plain}SetTo${text === "" ? "Other" : text}`;
  if (back) return [`${own}WentBackTo${text === "" ? "Start" : text}`, coded];
  const happening = happeningOf(value, subject);
  return happening === undefined ? [coded] : [`${own}${happening}`, `${plain}${happening}`, coded];
}

/** Columns that are filled in with the state: `paid_at` with Paid. */
function attachedTo(
  { facts, readings, identity }: RuleParts,
  happening: readonly string[],
  taken: ReadonlySet<string>,
): readonly string[] {
  return facts.columns
    .filter(({ name, nullable }) => {
      if (!nullable || identity.has(name) || taken.has(name)) return false;
      const words = latinWords(name);
      if (/^(to|from)$/.test(words.at(-1) ?? "")) return false;
      const roles = readings.filter(({ column }) => column === name).map(({ role }) => role);
      if (roles.some((role) => role === "soft-delete" || role === "secret" || role === "flag"))
        return false;
      return tellsOf(words, happening);
    })
    .map(({ name }) => name);
}

function seenText(seen: readonly (readonly [string, number])[]): string {
  const steps = seen
    .toSorted((a, b) => b[1] - a[1])
    .slice(0, 5)
    .map(([step, times]) => `from ${stepOf(step).from} ${times}×`);
  return steps.join(", ");
}

function isInLog({ facts }: RuleParts, column: string): boolean {
  return facts.table.columns.some(({ name }) => name === column);
}
