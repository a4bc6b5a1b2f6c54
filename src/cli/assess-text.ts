import { count, renderTable } from "./output.ts";
import type {
  AssessedAggregate,
  AssessedTable,
  Assessment,
  Blocker,
  Verdict,
} from "../assess/assessment.ts";
import { VERDICTS } from "../assess/assessment.ts";
import { amount, byteAmount, known, rate } from "../assess/figures.ts";

export const VERDICT_WORDS: Readonly<Record<Verdict, string>> = {
  "migrate-first": "migrate first",
  migrate: "migrate",
  later: "later",
  blocked: "blocked",
  leave: "leave as CRUD",
};

const WIDTH = 98;
/** Of each verdict, so that a large database still gives a text that one reads. */
const SHOWN_MAX = 30;
/** Statements of one blocker: one with a statement per partition has many. */
const STATEMENTS_MAX = 3;

/** The assessment as text: what to know first stands first. */
export function assessmentText(assessment: Assessment): string {
  const { summary, aggregates } = assessment;
  if (summary.tables === 0) return [...summary.sentences, ...assessment.advice].join("\n");
  const detailed = aggregates.filter(
    ({ verdict }) => verdict === "migrate" || verdict === "blocked",
  );
  const sections = [
    paragraphs(summary.sentences),
    verdictLine(assessment),
    section("Aggregates, in the order of migration", aggregateTable(assessment)),
    ...firstSection(assessment),
    ...firstOfEach(detailed).map((aggregate) => aggregateText(aggregate, assessment)),
    ...briefSection("Later", aggregates, "later"),
    ...briefSection("Left as CRUD, and migrated only if needed", aggregates, "leave"),
    section("Tables", tableTable(assessment.tables)),
    ...blockerSection(assessment.blockers),
    ...(assessment.advice.length === 0
      ? []
      : [
          section(
            "To see more",
            assessment.advice.map((text) => wrap(text, "· ", "  ")).join("\n"),
          ),
        ]),
    ...(assessment.basis.sampleRefused === undefined
      ? []
      : [wrap(assessment.basis.sampleRefused, "! ", "  ")]),
  ];
  return sections.join("\n\n");
}

function verdictLine({ summary }: Assessment): string {
  const parts = VERDICTS.filter((verdict) => summary.verdicts[verdict] > 0).map(
    (verdict) => `${summary.verdicts[verdict]} ${VERDICT_WORDS[verdict]}`,
  );
  return `Tables: ${parts.join(" · ")}`;
}

function aggregateTable(assessment: Assessment): string {
  const { aggregates } = assessment;
  const shown = firstOfEach(aggregates);
  const text = renderTable(
    ["aggregate", "verdict", "tables", "rows", "size", "changes/day", "store/day", "baseline"],
    shown.map((aggregate) => [
      aggregate.name,
      VERDICT_WORDS[aggregate.verdict],
      String(1 + aggregate.children.length),
      known(aggregate.rows, amount),
      byteAmount(aggregate.bytes),
      aggregateRateWords(aggregate, assessment),
      known(aggregate.cost.bytesPerDay, byteAmount),
      known(aggregate.cost.baselineBytes, byteAmount),
    ]),
  );
  return `${text}${moreWords(aggregates.length - shown.length)}`;
}

/** Of each verdict no more than can be read, in their order. */
function firstOfEach<T extends { readonly verdict: Verdict }>(all: readonly T[]): readonly T[] {
  const seen = new Map<Verdict, number>();
  return all.filter(({ verdict }) => {
    const before = seen.get(verdict) ?? 0;
    seen.set(verdict, before + 1);
    return before < SHOWN_MAX;
  });
}

function moreWords(more: number): string {
  return more <= 0 ? "" : `\n  … and ${count(more)} more: see --json`;
}

function firstSection(assessment: Assessment): readonly string[] {
  const { first, aggregates } = assessment;
  if (first === undefined) return [];
  const aggregate = aggregates.find(({ name }) => name === first.aggregate)!;
  return [aggregateText({ ...aggregate, reasons: first.reasons }, assessment)];
}

function aggregateText(aggregate: AssessedAggregate, { tables }: Assessment): string {
  const lines = [`${aggregate.name}: ${VERDICT_WORDS[aggregate.verdict]}`];
  const children = aggregate.children.map(({ role, table }) => `${role} (${table})`).join(", ");
  lines.push(
    wrap(`${aggregate.root}${children === "" ? "" : ` with ${children}`}`, "  ", "    "),
    ...aggregate.reasons.map((reason) => wrap(reason, "  + ", "    ")),
  );
  for (const reason of boundaryOf(aggregate)) lines.push(wrap(reason, "  · ", "    "));
  for (const { table, reasons } of aggregate.children) {
    lines.push(wrap(`${table} belongs to it: ${reasons.join(", ")}`, "  · ", "    "));
  }
  const leaving = aggregate.leaving.map(
    ({ table, columns, references, enforced }) =>
      `${table === aggregate.root ? "" : `${table}.`}${columns.join(", ")} → ${references}${enforced ? "" : " (by name only)"}`,
  );
  if (leaving.length > 0)
    lines.push(wrap(`refers to others: ${leaving.join("; ")}`, "  · ", "    "));
  if (aggregate.circle.length > 0)
    lines.push(
      wrap(
        `refers in a circle with ${aggregate.circle.join(", ")}: events tell ids, so neither has to be first`,
        "  · ",
        "    ",
      ),
    );
  const members = new Set([aggregate.root, ...aggregate.children.map(({ table }) => table)]);
  for (const table of tables.filter(({ name }) => members.has(name))) {
    for (const { text } of table.notes) {
      lines.push(wrap(members.size === 1 ? text : `${table.name}: ${text}`, "  ! ", "    "));
    }
  }
  return lines.join("\n");
}

