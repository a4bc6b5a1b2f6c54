import type { Operation } from "../model/change.ts";
import { plural } from "../model/count-text.ts";

/** How many changes were told by named events alone, and how many with the fallback's help. */
export interface Told {
  readonly named: number;
  readonly fallback: number;
}

/** How the changes of one table were told since the run began. */
export interface TableCoverage extends Readonly<Record<`${Operation}s`, Told>> {
  readonly stream: string;
  readonly table: string;
  /** Columns that updates changed; a column counts once per update. */
  readonly columns: readonly (Told & { readonly column: string })[];
}

/** A rule that would tell by name what comes to the fallback now. */
export interface CoverageSuggestion {
  readonly table: string;
  readonly column?: string;
  /** Changes that it would tell. */
  readonly changes: number;
  readonly message: string;
}

export interface MappingCoverage {
  readonly changes: Told;
  /** Those that changed, the most told by the fallback first; at most 20. */
  readonly tables: readonly TableCoverage[];
  /** The most changes first; at most 10. */
  readonly suggestions: readonly CoverageSuggestion[];
}

const TABLES_MAX = 20;
const SUGGESTIONS_MAX = 10;
/** Fewer changes are no habit yet. */
const HABIT_MIN = 10;
const OPERATIONS: readonly Operation[] = ["insert", "update", "delete"];

export interface CountedTable {
  readonly stream: string;
  readonly table: string;
  readonly columns: readonly string[];
  /** Event types of the update rules, in their order. */
  readonly rules: readonly string[];
  readonly fallback: string;
}

/** Counts, on the path of every change, how the changes of one table shape are told. */
export class CoverageCounter {
  readonly of: CountedTable;
  /** Per operation: named, fallback. */
  readonly #changes = new Float64Array(2 * OPERATIONS.length);
  readonly #named: Float64Array;
  /** Per update rule that fired first (0: none did) and column: how often the column was left to the fallback. */
  readonly #left: Float64Array;

  constructor(of: CountedTable) {
    this.of = of;
    this.#named = new Float64Array(of.columns.length);
    this.#left = new Float64Array((of.rules.length + 1) * of.columns.length);
  }

  change(kind: Operation, isNamed: boolean): void {
    const at = 2 * (kind === "insert" ? 0 : kind === "update" ? 1 : 2) + (isNamed ? 0 : 1);
    this.#changes[at]! += 1;
  }

  /**
   * @param changed by column: 0 same, 1 left to the fallback, 2 claimed
   * @param firstRule number of the first rule that fired, from 1; 0 when none did
   */
  updated(changed: Uint8Array, firstRule: number): void {
    const row = firstRule * changed.length;
    for (let i = 0; i < changed.length; i++) {
      if (changed[i] === 2) this.#named[i]! += 1;
      else if (changed[i] === 1) this.#left[row + i]! += 1;
    }
  }

  told(operation: Operation): Told {
    const at = 2 * OPERATIONS.indexOf(operation);
    return { named: this.#changes[at]!, fallback: this.#changes[at + 1]! };
  }

  named(column: number): number {
    return this.#named[column]!;
  }

  /** By rule that fired first; index 0 for none. */
  left(column: number): readonly number[] {
    const { columns, rules } = this.of;
    return Array.from(
      { length: rules.length + 1 },
      (_, rule) => this.#left[rule * columns.length + column]!,
    );
  }
}

/** The counts of all tables, of one with several shapes those of each. */
export function coverageOf(counters: readonly CoverageCounter[]): MappingCoverage {
  const active = counters.filter((counter) => total(counter).named + total(counter).fallback > 0);
  const changes = add(active.map(total));
  const tables = active
    .map((counter) => [total(counter).fallback, tableOf(counter)] as const)
    .sort(([a], [b]) => b - a)
    .slice(0, TABLES_MAX)
    .map(([, table]) => table);
  const suggestions = active
    .flatMap((counter) => [...suggest(counter)])
    .sort((a, b) => b.changes - a.changes)
    .slice(0, SUGGESTIONS_MAX);
  return { changes, tables, suggestions };
}

function total(counter: CoverageCounter): Told {
  return add(OPERATIONS.map((operation) => counter.told(operation)));
}

function add(all: readonly Told[]): Told {
  let [named, fallback] = [0, 0];
  for (const told of all) {
    named += told.named;
    fallback += told.fallback;
  }
  return { named, fallback };
}

function tableOf(counter: CoverageCounter): TableCoverage {
  const { stream, table, columns } = counter.of;
  return {
    stream,
    table,
    inserts: counter.told("insert"),
    updates: counter.told("update"),
    deletes: counter.told("delete"),
    columns: columns.flatMap((column, i) => {
      const named = counter.named(i);
      const fallback = sum(counter.left(i));
      return named + fallback === 0 ? [] : [{ column, named, fallback }];
    }),
  };
}

function* suggest(counter: CoverageCounter): Generator<CoverageSuggestion> {
  const { table, columns, rules, fallback } = counter.of;
  for (const [i, column] of columns.entries()) {
    const left = counter.left(i);
    const changes = sum(left);
    if (changes < HABIT_MIN) continue;
    const only = counter.named(i) === 0 ? "only " : "";
    const message = `${table}.${column} changed ${times(changes)} ${only}inside ${fallback}`;
    const beside = left.indexOf(Math.max(...left));
    const rule = rules[beside - 1];
    yield rule === undefined || left[beside]! * 2 < changes
      ? { table, column, changes, message: `${message}: a rule on changed(${JSON.stringify(column)}) would tell it` } // prettier-ignore
      : { table, column, changes, message: `${message}, ${times(left[beside]!)} beside ${rule}: name it in the data of ${rule}` }; // prettier-ignore
  }
  for (const operation of ["insert", "delete"] as const) {
    const changes = counter.told(operation).fallback;
    if (changes < HABIT_MIN) continue;
    const word = operation === "insert" ? "inserted" : "deleted";
    const message = `rows of ${table} were ${word} ${times(changes)} inside ${fallback}: a rule ${word}(…) would tell it`;
    yield { table, changes, message };
  }
}

function sum(counts: readonly number[]): number {
  return counts.reduce((all, one) => all + one, 0);
}

function times(count: number): string {
  return plural(count, "time");
}
