import type { DraftedAggregate } from "./draft-aggregate.ts";
import { list as listNames } from "../assess/table-notes.ts";
import { capitalized } from "./happening.ts";
import type { LeftOut } from "./select-aggregates.ts";
import type { TableName } from "./table-names.ts";
import { call, comment, literal, member, object, oneLine, print } from "./typescript-text.ts";
import { ruleCode } from "./write-rule.ts";
import type { ChildProposal } from "../assess/propose-aggregates.ts";
import type { DatabaseFacts } from "../source/database-facts.ts";

interface ConfigParts {
  readonly facts: DatabaseFacts;
  readonly name: string;
  readonly names: ReadonlyMap<string, TableName>;
  readonly aggregates: readonly DraftedAggregate[];
  readonly leftOut: readonly LeftOut[];
}

/** Text of `banyan.config.ts`. */
export function writeConfig(parts: ConfigParts): string {
  const { facts, name, aggregates } = parts;
  const streams = aggregates.map((aggregate) => streamText(aggregate, parts.names)).join("\n\n");
  const words = [
    ...new Set(["defineMigration", "env", "stream", ...wordsUsed(aggregates)]),
  ].toSorted();
  const tables = tablesUsed(aggregates)
    .map((table) => parts.names.get(table)!.constant)
    .toSorted();
  return [
    comment(
      `A first mapping of the database ${facts.database} (${facts.server}), drafted by banyan draft. It is yours to change: once it is edited, banyan draft only shows what it would write and leaves it as it is.`,
      0,
    ),
    "//",
    comment(
      "LEGACY_URL holds the address of the database, postgres://user:password@host:port/database. The next step is: npx banyan check",
      0,
    ),
    "//",
    comment(
      "Rules are tried in their order, and each changed column is told by one event; what no rule claims is told by the otherwise event with its old and new values, so nothing is lost. An event has the time of its validTime column where its change set that, else the time of its transaction. docs/3-mapping.md explains the words.",
      0,
    ),
    importOf(words, "banyan"),
    importOf(tables, "./banyan.tables.ts"),
    "",
    "export default defineMigration({",
    `  name: ${literal(name)},`,
    `  source: { kind: "postgres", url: env("LEGACY_URL") },`,
    comment("A Postgres of Banyan's own, in .banyan/store. For production:", 2),
    comment(`{ kind: "postgres", url: env("EVENTS_URL") }`, 2),
    `  store: { kind: "embedded" },`,
    "  streams: {",
    streams,
    "  },",
    "});",
    ...leftOutText(parts.leftOut),
  ].join("\n");
}

function importOf(names: readonly string[], from: string): string {
  const line = `import { ${names.join(", ")} } from ${literal(from)};`;
  return line.length <= 100
    ? line
    : `import {\n${names.map((name) => `  ${name},`).join("\n")}\n} from ${literal(from)};`;
}

function streamText(aggregate: DraftedAggregate, names: ReadonlyMap<string, TableName>): string {
  const { proposal, children, rules, otherwise, baseline } = aggregate;
  const lines: string[] = [
    ...aboutStream(aggregate),
    `    ${proposal.name}: stream(${names.get(proposal.root)!.constant}, {`,
  ];
  if (children.length > 0) {
    const all = children.flatMap((child) => childLines(child, names));
    lines.push("      children: {", ...all, "      },");
  }
  lines.push(...validTimeLines(aggregate), "      events: {");
  let table = proposal.root;
  for (const rule of rules) {
    if (rule.table !== table) lines.push("");
    table = rule.table;
    if (rule.note !== undefined) lines.push(comment(rule.note, 8));
    lines.push(`        ${print(member(rule.event, ruleCode(rule, names)), 8)}`);
  }
  lines.push("      },", `      otherwise: ${literal(otherwise)},`);
  // Where the name that it has by itself would be another stream's too.
  if (baseline !== baselineOf(proposal.name)) lines.push(`      baseline: ${literal(baseline)},`);
  if (aggregate.truncates) {
    const why = "The sample saw a TRUNCATE: each row that one takes is told as removed.";
    lines.push(comment(why, 6), `      truncate: "events",`);
  }
  lines.push("    }),");
  return lines.join("\n");
}

