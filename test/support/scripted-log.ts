import { setTimeout as sleep } from "node:timers/promises";
import { transaction } from "./mapping-fixtures.ts";
import type { Change, Intent, TransactionPart } from "../../src/model/change.ts";
import type { Position } from "../../src/model/position.ts";
import type { Cells, SourceTable } from "../../src/model/table.ts";
import type {
  BaselineSnapshot,
  ChangeSource,
  PlannedTable,
} from "../../src/source/change-source.ts";
import { compareKeyTexts } from "../../src/source/key-order.ts";

/** Rows of the baseline by table name. */
export type Rows = Readonly<Record<string, readonly Cells[]>>;

const START = "0000000000000001/00000000" as Position;

/**
 * A source whose log a test writes by hand, one group at a time: for what a real server does only
 * sometimes, or in an order that nobody can make it do.
 */
export class ScriptedLog implements ChangeSource {
  /** What `head` says. */
  lagBytes = 0;
  readonly acknowledged: Position[] = [];
  readonly discovered: string[] = [];
  /** What the catalogue shows; a test replaces it as an ALTER TABLE would. */
  tables: readonly SourceTable[];
  /** See `ChangeSource.idlePosition`. */
  idle: Position | undefined;
  /** Names that the baseline's snapshot finds rewritten. */
  lost: readonly string[] = [];
  readonly #rows: Rows;
  #groups: (readonly TransactionPart[])[] = [];
  #wake: (() => void) | undefined;
  #failure: unknown;

  constructor(tables: readonly SourceTable[], rows: Rows = {}) {
    this.tables = tables;
    this.#rows = rows;
  }

  /** The next group of the log. */
  emit(...parts: TransactionPart[]): void {
    this.#groups.push(parts);
    this.#wake?.();
  }

  /** The log breaks after what was emitted. */
  fail(error: unknown): void {
    this.#failure = error;
    this.#wake?.();
  }

  async *stream(
    _from: Position,
    signal: AbortSignal,
  ): AsyncGenerator<readonly TransactionPart[], void, void> {
    const wake = (): void => this.#wake?.();
    signal.addEventListener("abort", wake, { once: true });
    while (!signal.aborted) {
      const group = this.#groups.shift();
      if (group !== undefined) yield group;
      else if (this.#failure !== undefined) throw this.#failure;
      else await new Promise<void>((resolve) => (this.#wake = resolve));
    }
  }

  identify = () => Promise.resolve({ uri: "script://1/1", server: "a script" });
  check = () => Promise.resolve([]);
  fence = () => Promise.resolve(START);
  head = () => Promise.resolve({ position: START, lagBytes: this.lagBytes });
  idlePosition = (): Position | undefined => this.idle;
  acknowledge = (position: Position): void => void this.acknowledged.push(position);
  close = () => Promise.resolve();
  openParity = () => Promise.reject(new Error("a script has no parity"));
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

  discover(planned: readonly PlannedTable[]): Promise<readonly SourceTable[]> {
    this.discovered.push(...planned.map(({ name }) => name));
    return Promise.resolve(
      planned.flatMap(({ name }) => this.tables.filter((table) => table.name === name)),
    );
  }

  openBaseline(): Promise<BaselineSnapshot> {
    const rows = this.#rows;
    return Promise.resolve({
      position: START,
      tables: this.tables,
      restarted: false,
      async *readRows(table, orderBy) {
        const order = orderBy.map(({ as }) => as);
        const keyOf = (cells: Cells) => orderBy.map(({ column }) => cells[column] ?? null);
        const all = [...(rows[table.name] ?? [])].sort((a, b) =>
          compareKeyTexts(keyOf(a), keyOf(b), order),
        );
        for (let at = 0; at < all.length; at += 3) yield all.slice(at, at + 3);
      },
      estimateRows: (table) => Promise.resolve(rows[table.name]?.length ?? 0),
      rewritten: () => Promise.resolve(this.lost),
      close: () => Promise.resolve(),
    });
  }
}

/** Transaction `number`, or one part of it. */
export function partOf(
  number: number,
  changes: readonly Change[],
  { last = true, intent }: { readonly last?: boolean; readonly intent?: Intent } = {},
): TransactionPart {
  // Copies, because images are completed in place, and a log can be read twice.
  const copies = changes.map((change): Change => ({ ...change }));
  return {
    transaction: transaction(number),
    changes: copies,
    intent,
    bytes: 100 * changes.length,
    last,
  };
}

/** Waits until something holds, for at most ten seconds. */
export async function eventually(holds: () => boolean | Promise<boolean>): Promise<void> {
  for (let tries = 0; tries < 8_000; tries++) {
    if (await holds()) return;
    await sleep(5);
  }
  throw new Error("it did not come to that in time");
}
