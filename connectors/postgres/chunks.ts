import type pg from "pg";
import { readTables, requireAll, type Ask, type PlannedKeys } from "./catalogue.ts";
import {
  BY_INDEX,
  BY_LOOKUP,
  boundQuery,
  keysQuery,
  lastQuery,
  rangeQuery,
} from "./chunk-range.ts";
import type { RangeTable } from "./chunk-range.ts";
import { copyOut } from "./copy-out.ts";
import { quoteLiteral, quoteTable } from "./identifiers.ts";
import { endOfRecords, sessionOf, waitUntilFlushed, type LogSizes } from "./log-flush.ts";
import { checkpointAt, lsnDigits, parseLsn, type Lsn } from "./lsn.ts";
import { visibility } from "./parity.ts";
import { connect, destroy, disconnect } from "./session.ts";
import { askClient, notJoined } from "./snapshot-rows.ts";
import { classify, sqlstateOf } from "./sqlstate.ts";
import { readTableFiles, rewrittenTables, type TableFiles } from "./table-files.ts";
import { unlessAborted } from "./unless-aborted.ts";
import { BanyanError, invariant } from "../../src/model/errors.ts";
import type { Position } from "../../src/model/position.ts";
import type { Cells, SourceTable } from "../../src/model/table.ts";
import type {
  ChunkKey,
  ChunkRange,
  ChunkReader,
  ChunkSnapshot,
  KeyedTable,
  OrderColumn,
} from "../../src/source/change-source.ts";
import { commonOrder } from "../../src/source/key-order.ts";

/** A chunk that waits longer for a table's lock is given up and read again later: somebody alters the table. */
const LOCK_MS_MAX = 5_000;
/** A question that is not answered by then never will be; the longest goes through an index for the end of a chunk. */
const ANSWER_MS_MAX = 120_000;

export interface ChunkOptions {
  readonly url: string;
  readonly applicationName: string;
  readonly publication: string;
  readonly keys: PlannedKeys;
  /** A read that has said nothing for so long is asked after. */
  readonly silenceMs: number;
  /** How long the server may take to answer a question. */
  readonly answerMsMax?: number;
}

interface Keyed {
  readonly name: string;
  /** Names of the columns that hold the root's key. */
  readonly columns: readonly string[];
}

/**
 * Reads the tables of one stream type in chunks. The sessions are kept from chunk to chunk; each
 * chunk is one short transaction on each of them, all under the snapshot of the first.
 */
export class PostgresChunkReader implements ChunkReader {
  readonly #options: ChunkOptions;
  readonly #askNow: Ask;
  readonly #keyed: readonly Keyed[];
  readonly #idle: pg.Client[] = [];
  readonly #busy = new Set<pg.Client>();
  #closed = false;

