import type { RuleParts } from "./draft-aggregate.ts";
import type { RuleSketch } from "./drafted-rule.ts";
import { happeningOf, isParticiple, pascalCase, tellsOf } from "./happening.ts";
import { initialValue, valuesOf } from "./column-values.ts";
import { isMainState } from "./state-rules.ts";
import { latinWords } from "../assess/identifier-words.ts";

/** How a row comes into being: `OrderPlaced`, by its `placed_at` or the state it begins in. */
export function creationRule(parts: RuleParts, children: readonly string[]): RuleSketch {
  const { facts, isRoot } = parts;
  const { name } = facts.table;
  const { phrase, why } = verbOf(parts);
  const note = why === "" ? {} : { note: `Named so because ${why}.` };
  const plain = isRoot ? "Created" : "Added";
  const taken =
    children.length === 0
      ? ""
      : " Rows of its children that come in the same transaction belong to the event.";
  return {
    id: `${name} insert`,
    phrases: phrase === plain ? [plain] : [phrase, plain],
    on: "insert",
    when: [],
    with: children,
    why: `A row is inserted${why === "" ? "" : `, and ${why}`}.${taken}`,
    ...note,
  };
}

/** Words that say no more than that there is a row now. */
const MADE = /^(created|inserted|added|entered|recorded|loaded|imported)$/;

function verbOf({ facts, readings, isRoot, subject }: RuleParts): { phrase: string; why: string } {
  const plain = isRoot ? "Created" : "Added";
  const times = facts.columns.filter(
    ({ name, nullable }) =>
      !nullable &&
      readings.some(
        ({ column, role }) => column === name && (role === "created-at" || role === "happened-at"),
      ),
  );
  for (const { name } of times) {
    const words = latinWords(name).filter(
      (word) => !/^(at|on|date|time|datetime|timestamp)$/.test(word),
    );
    const own = words.join(" ").startsWith(`${subject.join(" ")} `)
      ? words.slice(subject.length)
      : words;
    // A shipment that was shipped is no news.
    const isNews = own.length > 0 && !tellsOf(subject.slice(-1), own);
    if (isNews && isParticiple(own.at(-1)!) && !MADE.test(own.at(-1)!))
      return { phrase: pascalCase(own), why: `${name} is filled from the start` };
  }
  for (const { column } of readings.filter(({ role }) => role === "state")) {
    // Another state beside the main one does not say what came into being.
    if (!isMainState(column)) continue;
    const begins = initialValue(facts, column);
    if (begins === undefined || !valuesOf(facts, column, undefined).includes(begins)) continue;
    const words = latinWords(begins);
    if (words.length === 1 && isParticiple(words[0]!) && !MADE.test(words[0]!))
      return {
        phrase: happeningOf(begins, subject) ?? plain,
        why: `${column} begins as ${begins}`,
      };
    if (begins === "open") return { phrase: "Opened", why: `${column} begins as open` };
  }
  return { phrase: plain, why: "" };
}
