import { attachedColumns, isMakersMark } from "./attached-columns.ts";
import type { RuleParts } from "./draft-aggregate.ts";
import type { RuleSketch } from "./drafted-rule.ts";
import { deedOf, isParticiple, pascalCase } from "./happening.ts";
import { stateRules } from "./state-rules.ts";
import { columnPhrase, nounOf, referredName } from "./table-names.ts";
import type { ColumnReading } from "../assess/column-roles.ts";
import { latinWords } from "../assess/identifier-words.ts";
import { parseQualifiedName } from "../model/table.ts";

/** Beyond this a table's events would not be read: the rest is told by the fallback. */
const RULES_MAX = 60;
/** Of a child with more columns an event that names them all would not be read. */
const REST_COLUMNS_MAX = 30;

/**
 * What happens to a row while it is there. Rules are tried in their order and claim each changed
 * column once, so the more telling ones come first.
 */
export function updateRules(parts: RuleParts): readonly RuleSketch[] {
  const named = new Set<string>();
  const rules: RuleSketch[] = [];
  const take = (sketches: readonly RuleSketch[]): void => {
    for (const sketch of sketches) {
      if (rules.length >= RULES_MAX) return;
      rules.push(sketch);
      for (const { column } of sketch.when) named.add(column);
      for (const column of [...(sketch.anyOf ?? []), ...(sketch.data ?? [])]) named.add(column);
    }
  };
  take(stateRules(parts));
  take(softDeleteRules(parts, named));
  take(flagRules(parts, named));
  take(milestoneRules(parts, named));
  take(referenceRules(parts, named));
  take(groupRules(parts, named));
  if (!parts.isRoot) take(restRule(parts, named));
  const always = attachedColumns(parts);
  return rules.map((rule) => {
    const own = new Set([...rule.when.map(({ column }) => column), ...(rule.anyOf ?? [])]);
    const data = [...new Set([...(rule.data ?? []), ...always])].filter((name) => !own.has(name));
    return { ...rule, data };
  });
}

function withRole(
  { readings }: RuleParts,
  role: ColumnReading["role"],
  named: ReadonlySet<string>,
): readonly string[] {
  const columns = readings.filter((reading) => reading.role === role).map(({ column }) => column);
  return columns.filter((column) => !named.has(column));
}

/** `deleted_at` filled is Deleted, emptied again is Restored. */
function softDeleteRules(parts: RuleParts, named: ReadonlySet<string>): readonly RuleSketch[] {
  const { facts } = parts;
  const { name } = facts.table;
  return withRole(parts, "soft-delete", named).flatMap((column): RuleSketch[] => {
    const found = facts.columns.find((one) => one.name === column)!;
    const words = latinWords(column);
    const verb = words.find((word) => isParticiple(word)) ?? "deleted";
    const isTime = /^(date|timestamp)/.test(found.type) && found.nullable;
    if (!isTime && found.type !== "bool")
      return [changesRule(parts, column, `${column} marks rows as gone.`)];
    const [gone, back] = isTime ? ([undefined, null] as const) : ([true, false] as const);
    const restored = {
      id: `${name} ${column} back`,
      phrases: ["Restored", `${columnPhrase(column)}Reset`] as const,
      on: "update" as const,
      when: [{ column, becomes: back }],
      why: `${column} no longer marks the row as gone.`,
    };
    const deleted = {
      id: `${name} ${column} gone`,
      phrases: [pascalCase([verb]), `MarkedAs${pascalCase([verb])}`] as const,
      on: "update" as const,
      when: [gone === undefined ? { column } : { column, becomes: gone }],
      ...(gone === undefined ? { filled: column } : {}),
      why: `${column} marks the row as gone; it is still there.`,
      note: `${column} marks the row as gone; it is still there.`,
    };
    return [restored, deleted];
  });
}

const SWITCHES: ReadonlyMap<string, readonly [on: string, off: string]> = new Map(
  Object.entries({
    active: ["Activated", "Deactivated"],
    inactive: ["Deactivated", "Activated"],
    enabled: ["Enabled", "Disabled"],
    disabled: ["Disabled", "Enabled"],
    blocked: ["Blocked", "Unblocked"],
    locked: ["Locked", "Unlocked"],
    published: ["Published", "Unpublished"],
    visible: ["Shown", "Hidden"],
    hidden: ["Hidden", "Shown"],
    suspended: ["Suspended", "Reinstated"],
    closed: ["Closed", "Reopened"],
    open: ["Opened", "Closed"],
    featured: ["Featured", "Unfeatured"],
    pinned: ["Pinned", "Unpinned"],
  } as const),
);

function flagRules(parts: RuleParts, named: ReadonlySet<string>): readonly RuleSketch[] {
  const { facts } = parts;
  const { name } = facts.table;
  return withRole(parts, "flag", named).flatMap((column): RuleSketch[] => {
    const isBool = facts.columns.find((one) => one.name === column)!.type === "bool";
    const words = latinWords(column).filter((word) => !/^(is|has|flag)$/.test(word));
    const pair = words.length === 1 ? SWITCHES.get(words[0]!) : undefined;
    if (!isBool || pair === undefined)
      return [changesRule(parts, column, `${column} is switched on or off.`)];
    return [true, false].map((value, i) => ({
      id: `${name} ${column}=${value}`,
      phrases: [pair[i]!, `${columnPhrase(column)}Switched${value ? "On" : "Off"}`],
      on: "update",
      when: [{ column, becomes: value }],
      why: `${column} is switched ${value ? "on" : "off"}.`,
    }));
  });
}