  /** @param askNow asks outside of the snapshots */
  constructor(options: ChunkOptions, tables: readonly KeyedTable[], askNow: Ask) {
    this.#options = options;
    this.#askNow = askNow;
    this.#keyed = tables.map(({ table, columns }) => ({
      name: table.name,
      columns: columns.map((column) => table.columns[column]!.name),
    }));
  }

  async open(signal: AbortSignal): Promise<ChunkSnapshot> {
    signal.throwIfAborted();
    // Also in the midst of a question, which may never be answered.
    const cut = (): void => {
      for (const client of this.#busy) destroy(client);
    };
    signal.addEventListener("abort", cut, { once: true });
    const unwatch = (): void => signal.removeEventListener("abort", cut);
    try {
      return await this.#open(signal, unwatch);
    } catch (error) {
      unwatch();
      signal.throwIfAborted();
      throw error;
    }
  }

  async #open(signal: AbortSignal, onClosed: () => void): Promise<ChunkSnapshot> {
    const holder = await this.#acquire(signal);
    try {
      const ask = askClient(holder);
      const doing = "opening the snapshot of a chunk";
      const askNow = this.#askUntilAborted(signal);
      const session = await sessionOf(askNow);
      await ask(doing, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY", []);
      const [taken] = await ask<Taken>(doing, TAKE, []);
      const names = this.#keyed.map(({ name }) => name);
      const { publication, keys } = this.#options;
      const entries = await readTables(ask, names, publication, keys);
      requireAll(names, entries);
      const tables = entries.map(({ table }) => table);
      return new Chunk({
        ...this.#options,
        keyed: this.#keyed,
        holder,
        taken: taken!,
        tables,
        files: await readTableFiles(ask, tables),
        partitioned: new Set(
          entries.filter(({ kind }) => kind === "p").map(({ table }) => table.name),
        ),
        askNow,
        session,
        onClosed,
        acquire: () => this.#acquire(signal),
        release: (client, isWhole) => this.#release(client, isWhole),
      });
    } catch (error) {
      await this.#release(holder, false);
      throw error;
    }
  }

  async close(): Promise<void> {
    this.#closed = true;
    const all = [...this.#idle, ...this.#busy];
    this.#idle.length = 0;
    await Promise.all(all.map(disconnect));
  }

  /** Given up on abort, as the questions under the snapshot are. */
  #askUntilAborted(signal: AbortSignal): Ask {
    return async <Row>(doing: string, sql: string, params: readonly unknown[]) => {
      const asking = this.#askNow<Row>(doing, sql, params);
      const answer = await unlessAborted(asking, signal, () => undefined);
      if (answer !== undefined) return answer;
      throw new BanyanError("SOURCE_UNREACHABLE", `${doing}: the chunk was given up meanwhile`);
    };
  }

  async #acquire(signal: AbortSignal): Promise<pg.Client> {
    const client = this.#idle.pop() ?? (await unlessAborted(this.#connect(), signal, disconnect));
    if (client === undefined) throw signal.reason;
    if (this.#closed) {
      await disconnect(client);
      throw new BanyanError("SOURCE_UNREACHABLE", "the source was closed while a chunk was opened");
    }
    this.#busy.add(client);
    return client;
  }

  async #connect(): Promise<pg.Client> {
    const { url, applicationName, answerMsMax = ANSWER_MS_MAX } = this.#options;
    const client = await connect({
      url,
      applicationName,
      lockTimeoutMs: LOCK_MS_MAX,
      answerMsMax,
    });
    try {
      await client.query(BY_INDEX);
      return client;
    } catch (error) {
      await disconnect(client);
      throw classify(error, "source", "connecting");
    }
  }

  /** @param isWhole false for a session that is in the midst of something */
  async #release(client: pg.Client, isWhole: boolean): Promise<void> {
    this.#busy.delete(client);
    if (isWhole && !this.#closed) {
      try {
        await client.query("COMMIT");
        this.#idle.push(client);
        return;
      } catch {
        // Of a transaction that wrote nothing; a session that cannot end it is of no use.
      }
    }
    await disconnect(client);
  }
}

/** The end of the log is asked for behind the snapshot: whatever this one sees lies before it. */
const TAKE = `
  SELECT pg_current_snapshot()::text AS seen, pg_export_snapshot() AS snapshot,
         pg_current_wal_insert_lsn()::text AS lsn, current_setting('wal_block_size')::int AS page,
         pg_size_bytes(current_setting('wal_segment_size'))::float8 AS segment`;

interface Taken extends LogSizes {
  readonly seen: string;
  readonly lsn: string;
  readonly snapshot: string;
}

interface ChunkParts extends ChunkOptions {
  readonly keyed: readonly Keyed[];
  /** The session that exported the snapshot. */
  readonly holder: pg.Client;
  readonly taken: Taken;
  readonly tables: readonly SourceTable[];
  readonly files: readonly TableFiles[];
  /** Names of partitioned tables: those are read with all that is below them. */
  readonly partitioned: ReadonlySet<string>;
  readonly askNow: Ask;
  /** Of {@link askNow}, before the snapshot was taken. */
  readonly session: string;
  /** Told once no session is in use any more. */
  readonly onClosed: () => void;
  readonly acquire: () => Promise<pg.Client>;
  readonly release: (client: pg.Client, isWhole: boolean) => Promise<void>;
}

class Chunk implements ChunkSnapshot {
  readonly fence: Position;
  readonly tables: readonly SourceTable[];
  readonly seen: string;
  readonly sees: (transaction: string) => boolean;
  readonly #parts: ChunkParts;
  /** Behind all that it sees, and when that was the end of the log. */
  readonly #end: Lsn;
  readonly #endedMs = performance.now();
  /** Sessions that have joined the snapshot and read nothing just now. */
  readonly #free: pg.Client[];
  readonly #joined = new Set<pg.Client>();
  #closed = false;

  constructor(parts: ChunkParts) {
    const { taken, tables, holder } = parts;
    this.#parts = parts;
    const insert = parseLsn(taken.lsn);
    this.#end = endOfRecords(insert, taken);
    this.fence = checkpointAt(lsnDigits(insert));
    this.tables = tables;
    this.seen = taken.seen;
    this.sees = visibility(taken.seen);
    this.#free = [holder];
    this.#joined.add(holder);
  }