/** What can wait is told in a line or two; --json and --html tell the rest. */
function briefSection(
  title: string,
  aggregates: readonly AssessedAggregate[],
  verdict: Verdict,
): readonly string[] {
  const left = aggregates.filter((aggregate) => aggregate.verdict === verdict);
  if (left.length === 0) return [];
  const lines = left
    .slice(0, SHOWN_MAX)
    .map((aggregate) =>
      wrap(
        `${aggregate.name}: ${[...aggregate.reasons, ...boundaryOf(aggregate)].join("; ")}`,
        "  · ",
        "    ",
      ),
    );
  return [`${title}\n${lines.join("\n")}${moreWords(left.length - SHOWN_MAX)}`];
}

/** What is worth saying of why it is an aggregate of its own. */
function boundaryOf({ boundary }: AssessedAggregate): readonly string[] {
  return boundary.filter(
    (reason) => !/^\d+ other tables? refers? to it$|^it refers to nothing/.test(reason),
  );
}

function tableTable(tables: readonly AssessedTable[]): string {
  const shown = firstOfEach(tables);
  const text = renderTable(
    [
      "table",
      "verdict",
      "rows",
      "size",
      "added/day",
      "changed/day",
      "removed/day",
      "key",
      "old row in the log",
    ],
    shown.map((table) => [
      table.name,
      VERDICT_WORDS[table.verdict],
      table.rows === undefined ? "unknown" : amount(table.rows),
      byteAmount(table.bytes),
      rateWords(table, table.changes.insertedPerDay),
      rateWords(table, table.changes.updatedPerDay),
      rateWords(table, table.changes.deletedPerDay),
      keyWords(table),
      identityWords(table),
    ]),
  );
  return `${text}${moreWords(tables.length - shown.length)}`;
}

/** A short sample that saw nothing does not say that there is nothing. */
export function rateWords({ changes }: AssessedTable, perDay: number | undefined): string {
  if (perDay === undefined) return "unknown";
  return perDay === 0 && changes.basis === "sample" ? "none seen" : rate(perDay);
}

export function aggregateRateWords(
  { changesPerDay, root }: AssessedAggregate,
  { tables }: Assessment,
): string {
  const basis = tables.find(({ name }) => name === root)?.changes.basis;
  return changesPerDay.value === 0 && basis === "sample" ? "none seen" : known(changesPerDay, rate);
}

export function keyWords({ key, uniqueKeys }: AssessedTable): string {
  if (key.length > 0) return key.join(", ");
  return uniqueKeys[0] === undefined ? "none" : `unique: ${uniqueKeys[0].join(", ")}`;
}

export function identityWords({ replicaIdentity, key }: AssessedTable): string {
  switch (replicaIdentity) {
    case "full":
      return "whole";
    case "nothing":
      return "nothing";
    case "index":
      return "an index's columns";
    default:
      return key.length > 0 ? "key" : "nothing";
  }
}

function blockerSection(blockers: readonly Blocker[]): readonly string[] {
  if (blockers.length === 0) return [];
  const lines = blockers.flatMap(({ table, text, sql }) => [
    wrap(table === undefined || text.includes(table) ? text : `${table}: ${text}`, "✗ ", "  "),
    ...(sql === undefined ? [] : statements(sql)),
  ]);
  return [section("Before a capture", lines.join("\n"))];
}

function statements(sql: string): readonly string[] {
  const all = sql.split(/(?<=;) (?=[A-Z])/);
  const lines = all.slice(0, STATEMENTS_MAX).map((statement) => `    ${statement}`);
  if (all.length > STATEMENTS_MAX)
    lines.push(`    -- and ${all.length - STATEMENTS_MAX} more of the kind: see --json`);
  return lines;
}

function section(title: string, body: string): string {
  return `${title}\n${body}`;
}

function paragraphs(sentences: readonly string[]): string {
  return sentences.map((sentence) => wrap(sentence, "", "")).join("\n");
}

/** Breaks text at blanks; a word longer than a line stays whole. */
function wrap(text: string, first: string, indent: string): string {
  const lines: string[] = [];
  let line = first;
  let empty = true;
  for (const word of text.split(" ")) {
    if (!empty && line.length + 1 + word.length > WIDTH) {
      lines.push(line);
      line = indent;
      empty = true;
    }
    line += empty ? word : ` ${word}`;
    empty = false;
  }
  return [...lines, line].join("\n");
}
