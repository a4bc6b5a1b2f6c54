import type { ColumnDomain } from "./canonical-value.ts";
import { neverHolds } from "./canonical-value.ts";
import type { LawTable } from "./law-tables.ts";
import { rowMatches, updateMatches, type CompiledRule } from "../mapping/compiled-rule.ts";
import type { Cell } from "../model/cell.ts";

/** What a column is before a change and after it. */
export type Pair = readonly [before: Cell, after: Cell];

/**
 * Whether a rule can fire at all. `witness` says by column what the smallest kind of change is on which
 * it does; a column that it does not name does not matter. `unknown` when there are too many cases.
 */
export type Reach =
  | { readonly verdict: "fires"; readonly witness: ReadonlyMap<number, Pair> }
  | { readonly verdict: "never" | "unknown" };

/** Stand for any value that no rule names. Two, so that one can become the other. */
export const ANY_VALUES = ["\u0000any", "\u0000other"] as const;

/** Rules looked at, in all cases of one rule together. */
const WORK_MAX = 200_000;

/**
 * Whether an update rule can fire behind those before it.
 *
 * Rules look at a column only by whether it changes and whether it is one of the values they name, so
 * all changes fall into finitely many cases, and all of them are tried. A `where` may say anything: the
 * rule's own is taken to hold, and an earlier rule that has one both to fire and not to.
 */
export function updateReach(
  rule: CompiledRule,
  earlier: readonly CompiledRule[],
  about: LawTable,
): Reach {
  const rivals = rivalsOf(rule, earlier);
  const all = [...rivals, rule];
  const columns = columnsOf(all, rule);
  const cases = columns.map((column) => pairsOf(column, all, about));
  const gates = rivals.filter(({ where }) => where !== undefined);
  const before: Cell[] = about.table.columns.map(() => ANY_VALUES[0]);
  const after = [...before];
  const changed = new Uint8Array(before.length);
  const { json } = about.mapper.parts;
  const fires = (closed: ReadonlySet<CompiledRule>): boolean => {
    for (const column of columns) changed[column] = before[column] === after[column] ? 0 : 1;
    for (const rival of rivals) {
      if (closed.has(rival)) continue;
      if (!updateMatches(unconditional(rival), before, after, changed, json)) continue;
      for (const column of rival.claims) if (changed[column] === 1) changed[column] = 2;
    }
    return updateMatches(unconditional(rule), before, after, changed, json);
  };
  return search(columns, cases, gates, all.length, (chosen, closed) => {
    chosen.forEach((pair, i) => {
      [before[columns[i]!], after[columns[i]!]] = pair;
    });
    return fires(closed);
  });
}

/** Whether an insert or delete rule can fire behind those before it, which take the whole row. */
export function rowReach(
  rule: CompiledRule,
  earlier: readonly CompiledRule[],
  about: LawTable,
): Reach {
  const rivals = earlier.filter(({ where }) => where === undefined);
  const all = [...rivals, rule];
  const columns = columnsOf(all, rule);
  const cases = columns.map((column) =>
    valuesOf(column, all, about).map((value): Pair => [value, value]),
  );
  const cells: Cell[] = about.table.columns.map(() => ANY_VALUES[0]);
  const { json } = about.mapper.parts;
  return search(columns, cases, [], all.length, (chosen) => {
    chosen.forEach(([value], i) => (cells[columns[i]!] = value));
    if (!rowMatches(unconditional(rule), cells, json)) return false;
    return !rivals.some((rival) => rowMatches(unconditional(rival), cells, json));
  });
}

function unconditional(rule: CompiledRule): CompiledRule {
  return rule.where === undefined ? rule : { ...rule, where: undefined };
}

