import type { RolePlan } from "./compile.ts";
import { isDecimal, type SourceTable } from "../model/table.ts";

type Problem = (message: string) => void;

/** Whether a table, as the catalogue shows it, can be told by events under its role in a stream. */
export function checkTable(
  plan: RolePlan,
  table: SourceTable,
  shapes: ReadonlyMap<string, SourceTable>,
  problem: Problem,
): void {
  checkKey(plan, table, problem);
  checkNames(plan, table, problem);
  const root = shapes.get(plan.stream.ref.root.name);
  if (plan.child !== undefined && root !== undefined) checkLink(plan, table, root, problem);
}

function checkKey({ tableRef }: RolePlan, table: SourceTable, problem: Problem): void {
  const { name, key, keyUniqueness } = table;
  const lacking = (tableRef.key ?? []).filter((each) => columnOf(table, each) === undefined);
  if (lacking.length > 0) {
    problem(`the key of ${name} names columns that it does not have: ${lacking.join(", ")}`);
    return;
  }
  if (key.length === 0) {
    problem(
      `table ${name} has no primary key; name columns that identify a row: table("${name}", { key: [...] })`,
    );
    return;
  }
  const columns = namesOf(table).join(", ");
  if (keyUniqueness === "nowhere") {
    problem(
      `nothing in the database makes the key (${columns}) of ${name} unique, and a row could be taken for another: create a unique index on columns that are NOT NULL`,
    );
  }
  if (keyUniqueness === "at-commit") {
    problem(
      `the key (${columns}) of ${name} is DEFERRABLE: two rows may have one key within a transaction, and the log does not tell them apart; make it NOT DEFERRABLE, or name another key`,
    );
  }
}

function checkNames({ child, stream, streamType }: RolePlan, table: SourceTable, problem: Problem) {
  for (const { name } of table.columns) {
    if (name === "__proto__") {
      problem(`column "${name}" of ${table.name} has a name that no object in JavaScript can have`);
    }
    if (name.startsWith("$")) {
      problem(
        `column "${name}" of ${table.name} begins with $, which is kept for Banyan's own words in event data`,
      );
    }
    if (child === undefined && Object.hasOwn(stream.ref.children, name)) {
      problem(
        `stream ${streamType}: the child "${name}" has the name of a column of ${table.name}; give it another`,
      );
    }
  }
}

/** A child is in its root's stream because its link's text is the root's key's text. */
function checkLink(plan: RolePlan, table: SourceTable, root: SourceTable, problem: Problem): void {
  const child = `child ${plan.role} of stream ${plan.streamType}`;
  const rootKey = namesOf(root);
  const link = Object.entries(plan.child?.parent ?? {});
  const referred = link.map(([, refersTo]) => refersTo);
  if (referred.toSorted().join("\0") !== rootKey.toSorted().join("\0")) {
    problem(
      `${child} refers to (${referred.join(", ")}), but the key of ${root.name} is (${rootKey.join(", ")})`,
    );
    return;
  }
  for (const [own, refersTo] of link) {
    const column = columnOf(table, own);
    if (column === undefined) {
      problem(`${child} uses column "${own}", which ${table.name} does not have`);
      continue;
    }
    const key = columnOf(root, refersTo)!;
    const why = unlike(column.type, key.type);
    if (why === undefined) continue;
    problem(
      `${child} cannot be found by "${own}" (${column.type}), which refers to "${refersTo}" (${key.type}) of ${root.name}: ${why}`,
    );
  }
}

/** Types that have several texts for one value. Numbers have too, but stream ids know how to write those. */
const AMBIGUOUS = /(^|\.)(citext|interval|jsonb)\b/;

/** Why a value of one type and its equal of the other need not have one text; undefined when they do. */
export function unlike(a: string, b: string): string | undefined {
  const ambiguous = [a, b].find((type) => AMBIGUOUS.test(type));
  if (ambiguous !== undefined)
    return `values of type ${ambiguous} can be equal and yet written in two ways`;
  const apart = a !== b && [a, b].some((type) => /^(bpchar|float)/.test(type));
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
