import { change, shape } from "./mapping-fixtures.ts";
import type { RowChange, TransactionPart } from "../../src/model/change.ts";
import { BanyanError } from "../../src/model/errors.ts";
import type { Position } from "../../src/model/position.ts";
import type { Cells, ReplicaIdentity, SourceTable } from "../../src/model/table.ts";
import type {
  BaselinePlan,
  BaselineSnapshot,
  ChangeSource,
  ChunkKey,
  ChunkRange,
  ChunkReader,
  ChunkSnapshot,
  KeyedTable,
  PlannedTable,
} from "../../src/source/change-source.ts";
import { compareKeyTexts } from "../../src/source/key-order.ts";

const INTEGER = ["integer"] as const;

interface Committed {
  readonly id: string;
  readonly part: TransactionPart;
  readonly rows: readonly (readonly [key: string, row: Cells | undefined])[];
}

/**
 * A small database in memory, of parents and children, that goes on by itself: whenever it is asked for
 * anything, transactions commit before and after. A transaction is in the log some time before a new
 * snapshot sees it, as on a server that waits for its standby.
 */
export class MemoryDatabase {
  readonly parent: SourceTable;
  readonly child: SourceTable;
  readonly #random: () => number;
  readonly #keys: number;
  readonly #log: Committed[] = [];
  /** In the log, and not yet seen by others. */
  #hidden: Committed[] = [];
  /** As of all that is in the log; by `table/key`. */
  readonly #rows = new Map<string, Cells>();
  #left: number;
  #wake: (() => void)[] = [];
  /** Transactions before this many can no longer be read. */
  #forgotten = 0;
  /** True while nothing happens by itself. */
  isStill = false;

  /** @param transactions how many there will be @param keys parents at most */
  constructor(
    identity: ReplicaIdentity,
    random: () => number,
    { transactions, keys }: { readonly transactions: number; readonly keys: number },
  ) {
    this.parent = shape("public.parent", "*id:int4 n:int4", identity);
    this.child = shape("public.child", "*id:int4 pid:int4 n:int4", identity);
    this.#random = random;
    this.#left = transactions;
    this.#keys = keys;
    for (let id = 1; id <= keys; id += 2) this.#rows.set(`parent/${id}`, [String(id), "0"]);
    for (let id = 1; id <= keys; id++)
      this.#rows.set(`child/${id}`, [String(id), id % 7 === 0 ? null : String(id), "0"]);
    this.#initial = new Map(this.#rows);
  }

  readonly #initial: ReadonlyMap<string, Cells>;

  get isOver(): boolean {
    return this.#left === 0;
  }