  async bound(after: ChunkKey | undefined, rows: number): Promise<ChunkKey | undefined> {
    return await this.#askForKey(boundQuery(this.#rangeOf(this.tables[0]!), after, rows));
  }

  async last(after: ChunkKey | undefined): Promise<ChunkKey | undefined> {
    return await this.#askForKey(lastQuery(this.#rangeOf(this.tables[0]!), after));
  }

  async #askForKey(sql: string): Promise<ChunkKey | undefined> {
    const doing = `finding the end of a chunk of ${this.tables[0]!.name}`;
    return (await askClient(this.#parts.holder)<{ key: string[] }>(doing, sql, []))[0]?.key;
  }

  async *readRange(
    table: SourceTable,
    range: ChunkRange,
    signal: AbortSignal,
  ): AsyncGenerator<readonly Cells[], void, void> {
    const client = await this.#join();
    let isWhole = false;
    try {
      const doing = `reading a chunk of ${table.name}`;
      const asked = this.#rangeOf(table);
      const select =
        "keys" in range
          ? keysQuery(asked, range, this.#orders(asked.columns.length))
          : rangeQuery(asked, range);
      if ("keys" in range) await askClient(client)(doing, BY_LOOKUP, []);
      const sql = `COPY (${select}) TO STDOUT`;
      yield* copyOut(client, sql, table.columns.length, doing, signal, this.#parts);
      isWhole = true;
    } catch (error) {
      throw "keys" in range ? keyRefused(error, table) : error;
    } finally {
      if (isWhole) this.#free.push(client);
      else {
        this.#joined.delete(client);
        await this.#parts.release(client, false);
      }
    }
  }

  async rewritten(): Promise<readonly string[]> {
    return await rewrittenTables(this.#parts.askNow, this.#parts.files);
  }

  async durable(signal: AbortSignal): Promise<void> {
    const { askNow, session } = this.#parts;
    const at = { end: this.#end, sinceMs: this.#endedMs, session };
    await waitUntilFlushed(askNow, at, signal);
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    // The one that holds the snapshot last.
    for (const client of [...this.#joined].reverse())
      await this.#parts.release(client, this.#free.includes(client));
    this.#parts.onClosed();
  }

  /** A session under the snapshot: one that is free, or a further one. */
  async #join(): Promise<pg.Client> {
    const free = this.#free.pop();
    if (free !== undefined) return free;
    const client = await this.#parts.acquire();
    try {
      await client.query(
        `BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET TRANSACTION SNAPSHOT ${quoteLiteral(this.#parts.taken.snapshot)}`,
      );
      this.#joined.add(client);
      return client;
    } catch (error) {
      await this.#parts.release(client, false);
      throw notJoined(error, "joining the snapshot of a chunk");
    }
  }

  #columnsOf(table: SourceTable): readonly number[] {
    const keyed = this.#parts.keyed.find(({ name }) => name === table.name);
    invariant(keyed !== undefined, `${table.name} is not one of the tables of this reader`);
    return keyed.columns.map((name) => {
      const column = table.columns.findIndex((one) => one.name === name);
      if (column >= 0) return column;
      throw new BanyanError("SOURCE_CHANGED", `${table.name} has no column "${name}" any more`, {
        hint: "Correct the config, or give the column its name back.",
      });
    });
  }

  #rangeOf(table: SourceTable): RangeTable {
    return { table, columns: this.#columnsOf(table), from: this.#from(table) };
  }

  /** How all tables order each column of the key. */
  #orders(length: number): readonly OrderColumn["as"][] {
    return Array.from({ length }, (_, n) =>
      commonOrder(this.tables.map((table) => table.columns[this.#columnsOf(table)[n]!]!.type)),
    );
  }

  /** Inheritance children are tables of their own in the log, partitions are not. */
  #from(table: SourceTable): string {
    return this.#parts.partitioned.has(table.name)
      ? quoteTable(table)
      : `ONLY ${quoteTable(table)}`;
  }
}

/** A key that is no value of its column's type, or none that there could be: class 22, data exceptions. */
function keyRefused(error: unknown, table: SourceTable): unknown {
  if (!sqlstateOf(error).startsWith("22")) return error;
  return new BanyanError(
    "VALUE_UNMAPPABLE",
    `no row of ${table.name} can have this key: ${(error as Error).message}`,
    { cause: error },
  );
}
