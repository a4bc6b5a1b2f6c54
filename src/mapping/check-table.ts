import type { RolePlan } from "./stream-plan.ts";
import { columnHint, type ReportProblem } from "./mapping-problem.ts";
import { isDecimal, type SourceTable } from "../model/table.ts";

/** Whether a table, as the catalogue shows it, can be told by events under its role in a stream. */
export function checkTable(
  plan: RolePlan,
  table: SourceTable,
  shapes: ReadonlyMap<string, SourceTable>,
  problem: ReportProblem,
): void {
  const here: ReportProblem = (found) =>
    problem({ stream: plan.streamType, table: table.name, ...found });
  checkKey(plan, table, here);
  checkNames(plan, table, here);
  const root = shapes.get(plan.stream.ref.root.name);
  // Of a root without key no child can say what it refers to; that is told of the root.
  if (plan.child === undefined || root === undefined || root.key.length === 0) return;
  checkLink(plan, table, root, here);
}

function checkKey({ tableRef }: RolePlan, table: SourceTable, problem: ReportProblem): void {
  const { name, key, keyUniqueness } = table;
  const lacking = (tableRef.key ?? []).filter((each) => columnOf(table, each) === undefined);
  if (lacking.length > 0) {
    problem({
      code: "key-column-missing",
      message: `the key of ${name} names columns that it does not have: ${lacking.join(", ")}`,
      next: columnHint(table, lacking[0]!),
    });
    return;
  }
  if (key.length === 0) {
    problem({
      code: "key-missing",
      message: `table ${name} has no primary key; name columns that identify a row: table("${name}", { key: [...] })`,
      next: `Add { key: [...] } to table("${name}"), or give the table a primary key`,
    });
    return;
  }
  const columns = namesOf(table).join(", ");
  if (keyUniqueness === "nowhere") {
    problem({
      code: "key-not-unique",
      message: `nothing in the database makes the key (${columns}) of ${name} unique, and a row could be taken for another: create a unique index on columns that are NOT NULL`,
      next: "Create that index, or name another key",
    });
  }
  if (keyUniqueness === "at-commit") {
    problem({
      code: "key-deferrable",
      message: `the key (${columns}) of ${name} is DEFERRABLE: two rows may have one key within a transaction, and the log does not tell them apart; make it NOT DEFERRABLE, or name another key`,
      next: "Make it NOT DEFERRABLE, or name another key",
    });
  }
}

function checkNames(
  { child, stream, streamType }: RolePlan,
  table: SourceTable,
  problem: ReportProblem,
): void {
  for (const { name } of table.columns) {
    if (name === "__proto__") {
      problem({
        code: "column-name-reserved",
        column: name,
        message: `column "${name}" of ${table.name} has a name that no object in JavaScript can have`,
        next: "Rename the column in the database, or leave the table out of the config",
      });
    }
    if (name.startsWith("$")) {
      problem({
        code: "column-name-reserved",
        column: name,
        message: `column "${name}" of ${table.name} begins with $, which is kept for Banyan's own words in event data`,
        next: "Rename the column in the database, or leave the table out of the config",
      });
    }
    if (child === undefined && Object.hasOwn(stream.ref.children, name)) {
      problem({
        code: "child-named-as-column",
        column: name,
        message: `stream ${streamType}: the child "${name}" has the name of a column of ${table.name}; give it another`,
        next: `Give the child "${name}" another name`,
      });
    }
  }
}

/** A child is in its root's stream because its link's text is the root's key's text. */
function checkLink(
  plan: RolePlan,
  table: SourceTable,
  root: SourceTable,
  problem: ReportProblem,
): void {
  const child = `child ${plan.role} of stream ${plan.streamType}`;
  const rootKey = namesOf(root);
  const link = Object.entries(plan.child?.parent ?? {});
  const referred = link.map(([, refersTo]) => refersTo);
  if (referred.toSorted().join("\0") !== rootKey.toSorted().join("\0")) {
    problem({
      code: "child-link",
      message: `${child} refers to (${referred.join(", ")}), but the key of ${root.name} is (${rootKey.join(", ")})`,
      next: `Name each of ${rootKey.join(", ")} once, as the column of ${table.name} that refers to it`,
    });
    return;
  }
  for (const [own, refersTo] of link) {
    const column = columnOf(table, own);
    if (column === undefined) {
      problem({
        code: "column-missing",
        column: own,
        message: `${child} uses column "${own}", which ${table.name} does not have`,
        next: columnHint(table, own),
      });
      continue;
    }
    const key = columnOf(root, refersTo)!;
    const why = unlike(column.type, key.type);
    if (why === undefined) continue;
    problem({
      code: "child-link-type",
      column: own,
      message: `${child} cannot be found by "${own}" (${column.type}), which refers to "${refersTo}" (${key.type}) of ${root.name}: ${why}`,
      next: "Give both columns one type, or map the table as a stream of its own",
    });
  }
}

/** Types that have several texts for one value. Numbers have too, but stream ids know how to write those. */
const AMBIGUOUS = /(^|\.)(citext|interval|jsonb)\b/;

/** Why a value of one type and its equal of the other need not have one text; undefined when they do. */
export function unlike(a: string, b: string): string | undefined {
  const ambiguous = [a, b].find((type) => AMBIGUOUS.test(type));
  if (ambiguous !== undefined)
    return `values of type ${ambiguous} can be equal and yet written in two ways`;
  const [time, otherTime] = [a, b].map((type) => /^(date|time)[a-z]*/.exec(type)?.[0]);
  const differ = a !== b && [a, b].some((type) => /^(bpchar|float)/.test(type));
  const apart = differ || (time !== undefined && otherTime !== undefined && time !== otherTime);
  const number = (type: string): boolean => isDecimal(type) || /^int[248]$/.test(type);
  if (apart || ([a, b].some(isDecimal) && !(number(a) && number(b))))
    return "equal values of these two types are written in two ways";
  return undefined;
}

function namesOf({ key, columns }: SourceTable): readonly string[] {
  return key.map((index) => columns[index]!.name);
}

function columnOf({ columns }: SourceTable, name: string) {
  return columns.find((column) => column.name === name);
}
