import type { Checked, CheckFinding } from "./check-findings.ts";
import type { MappingChanges } from "./check-history.ts";
import { count, plural, renderTable } from "./output.ts";
import type { Explanation } from "../laws/explain.ts";
import type { LawReport } from "../laws/try-laws.ts";

const MARKS = { error: "✗", warning: "!", info: "·" } as const;

/** The result of a check for a person at a terminal. */
export function checkText(
  { tables, findings, laws, explanations, changes }: Checked,
  mend: readonly string[],
): string {
  const lines = (explanations ?? []).flatMap(explanationText);
  lines.push(...findings.flatMap(findingText));
  if (laws !== undefined) lines.push(...lawLines(laws));
  if (changes !== undefined) lines.push(...changeLines(changes));
  const errors = findings.filter((finding) => finding.severity === "error").length;
  lines.push(
    errors === 0
      ? `✓ ready: ${plural(tables, "table")} can be captured`
      : `${plural(errors, "problem")} to mend before banyan run`,
  );
  if (mend.length > 0)
    lines.push("", "SQL that mends it, in this order:", ...mend.map((sql) => `  ${sql}`));
  return lines.join("\n");
}

function changeLines({ from, changes }: MappingChanges): readonly string[] {
  if (changes.length === 0)
    return [`· the mapping is the one that events are told by (version ${from})`];
  return [
    `· against mapping version ${from}, from the next start of banyan run on:`,
    ...changes.map(({ message }) => `    ${message}`),
  ];
}

/** What the source lacks is one line; what the config lacks is told with its place and its next step. */
export function findingText(finding: CheckFinding): readonly string[] {
  const { severity, code, table, message, next, story } = finding;
  if (next === undefined) {
    const place = table === undefined || message.includes(table) ? "" : `${table}: `;
    return [`${MARKS[severity]} ${place}${message}`];
  }
  return [
    `${MARKS[severity]} ${message}`,
    `    at    ${placeText(finding)}  [${code}]`,
    ...(story ?? []).map((line, i) => `    ${i === 0 ? "story" : "     "} ${line}`),
    `    next  ${next}`,
  ];
}

function placeText({ stream, rule, table, column, config }: CheckFinding): string {
  const place = [
    ...(stream === undefined ? [] : [`stream ${stream}`]),
    ...(rule === undefined ? [] : [`rule ${rule}`]),
    ...(table === undefined ? [] : [column === undefined ? table : `${table}.${column}`]),
  ].join(", ");
  if (config === undefined) return place;
  return place === "" ? config : `${config}, ${place}`;
}

function lawLines({ seed, streams, findings }: LawReport): readonly string[] {
  const broken = new Set(
    findings.flatMap(({ law, stream }) => (law === undefined ? [] : [stream])),
  );
  const histories = sum(streams.map((each) => each.histories));
  const rows = sum(streams.map((each) => each.rows));
  const tried = `${plural(histories, "generated history", "generated histories")} and ${plural(rows, "real row")} (seed ${seed})`;
  const cut = cutLines(streams.filter(({ stream }) => !broken.has(stream)));
  const held = streams.length - broken.size;
  if (broken.size === 0) {
    return [...cut, `✓ the laws hold for ${plural(held, "stream")}: ${tried}`];
  }
  const names = [...broken].join(", ");
  return [...cut, `✗ the laws do not hold for ${names}: ${tried}`];
}

const CUT_NAMED_MAX = 3;

/** What was tried less than was asked for. */
function cutLines(streams: LawReport["streams"]): readonly string[] {
  const cut = streams.filter((each) => each.cut !== undefined);
  if (cut.length > CUT_NAMED_MAX) {
    const least = Math.min(...cut.map(({ histories }) => histories));
    return [
      `! the laws were tried less than asked for on ${plural(cut.length, "stream")}, at least with ${plural(least, "history", "histories")} each: ${cut[0]!.cut}`,
    ];
  }
  return cut.map(
    ({ stream, histories, cut: why }) =>
      `! the laws were tried on stream ${stream} with ${plural(histories, "history", "histories")} only: ${why}`,
  );
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}

/** One table per table and operation: rules in the order tried, what each claims, what is left. */
function explanationText(explanation: Explanation): readonly string[] {
  const { stream, table, operation, rules, fallback, moves } = explanation;
  const isWhole = operation !== "update";
  const rows = rules.map(({ rule, when, claims, takes }, i) => [
    count(i + 1),
    rule,
    when,
    `${isWhole ? "the whole row" : wrapped(claims)}${takes.length === 0 ? "" : ` with its ${takes.join(", ")}`}`,
  ]);
  const mixed = [
    ...(fallback.always.length === 0 ? [] : [`always: ${wrapped(fallback.always)}`]),
    ...(fallback.sometimes.length === 0 ? [] : [`otherwise: ${wrapped(fallback.sometimes)}`]),
  ];
  const left = rules.length === 0 ? [wrapped(fallback.always)] : mixed;
  if (left.length > 0) {
    const when = rules.length === 0 ? "always" : "what is left";
    rows.push(["", fallback.event, when, isWhole ? "the whole row" : left.join("\n")]);
  }
  return [
    `${stream}: ${operation} of ${table}`,
    ...renderTable(["", "event", "when", "claims"], rows)
      .split("\n")
      .map((line) => `  ${line}`),
    ...(moves.length === 0
      ? []
      : [`  a change of ${moves.join(", ")} is told as a delete and an insert`]),
    "",
  ];
}

const WIDTH = 60;

function wrapped(names: readonly string[]): string {
  const lines: string[] = [""];
  for (const name of names) {
    const last = lines.at(-1)!;
    if (last === "") lines[lines.length - 1] = name;
    else if (last.length + name.length + 2 > WIDTH) lines.push(name);
    else lines[lines.length - 1] = `${last}, ${name}`;
  }
  return lines.join(",\n");
}