  get end(): Position {
    return endOf(this.#log.length);
  }

  /** @returns whether all is visible that was committed before */
  mark(): () => boolean {
    const before = new Set(this.#hidden.map(({ id }) => id));
    return () => !this.#hidden.some(({ id }) => before.has(id));
  }

  /** Rows of a table as they are in the end. */
  rowsOf(table: "parent" | "child"): Cells[] {
    return [...this.#rows].flatMap(([key, row]) => (key.startsWith(table) ? [row] : []));
  }

  open(): ChangeSource {
    return new MemorySource(this);
  }

  /** Loses the place of whoever reads the log, and lets some time pass before anybody notices. */
  lose(): void {
    for (let n = Math.floor(12 * this.#random()); n >= 0; n--) this.tick();
    this.#forgotten = this.#log.length + 1;
  }

  isLost(from: Position): boolean {
    return numberOf(from) < this.#forgotten;
  }

  /** A place from which on the log can be read, where all before it is seen by everybody. */
  keepFromNow(): Position {
    this.tick();
    this.#hidden = [];
    // To make such a place is an entry in the log.
    this.#log.push(this.#entry([], []));
    this.#forgotten = 0;
    return this.end;
  }

  /** Lets some time pass. */
  tick(): void {
    const count = this.isStill ? 0 : Math.floor(3 * this.#random());
    for (let n = 0; n < count && this.#left > 0; n++) {
      this.#left -= 1;
      this.#commit();
      if (this.#random() < 0.7) this.#hidden = this.#hidden.filter(() => this.#random() < 0.5);
    }
    if (this.#left === 0) this.#hidden = [];
    const waiting = this.#wake;
    this.#wake = [];
    for (const wake of waiting) wake();
  }

  /** What a snapshot of now sees. */
  visible(): { readonly seen: ReadonlySet<string>; readonly rows: ReadonlyMap<string, Cells> } {
    const hidden = new Set(this.#hidden.map(({ id }) => id));
    const rows = new Map(this.#initial);
    const seen = new Set<string>();
    for (const { id, rows: changed } of this.#log) {
      if (hidden.has(id)) continue;
      seen.add(id);
      for (const [key, row] of changed) {
        if (row === undefined) rows.delete(key);
        else rows.set(key, row);
      }
    }
    return { seen, rows };
  }

  /** Parts of the log from a place on, as soon as there are some. */
  async read(from: number, signal: AbortSignal): Promise<readonly TransactionPart[]> {
    this.tick();
    if (this.#log.length <= from && !signal.aborted) {
      await new Promise<void>((resolve) => {
        const done = (): void => {
          signal.removeEventListener("abort", done);
          resolve();
        };
        this.#wake.push(done);
        signal.addEventListener("abort", done, { once: true });
      });
    }
    const until = from + 1 + Math.floor(4 * this.#random());
    // Copies, because images are completed in place.
    return this.#log
      .slice(from, until)
      .map(({ part }) => ({ ...part, changes: part.changes.map((one) => ({ ...one })) }));
  }

  /** A transaction of some changes, of rows that no hidden one has touched: their locks are not given back. */
  #commit(): void {
    const locked = new Set(this.#hidden.flatMap(({ rows }) => rows.map(([key]) => key)));
    const changes: RowChange[] = [];
    const rows: [string, Cells | undefined][] = [];
    const put = (key: string, row: Cells | undefined): void => {
      rows.push([key, row]);
      if (row === undefined) this.#rows.delete(key);
      else this.#rows.set(key, row);
    };
    for (let n = Math.floor(1 + 3 * this.#random()); n > 0; n--) {
      const table = this.#random() < 0.35 ? this.parent : this.child;
      const id = String(1 + Math.floor(this.#keys * this.#random()));
      const key = `${table.relation}/${id}`;
      if (locked.has(key)) continue;
      const before = this.#rows.get(key);
      const other = String(1 + Math.floor(this.#keys * this.#random()));
      const after = this.#changed(table, before, id, other);
      const target = after === undefined ? key : `${table.relation}/${after[0]}`;
      if (target !== key && (locked.has(target) || this.#rows.has(target))) continue;
      if (before === undefined && after === undefined) continue;
      const kind = before === undefined ? "insert" : after === undefined ? "delete" : "update";
      if (target !== key || after === undefined) put(key, undefined);
      if (after !== undefined) put(target, after);
      changes.push(
        change(kind, table, changes.length + 1, this.#logged(table, before, after), after),
      );
    }
    const committed = this.#entry(changes, rows);
    this.#log.push(committed);
    this.#hidden.push(committed);
  }

  /** The next transaction in the log. */
  #entry(changes: RowChange[], rows: Committed["rows"]): Committed {
    const number = this.#log.length + 1;
    const id = String(5_000 + number);
    const transaction = {
      id,
      commit: digits(2 * number),
      end: endOf(number),
      committedAtUs: 1_700_000_000_000_000 + number,
    };
    const bytes = 100 * changes.length;
    const part = { transaction, changes, intent: undefined, bytes, last: true };
    return { id, part, rows };
  }

  #changed(
    table: SourceTable,
    before: Cells | undefined,
    id: string,
    other: string,
  ): Cells | undefined {
    const kind = this.#random();
    const n = String(Number(before?.at(-1) ?? -1) + 1);
    if (before === undefined) return table === this.parent ? [id, n] : [id, other, n];
    if (kind < 0.2) return undefined;
    if (table === this.parent) return [kind < 0.35 ? other : id, n];
    if (kind < 0.3) return [other, before[1]!, n];
    return [id, kind < 0.65 ? other : kind < 0.7 ? null : (before[1] ?? null), n];
  }

  /** The old row as the log has it. */
  #logged(
    table: SourceTable,
    before: Cells | undefined,
    after: Cells | undefined,
  ): Cells | undefined {
    if (before === undefined || table.replicaIdentity === "full") return before;
    if (after !== undefined && after[0] === before[0]) return undefined;
    return before.map((cell, i) => (i === 0 ? cell : undefined));
  }
}

class MemorySource implements ChangeSource {
  readonly #db: MemoryDatabase;
  #read = 0;
  #taken = 0;

  constructor(db: MemoryDatabase) {
    this.#db = db;
  }

  identify = () => Promise.resolve({ uri: "memory://1/1", server: "memory" });
  check = () => Promise.resolve([]);
  fence = () => Promise.resolve(this.#db.end);
  head = () => Promise.resolve({ position: this.#db.end, lagBytes: 0 });
  idlePosition = (): Position | undefined =>
    this.#taken === this.#read ? endOf(this.#read) : undefined;
  acknowledge = () => undefined;
  close = () => Promise.resolve();
  openParity = () => Promise.reject(new Error("not here"));
  openAddition = () => Promise.reject(new Error("not here"));
  load = () =>
    Promise.resolve({
      activeSessions: undefined,
      standbyLagSeconds: undefined,
      transactionsBegun: undefined,
    });
  surveyChunks = () => Promise.resolve({ rows: 10, bytes: 1_000 });
  placeLost = (from: Position) =>
    Promise.resolve(this.#db.isLost(from) ? "the place is lost" : undefined);
  visibility = (seen: string) => {
    const all = new Set(seen.split(","));
    return (transaction: string) => all.has(transaction);
  };

  markTransactions(): Promise<() => Promise<boolean>> {
    const areSeen = this.#db.mark();
    return Promise.resolve(async () => {
      this.#db.tick();
      await pause();
      return areSeen();
    });
  }

  async seenNow(): Promise<string> {
    this.#db.tick();
    return [...this.#db.visible().seen].join();
  }

  discover(planned: readonly PlannedTable[]): Promise<readonly SourceTable[]> {
    const all = [this.#db.parent, this.#db.child];
    return Promise.resolve(
      planned.map(({ name }) =>
        all.find((table) => table.name === `public.${name}` || table.name === name)!,
      ),
    );
  }

  openBaseline({ isRestart }: BaselinePlan): Promise<BaselineSnapshot> {
    return Promise.resolve({
      position: isRestart === true ? this.#db.keepFromNow() : endOf(0),
      tables: [this.#db.parent, this.#db.child],
      restarted: false,
      readRows: () => Promise.reject(new Error("not here")) as never,
      estimateRows: () => Promise.resolve(0),
      rewritten: () => Promise.resolve([]),
      close: () => Promise.resolve(),
    });
  }

  async *stream(
    from: Position,
    signal: AbortSignal,
  ): AsyncGenerator<readonly TransactionPart[], void, void> {
    if (this.#db.isLost(from)) throw new BanyanError("SLOT_LOST", "the place is lost");
    this.#read = numberOf(from);
    this.#taken = this.#read;
    while (!signal.aborted) {
      const parts = await this.#db.read(this.#read, signal);
      this.#read += parts.length;
      if (parts.length > 0) yield parts;
      this.#taken = this.#read;
    }
  }

  openChunks([root, ...children]: readonly KeyedTable[]): ChunkReader {
    const db = this.#db;
    const keyed = [root!, ...children];
    return {
      close: () => Promise.resolve(),
      async open(): Promise<ChunkSnapshot> {
        await pause();
        db.tick();
        const { seen, rows } = db.visible();
        const fence = db.end;
        db.tick();
        await pause();
        const of = (name: string): { cells: Cells; key: (string | null)[] }[] => {
          const { table, columns } = keyed.find((one) => one.table.name === name)!;
          return [...rows]
            .filter(([at]) => at.startsWith(`${table.relation}/`))
            .map(([, cells]) => ({ cells, key: columns.map((column) => cells[column] ?? null) }))
            .sort((a, b) => compareKeyTexts(a.key, b.key, INTEGER));
        };
        const behind = async (after: ChunkKey | undefined): Promise<ChunkKey[]> => {
          db.tick();
          await pause();
          return of(root!.table.name)
            .map(({ key }) => key as ChunkKey)
            .filter((key) => after === undefined || compareKeyTexts(key, after, INTEGER) > 0);
        };
        return {
          fence,
          tables: keyed.map(({ table }) => table),
          seen: [...seen].join(),
          sees: (transaction) => seen.has(transaction),
          async bound(after: ChunkKey | undefined, count: number) {
            return (await behind(after))[count - 1];
          },
          async last(after: ChunkKey | undefined) {
            return (await behind(after)).at(-1);
          },
          async *readRange(table, range: ChunkRange) {
            for (const { cells, key } of of(table.name)) {
              if (!isIn(key, range)) continue;
              db.tick();
              await pause();
              yield [cells];
            }
          },
          rewritten: () => Promise.resolve([]),
          durable: () => Promise.resolve(),
          close: () => Promise.resolve(),
        };
      },
    };
  }
}

function isIn(key: readonly (string | null)[], range: ChunkRange): boolean {
  if ("keys" in range) return range.keys.some((one) => one.join() === key.join());
  const { after, end } = range;
  if (key.includes(null)) return end === undefined;
  if (after !== undefined && compareKeyTexts(key, after, INTEGER) <= 0) return false;
  return end === undefined || compareKeyTexts(key, end, INTEGER) <= 0;
}

/** Lets all others go on who can. */
function pause(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

function digits(number: number): string {
  return (number * 256).toString(16).toUpperCase().padStart(16, "0");
}

/** Checkpoint after the n-th transaction. */
function endOf(number: number): Position {
  return `${digits(2 * number + 1)}/00000000` as Position;
}

function numberOf(position: Position): number {
  return (Number.parseInt(position.slice(0, 16), 16) / 256 - 1) / 2;
}
