import type { LogSample, SampledTable } from "../../src/source/database-facts.ts";
import type { DecodedChange, DecodedTuple } from "./test-decoding.ts";

/** Whether the log carries whole old rows of a relation, and of which table it is a partition. */
export interface SampledRelation {
  readonly full: boolean;
  readonly root: string;
}

/** Combinations of changed columns kept per table; rarer ones than those are not told. */
const COMBINATIONS_MAX = 200;
/** A column with more different steps from value to value has no states. */
const TRANSITIONS_MAX = 40;
const STATE_LENGTH_MAX = 40;

interface Counted {
  inserted: number;
  updated: number;
  deleted: number;
  truncated: number;
  bytes: number;
  readonly changedTogether: Map<string, number>;
  /** Null for a column that has shown too many. */
  readonly transitions: Map<string, Map<string, number> | null>;
}

const COUNTERS = {
  insert: "inserted",
  update: "updated",
  delete: "deleted",
  truncate: "truncated",
} as const;

/** Adds up what the log shows, in bounded memory. */
export class LogTally {
  readonly #relations: ReadonlyMap<string, SampledRelation>;
  readonly #tables = new Map<string, Counted>();
  #transactions = 0;
  #bytes = 0;
  #changesInTransaction = 0;

  /** @param relations by name; one that is not there was made during the sample */
  constructor(relations: ReadonlyMap<string, SampledRelation>) {
    this.#relations = relations;
  }

  /** @param bytes of the whole line */
  add(change: DecodedChange, bytes: number): void {
    this.#bytes += bytes;
    this.#changesInTransaction++;
    for (const name of change.tables) {
      const relation = this.#relations.get(name);
      const counted = this.#table(relation?.root ?? name);
      counted[COUNTERS[change.operation]]++;
      counted.bytes += bytes;
      if (change.operation !== "update" || relation?.full !== true) continue;
      if (change.old !== undefined && change.now !== undefined) {
        compare(counted, change.old, change.now);
      }
    }
  }

  commit(): void {
    if (this.#changesInTransaction > 0) this.#transactions++;
    this.#changesInTransaction = 0;
  }

  result(seconds: number): LogSample {
    const tables = new Map<string, SampledTable>();
    for (const [name, counted] of this.#tables) {
      const transitions = [...counted.transitions].flatMap(([column, steps]) =>
        steps === null ? [] : [[column, steps] as const],
      );
      tables.set(name, { ...counted, transitions: new Map(transitions) });
    }
    return { seconds, transactions: this.#transactions, bytes: this.#bytes, tables };
  }

  #table(name: string): Counted {
    let counted = this.#tables.get(name);
    if (counted === undefined) {
      counted = {
        inserted: 0,
        updated: 0,
        deleted: 0,
        truncated: 0,
        bytes: 0,
        changedTogether: new Map(),
        transitions: new Map(),
      };
      this.#tables.set(name, counted);
    }
    return counted;
  }
}

/** Of a whole old row only the NULLs are left out, so a column that is not there was NULL. */
function compare(counted: Counted, old: DecodedTuple, now: DecodedTuple): void {
  const changed: string[] = [];
  for (const [column, value] of now) {
    const before = old.get(column) ?? null;
    if (before === value) continue;
    changed.push(column);
    step(counted, column, before, value);
  }
  const together = counted.changedTogether;
  const names = changed.join(", ");
  const known = together.get(names);
  if (known !== undefined || together.size < COMBINATIONS_MAX)
    together.set(names, (known ?? 0) + 1);
}

function step(counted: Counted, column: string, before: string | null, now: string | null): void {
  const steps = counted.transitions.get(column) ?? new Map<string, number>();
  if (counted.transitions.get(column) === null) return;
  const [from, to] = [before ?? "NULL", now ?? "NULL"];
  const name = `${from} → ${to}`;
  if (
    Math.max(from.length, to.length) > STATE_LENGTH_MAX ||
    (steps.size >= TRANSITIONS_MAX && !steps.has(name))
  ) {
    counted.transitions.set(column, null);
    return;
  }
  steps.set(name, (steps.get(name) ?? 0) + 1);
  counted.transitions.set(column, steps);
}
