import { aggregatesHere, sumHere } from "../../src/source/row-hash.ts";
import type { ScriptedTransaction } from "./random-history.ts";
import type { Change, SourceTransaction, TransactionPart } from "../../src/model/change.ts";
import { isBefore, type Position } from "../../src/model/position.ts";
import {
  qualifiedName,
  parseQualifiedName,
  type Cells,
  type SourceTable,
} from "../../src/model/table.ts";
import type {
  BaselineSnapshot,
  ChangeSource,
  OrderColumn,
  ParitySnapshot,
  PlannedTable,
  RowSnapshot,
} from "../../src/source/change-source.ts";
import { compareKeyTexts } from "../../src/source/key-order.ts";

export interface Script {
  readonly tables: readonly SourceTable[];
  /** Rows of the baseline, and those in the end, by table name. */
  readonly baseline: ReadonlyMap<string, readonly Cells[]>;
  readonly rows: ReadonlyMap<string, readonly Cells[]>;
  readonly transactions: readonly ScriptedTransaction[];
}

/** How a log is cut up on its way; none of it may show in the events. */
export interface Cuts {
  /** Changes in one part of a transaction. */
  readonly partChangesMax: number;
  /** Parts that arrive together. */
  readonly groupPartsMax: number;
  /** Rows that are read together. */
  readonly rowsMax: number;
}

/** A source in memory that tells a script: the same log each time it is read. */
export class ScriptedSource implements ChangeSource {
  readonly #script: Script;
  readonly #cuts: Cuts;
  acknowledged: Position | undefined;

  constructor(script: Script, cuts: Cuts) {
    this.#script = script;
    this.#cuts = cuts;
  }

  identify = () => Promise.resolve({ uri: "script://1/1", server: "a script" });
  check = () => Promise.resolve([]);
  fence = () => Promise.resolve(endOf(this.#script.transactions.length));
  head = () => Promise.resolve({ position: endOf(this.#script.transactions.length), lagBytes: 0 });
  idlePosition = () => undefined;
  close = () => Promise.resolve();

  acknowledge(position: Position): void {
    if (this.acknowledged !== undefined && isBefore(position, this.acknowledged))
      throw new Error(`acknowledged ${position} after ${this.acknowledged}`);
    this.acknowledged = position;
  }

  discover(planned: readonly PlannedTable[]): Promise<readonly SourceTable[]> {
    return Promise.resolve(
      planned.map(({ name }) => {
        const { schema, relation } = parseQualifiedName(name);
        return this.#script.tables.find((table) => table.name === qualifiedName(schema, relation))!;
      }),
    );
  }

  async openBaseline(): Promise<BaselineSnapshot> {
    const { tables, baseline } = this.#script;
    return { ...this.#snapshot(baseline), position: endOf(0), tables, restarted: false };
  }

  async openParity(tables: readonly SourceTable[]): Promise<ParitySnapshot> {
    const snapshot = this.#snapshot(this.#script.rows);
    return {
      ...snapshot,
      ...sumsHere(snapshot),
      columnsLeftOut: new Map(),
      begin: endOf(this.#script.transactions.length + 1),
      fence: await this.fence(),
      tables,
      seen: "all",
      sees: () => true,
      applied: () => Promise.resolve(new Map()),
    };
  }

  openAddition = () => Promise.reject(new Error("a script has no tables that join late"));
  visibility = () => () => true;
  placeLost = () => Promise.resolve(undefined);
  seenNow = () => Promise.resolve("all");
  markTransactions = () => Promise.resolve(() => Promise.resolve(true));
  surveyChunks = () => Promise.resolve({ rows: 0, bytes: 0, obstacle: "a script has no chunks" });
  openChunks = () => {
    throw new Error("a script has no chunks");
  };
  load = () =>
    Promise.resolve({
      activeSessions: undefined,
      standbyLagSeconds: undefined,
      transactionsBegun: undefined,
    });

  async *stream(
    from: Position,
    signal: AbortSignal,
  ): AsyncGenerator<readonly TransactionPart[], void, void> {
    const parts = this.#script.transactions.flatMap((transaction, i) =>
      isBefore(from, endOf(i + 1)) ? this.#partsOf(transaction, i + 1) : [],
    );
    for (let at = 0; at < parts.length; at += this.#cuts.groupPartsMax) {
      if (signal.aborted) return;
      yield parts.slice(at, at + this.#cuts.groupPartsMax);
    }
    await new Promise<void>((resolve) => {
      if (signal.aborted) resolve();
      signal.addEventListener("abort", () => resolve(), { once: true });
    });
  }

  #partsOf({ changes, intent }: ScriptedTransaction, number: number): TransactionPart[] {
    const transaction: SourceTransaction = {
      id: String(1_000 + number),
      commit: digits(number * 2),
      end: endOf(number),
      committedAtUs: 1_700_000_000_000_000 + number * 1_000_000,
    };
    const parts: TransactionPart[] = [];
    const size = this.#cuts.partChangesMax;
    for (let at = 0; at < changes.length; at += size) {
      // Copies, because images are completed in place.
      const some = changes.slice(at, at + size).map((change): Change => ({ ...change }));
      const last = at + size >= changes.length;
      parts.push({ transaction, changes: some, intent, bytes: 100 * some.length, last });
    }
    return parts;
  }

  #snapshot(rows: ReadonlyMap<string, readonly Cells[]>) {
    const { rowsMax } = this.#cuts;
    return {
      async *readRows(table: SourceTable, orderBy: readonly OrderColumn[]) {
        const sorted = [...(rows.get(table.name) ?? [])];
        const keyOf = (cells: Cells) => orderBy.map(({ column }) => cells[column] ?? null);
        if (orderBy.length > 0) {
          const orders = orderBy.map(({ as }) => as);
          sorted.sort((a, b) => compareKeyTexts(keyOf(a), keyOf(b), orders));
        }
        for (let at = 0; at < sorted.length; at += rowsMax) yield sorted.slice(at, at + rowsMax);
      },
      estimateRows: (table: SourceTable) => Promise.resolve(rows.get(table.name)?.length ?? 0),
      rewritten: () => Promise.resolve([]),
      close: () => Promise.resolve(),
    };
  }
}

function digits(number: number): string {
  return (number * 256).toString(16).toUpperCase().padStart(16, "0");
}

/** Checkpoint after the n-th transaction; 0 is the baseline's. */
function endOf(number: number): Position {
  return `${digits(number * 2 + 1)}/00000000` as Position;
}

/** Sums for a source that cannot hash: every row is read. */
function sumsHere({
  readRows,
}: Pick<RowSnapshot, "readRows">): Pick<
  ParitySnapshot,
  "sumRows" | "sumAggregates" | "readAggregates"
> {
  return {
    sumRows: (table, plan, signal, within) =>
      sumHere(readRows(table, [], signal), table, plan, within),
    async *sumAggregates(table, plan, buckets, signal) {
      yield await aggregatesHere(readRows(table, [], signal), table, plan, buckets);
    },
    readAggregates: (table, _plan, _keys, signal) => readRows(table, [], signal),
  };
}