function aboutStream({ proposal, assessed }: DraftedAggregate): readonly string[] {
  const { reasons, leaving, key, keyMustBeNamed } = proposal;
  const others = [...new Set(leaving.map(({ references }) => shortName(references)))];
  return [
    comment(
      `${shortName(proposal.root)}: ${VERDICTS[assessed.verdict]}; ${assessed.reasons.join("; ")}.`,
      4,
    ),
    comment(`A stream of its own: ${reasons.join("; ")}.`, 4),
    ...(keyMustBeNamed
      ? [comment(`It has no primary key: (${key.join(", ")}) tells its rows apart.`, 4)]
      : []),
    ...(others.length > 0 ? [comment(`It refers to ${listNames(others, 6)} by ids.`, 4)] : []),
  ];
}

/** Of a stream that does not name it. */
function baselineOf(stream: string): string {
  return `${capitalized(stream)}Baselined`;
}

function childLines(
  { table, role, parent, reasons, validTime, through }: ChildProposal,
  names: ReadonlyMap<string, TableName>,
): readonly string[] {
  const deep = through === undefined ? "" : `a part of ${shortName(through)}; `;
  const link = Object.entries(parent).map(([own, key]) => [own, literal(key)] as const);
  const options = validTime === undefined ? [] : [object({ validTime: literal(validTime) })];
  const code = call(
    "child",
    names.get(table)!.constant,
    object(Object.fromEntries(link)),
    ...options,
  );
  return [
    comment(`${shortName(table)}: ${deep}${reasons.join(", ")}.`, 8),
    `        ${print(member(role, code), 8)}`,
  ];
}

function validTimeLines({ proposal, rootFacts }: DraftedAggregate): readonly string[] {
  const { validTime } = proposal;
  if (validTime === undefined) return [];
  const type = rootFacts.columns.find(({ name }) => name === validTime)?.type ?? "";
  return [
    ...(type.startsWith("timestamptz")
      ? []
      : [comment(`${validTime} has no time zone and is read as UTC.`, 6)]),
    `      validTime: ${literal(validTime)},`,
  ];
}

/** Without the schema that goes without saying. */
function shortName(table: string): string {
  return table.replace(/^public\./, "");
}

function wordsUsed(aggregates: readonly DraftedAggregate[]): readonly string[] {
  return aggregates.flatMap(({ children, rules }) => [
    ...(children.length > 0 ? ["child"] : []),
    ...rules.flatMap(({ on, when, anyOf }) =>
      on === "insert"
        ? ["inserted"]
        : on === "delete"
          ? ["deleted"]
          : [
              "updated",
              ...(anyOf.length > 0 ? ["changed"] : []),
              ...when.map(({ becomes }) => (becomes === undefined ? "changes" : "becomes")),
            ],
    ),
  ]);
}

function tablesUsed(aggregates: readonly DraftedAggregate[]): readonly string[] {
  return aggregates.flatMap(({ proposal, children }) => [
    proposal.root,
    ...children.map(({ table }) => table),
  ]);
}

const VERDICTS = {
  "migrate-first": "migrate first",
  migrate: "migrate",
  later: "later",
  blocked: "worth it",
  leave: "asked for",
} as const;

/** What is not in the mapping, at its end, so that nobody has to guess. */
function leftOutText(leftOut: readonly LeftOut[]): readonly string[] {
  if (leftOut.length === 0) return [];
  const told = leftOut.filter(({ cause }) => cause !== "unasked");
  const unasked = leftOut.filter(({ cause }) => cause === "unasked").map(({ table }) => table);
  const lines = told.flatMap(({ table, cause, reasons, sql }) => [
    comment(`* ${shortName(table)}: ${CAUSES[cause]}${reasons.join("; ")}`, 0),
    // In one line, so that it can be copied.
    ...sql.map((statement) => `//     ${oneLine(statement)}`),
  ]);
  if (unasked.length > 0)
    lines.push(comment(`* not asked for: ${listNames(unasked.map(shortName), 40)}`, 0));
  return [
    "",
    comment("Left out, and why. To draft one all the same: banyan draft <url> --tables NAME", 0),
    ...lines,
  ];
}

const CAUSES = { judged: "leave as CRUD: ", blocked: "blocked: ", part: "", unasked: "" } as const;
