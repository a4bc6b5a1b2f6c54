import { singularWords } from "./identifier-words.ts";
import type { Reference } from "./references.ts";
import type { TableFacts } from "../source/database-facts.ts";

/** How much speaks for the rows of one table being parts of the row that they refer to. */
export interface Ownership {
  readonly reference: Reference;
  readonly points: number;
  /** What speaks for and against, in words that follow "it is" or "it has". */
  readonly reasons: readonly string[];
}

/** From here on a table is taken for a part of the other. */
export const OWNED_POINTS_MIN = 3;
/** One owner must lead the next by this much, or the table is shared. */
export const OWNER_LEAD_MIN = 2;

const PARTS = new Set(
  "line item position detail row part component step leg segment zeile posten".split(" "),
);
const TENANTS = new Set(
  "tenant client mandant organisation organization company workspace".split(" "),
);
/** On average, of rows per owner. */
const MANY = 100;
const TOO_MANY = 1000;

/**
 * @param parent the table referred to
 * @param referredBy how many tables refer to `child`
 */
export function weighOwnership(
  child: TableFacts,
  parent: TableFacts,
  reference: Reference,
  referredBy: number,
): Ownership {
  const reasons: string[] = [];
  let points = 0;
  const weigh = (value: number, reason: string): void => {
    points += value;
    reasons.push(reason);
  };
  const short = parent.table.relation;
  const key = child.primaryKey;
  const inKey = key.length > 0 && reference.columns.every((name) => key.includes(name));
  const cascades = reference.onDelete === "cascade";
  const [childWords, parentWords] = [child, parent].map((t) => singularWords(t.table.relation));
  const named =
    childWords!.length > parentWords!.length &&
    parentWords!.every((word, index) => childWords![index] === word);

  if (cascades) weigh(3, `deleted with its ${short} row`);
  if (inKey) {
    weigh(
      3,
      key.length === reference.columns.length
        ? `one row per ${short} row, under the same key`
        : `identified within its ${short} row`,
    );
  }
  if (named) weigh(2, `named after ${short}`);
  if (childWords!.some((word) => PARTS.has(word))) weigh(1, "named as a part");
  if (reference.nullable) weigh(-2, `able to stand without its ${short} row`);
  else weigh(1, `never without its ${short} row`);
  if (!reference.enforced) weigh(-1, "tied by a column name only, not by a foreign key");
  if (!cascades && inKey && isKeyedByTime(child))
    weigh(-2, "keyed by time, so that it would grow without end");
  const perParent = rowsPer(child, parent, reference);
  if (perParent !== undefined && perParent > TOO_MANY) {
    weigh(-4, `${Math.round(perParent)} rows per ${short} row, too many for one stream`);
  } else if (perParent !== undefined && perParent > MANY && !cascades) {
    weigh(-2, `${Math.round(perParent)} rows per ${short} row`);
  }
  if (!cascades && !named && parentWords!.some((word) => TENANTS.has(word)))
    weigh(-4, `told apart by ${short} as every table is`);
  if (!cascades && !named && referredBy > 1) weigh(-2, `referred to by ${referredBy} other tables`);
  return { reference, points, reasons };
}

function isKeyedByTime({ primaryKey, columns }: TableFacts): boolean {
  return columns.some(
    ({ name, type }) => primaryKey.includes(name) && /^(date|timestamp)/.test(type),
  );
}

/** Rows that refer to one row, on average over those that are referred to; undefined when not known. */
function rowsPer(
  child: TableFacts,
  parent: TableFacts,
  { columns }: Reference,
): number | undefined {
  const distinct =
    columns.length === 1
      ? child.columns.find(({ name }) => name === columns[0])?.distinct
      : undefined;
  const referred = distinct ?? parent.rows;
  if (child.rows === undefined || referred === undefined || referred === 0) return undefined;
  return child.rows / referred;
}