/** A time that is filled in later: `delivered_at` is Delivered, and so is `delivery_date`. */
function milestoneRules(parts: RuleParts, named: ReadonlySet<string>): readonly RuleSketch[] {
  const { facts } = parts;
  const { name } = facts.table;
  return withRole(parts, "happened-at", named).flatMap((column): RuleSketch[] => {
    const found = facts.columns.find((one) => one.name === column)!;
    const words = latinWords(column).filter(
      (word) => !/^(at|on|date|time|datetime|when)$/.test(word),
    );
    const { subject } = parts;
    const repeats = words.length > subject.length && subject.every((word, i) => words[i] === word);
    const deed = deedOf(repeats ? words.slice(subject.length) : words);
    if (!found.nullable || deed === undefined) return [];
    const phrase = pascalCase(deed);
    return [
      {
        id: `${name} ${column}`,
        phrases: [phrase, `${columnPhrase(column)}Set`],
        on: "update",
        when: [{ column }],
        filled: column,
        why: `${column} is filled in: a step in the life of the row.`,
      },
    ];
  });
}

/** The row comes to refer to another one. */
function referenceRules(parts: RuleParts, named: ReadonlySet<string>): readonly RuleSketch[] {
  const { facts, references, identity } = parts;
  const { name } = facts.table;
  const done = new Set([...attachedColumns(parts), ...identity, ...named]);
  return references.flatMap(({ columns, references: target }): RuleSketch[] => {
    const free = columns.filter(
      (column) => !done.has(column) && !isMakersMark(column) && isInLog(parts, column),
    );
    if (free.length === 0) return [];
    for (const column of free) done.add(column);
    const about =
      columns.length === 1 ? referredName(free[0]!) : nounOf(parseQualifiedName(target).relation);
    return [
      {
        id: `${name} ${free.join(",")}`,
        phrases: [`${about}Changed`, `${columnPhrase(free.join("_"))}Changed`],
        on: "update",
        when: free.length === 1 ? [{ column: free[0]! }] : [],
        anyOf: free.length === 1 ? [] : free,
        why: `It refers to another row of ${target}.`,
      },
    ];
  });
}

/** Money, choices, personal data and secrets: each told by itself, because somebody will ask for it. */
function groupRules(parts: RuleParts, named: ReadonlySet<string>): readonly RuleSketch[] {
  const { name } = parts.facts.table;
  const money = withRole(parts, "money", named);
  const isBusy = new Set([...named, ...money]);
  const choices = withRole(parts, "category", isBusy);
  for (const column of choices) isBusy.add(column);
  const secrets = withRole(parts, "secret", isBusy);
  for (const column of secrets) isBusy.add(column);
  const personal = withRole(parts, "personal", isBusy);
  const group = (columns: readonly string[], phrase: string, why: string): RuleSketch[] =>
    columns.length === 0
      ? []
      : columns.length === 1
        ? [changesRule(parts, columns[0]!, why, amountPhrase(columns[0]!))]
        : [
            {
              id: `${name} ${phrase}`,
              phrases: [phrase],
              on: "update",
              when: [],
              anyOf: columns,
              why,
            },
          ];
  return [
    ...group(money, "AmountsChanged", "Money: somebody will ask how it came about."),
    ...choices.map((column) => changesRule(parts, column, `${column} is one of a few values.`)),
    ...group(secrets, "CredentialsChanged", "Secrets: they would stay in the history.").map(noted),
    ...group(
      personal,
      "DetailsChanged",
      "Personal data: decide on erasure before its history is kept.",
    ).map(noted),
  ];
}

function noted(rule: RuleSketch): RuleSketch {
  return { ...rule, note: rule.why };
}

/** Everything else of a child, so that the fallback is about the root. */
function restRule(parts: RuleParts, named: ReadonlySet<string>): readonly RuleSketch[] {
  const { facts, identity } = parts;
  const always = new Set(attachedColumns(parts));
  const made = new Set(withRole(parts, "created-at", named));
  const rest = facts.table.columns
    .map(({ name }) => name)
    .filter((name) => !identity.has(name) && !named.has(name) && !always.has(name))
    // Who made it and when does not change.
    .filter((name) => !made.has(name) && !isMakersMark(name));
  if (rest.length === 0 || rest.length > REST_COLUMNS_MAX) return [];
  const [only] = rest;
  if (rest.length === 1) return [changesRule(parts, only!, `${only} changes.`)];
  return [
    {
      id: `${facts.table.name} rest`,
      phrases: ["Changed", "DataChanged"],
      on: "update",
      when: [],
      anyOf: rest,
      why: "Any other column changes.",
      note: "Any other column.",
    },
  ];
}

/** `price_cents` is a price. */
function amountPhrase(column: string): string {
  const phrase = columnPhrase(column);
  return phrase.replace(/(?<=.)Cents$/, "");
}

function changesRule(
  { facts }: RuleParts,
  column: string,
  why: string,
  phrase = columnPhrase(column),
): RuleSketch {
  return {
    id: `${facts.table.name} ${column}`,
    phrases: [`${phrase}Changed`, `${columnPhrase(column)}ColumnChanged`],
    on: "update",
    when: [{ column }],
    why,
  };
}

/** Whether the log carries the column: a generated one may refer to something and not be there. */
function isInLog({ facts }: RuleParts, column: string): boolean {
  return facts.table.columns.some(({ name }) => name === column);
}