/** Earlier rules that may take a column from this one, or from one that does. */
function rivalsOf(rule: CompiledRule, earlier: readonly CompiledRule[]): readonly CompiledRule[] {
  const rivals = new Set<CompiledRule>();
  const contested = new Set(rule.claims);
  for (let grown = true; grown;) {
    grown = false;
    for (const other of earlier) {
      if (rivals.has(other) || !other.claims.some((column) => contested.has(column))) continue;
      rivals.add(other);
      for (const column of other.claims) contested.add(column);
      grown = true;
    }
  }
  return earlier.filter((other) => rivals.has(other));
}

/** The rule's own columns first: their cases are tried first. */
function columnsOf(rules: readonly CompiledRule[], first: CompiledRule): readonly number[] {
  const own = [first, ...rules].flatMap(({ claims, conditions }) => [
    ...conditions.map(({ column }) => column),
    ...claims,
  ]);
  return [...new Set(own)];
}

/** One value of each kind that the rules tell apart. */
function valuesOf(
  column: number,
  rules: readonly CompiledRule[],
  about: LawTable,
): readonly Cell[] {
  const { nullable } = about.table.columns[column]!;
  const named = new Set(
    rules.flatMap(({ conditions }) =>
      conditions.flatMap((condition) => (condition.column === column ? condition.values : [])),
    ),
  );
  const domain = about.domains[column]!;
  const possible = [...named].filter(
    (cell) => cell !== null && cell !== undefined && isPossible(column, cell, about, domain),
  );
  const others =
    domain.allowed === undefined
      ? ANY_VALUES
      : domain.allowed.filter((value) => !named.has(value)).slice(0, 2);
  return [...possible, ...others, ...(nullable ? [null] : [])];
}

function isPossible(column: number, cell: string, about: LawTable, domain: ColumnDomain): boolean {
  return neverHolds(about.table.columns[column]!, domain, cell, cell) === undefined;
}

/** One pair of each kind that the rules tell apart; unchanged ones first. */
function pairsOf(column: number, rules: readonly CompiledRule[], about: LawTable): readonly Pair[] {
  const values = valuesOf(column, rules, about);
  const conditions = rules.flatMap((rule) =>
    rule.conditions.filter((condition) => condition.column === column),
  );
  const pairs = new Map<string, Pair>();
  const add = (pair: Pair): void => {
    const kind = [
      pair[0] !== pair[1],
      ...conditions.map(({ kind: when, values: of }) => of.includes(pair[when === "was" ? 0 : 1])),
    ].join();
    if (!pairs.has(kind)) pairs.set(kind, pair);
  };
  for (const value of values) add([value, value]);
  if (!about.fixed.has(column)) {
    for (const from of values) for (const to of values) if (from !== to) add([from, to]);
  }
  return [...pairs.values()];
}

/** Tries all cases, the first column's fastest, each with all ways in which the gates may stand. @param work of one */
function search(
  columns: readonly number[],
  cases: readonly (readonly Pair[])[],
  gates: readonly CompiledRule[],
  work: number,
  holds: (chosen: readonly Pair[], closed: ReadonlySet<CompiledRule>) => boolean,
): Reach {
  if (cases.some((list) => list.length === 0)) return { verdict: "never" };
  const at = cases.map(() => 0);
  const ways = 2 ** Math.min(gates.length, 10);
  for (let done = 0; done < WORK_MAX;) {
    const chosen = cases.map((list, i) => list[at[i]!]!);
    for (let way = ways - 1; way >= 0; way--, done += work) {
      const closed = new Set(gates.filter((_, i) => i >= 10 || (way & (1 << i)) !== 0));
      if (holds(chosen, closed)) {
        return { verdict: "fires", witness: new Map(columns.map((c, i) => [c, chosen[i]!])) };
      }
    }
    let digit = 0;
    while (digit < at.length && ++at[digit]! === cases[digit]!.length) at[digit++] = 0;
    if (digit === at.length)
      return gates.length > 10 ? { verdict: "unknown" } : { verdict: "never" };
  }
  return { verdict: "unknown" };
}
