import type pg from "pg";
import { BanyanError } from "../../src/model/errors.ts";
import type { Cells, SourceTable } from "../../src/model/table.ts";
import type { OrderColumn } from "../../src/source/change-source.ts";
import type { Ask } from "./catalogue.ts";
import { copyOut } from "./copy-out.ts";
import { quoteIdentifier, quoteLiteral, quoteTable } from "./identifiers.ts";
import { connect, disconnect } from "./session.ts";
import { readTableFiles, rewrittenTables } from "./table-files.ts";
import type { SilenceOptions } from "./silence-watch.ts";
import { classify, sqlstateOf } from "./sqlstate.ts";

/** A reader that waits longer for a table's lock gives up: somebody alters the table. */
const LOCK_MS_MAX = 60_000;
/** A short question that is not answered by then never will be; waiting for a lock comes first. */
const ANSWER_MS_MAX = 2 * LOCK_MS_MAX;
/** Locks taken after a savepoint end with the way back to it; the snapshot stays. */
export const HOLD_LOCKS = "SAVEPOINT reading";
const RELEASE_LOCKS = "ROLLBACK TO SAVEPOINT reading; RELEASE SAVEPOINT reading";
/** Before it a condition on ctid is no range of the file. */
const TID_RANGE_SINCE = 140_000;
/** `whole`: read by itself it shows all that it holds. */
const MEASURED = `
  SELECT n.nspname AS schema, c.relname AS relation,
         (pg_relation_size(c.oid) / current_setting('block_size')::int)::int AS pages,
         current_setting('server_version_num')::int AS version,
         NOT $2 OR (c.relkind = 'r' AND has_schema_privilege(n.oid, 'USAGE') AND has_table_privilege(c.oid, 'SELECT')
                    AND NOT row_security_active(c.oid)) AS whole
    FROM (SELECT $1::text::regclass::oid AS oid WHERE NOT $2
          UNION ALL SELECT relid FROM pg_partition_tree($1::text::regclass) WHERE isleaf AND $2) leaf
    JOIN pg_class c USING (oid) JOIN pg_namespace n ON n.oid = c.relnamespace`;

interface FileRow {
  readonly schema: string;
  readonly relation: string;
  readonly pages: number;
  readonly version: number;
  readonly whole: boolean;
}

export interface TableFile {
  /** In a FROM clause. */
  readonly from: string;
  readonly pages: number;
}

/** Below this a table is counted: the planner guesses small ones badly, and counting costs nothing. */
const COUNT_ROWS_MAX = 10_000;

/**
 * Sessions that all see the rows of one exported snapshot. A session is made when all others are
 * busy, and kept for the next reader.
 *
 * A table is locked only while it is read: an application that waits to alter or truncate it makes
 * all others wait behind itself.
 */
export class SnapshotRows {
  readonly #url: string;
  readonly #applicationName: string;
  readonly #snapshot: string;
  /** Names of partitioned tables: those are read with all that is below them. */
  readonly #partitioned: ReadonlySet<string>;
  readonly #silence: SilenceOptions;
  readonly #idle: pg.Client[] = [];
  readonly #busy = new Set<pg.Client>();
  #closed = false;

  constructor(options: {
    readonly url: string;
    readonly applicationName: string;
    readonly snapshot: string;
    readonly partitioned: ReadonlySet<string>;
    readonly silenceMs: number;
  }) {
    this.#url = options.url;
    this.#applicationName = options.applicationName;
    this.#snapshot = options.snapshot;
    this.#partitioned = options.partitioned;
    this.#silence = options;
  }

  /** As {@link RowSnapshot.readRows}. */
  async *readRows(
    table: SourceTable,
    orderBy: readonly OrderColumn[],
    signal: AbortSignal,
  ): AsyncGenerator<readonly Cells[], void, void> {
    const order = orderBy.length === 0 ? "" : ` ORDER BY ${orderTerms(table, orderBy)}`;
    yield* this.copySelect(
      table,
      `SELECT ${columnList(table)} FROM ${this.from(table)}${order}`,
      table.columns.length,
      signal,
    );
  }

  /** The rows of a SELECT from one table, of so many columns, in canonical text. */
  async *copySelect(
    table: SourceTable,
    select: string,
    columns: number,
    signal: AbortSignal,
  ): AsyncGenerator<readonly Cells[], void, void> {
    const client = await this.#acquire();
    let reusable = false;
    try {
      const doing = `reading table ${table.name}`;
      const ask = askClient(client);
      await ask(doing, HOLD_LOCKS, []);
      yield* copyOut(client, `COPY (${select}) TO STDOUT`, columns, doing, signal, this.#silence);
      await release(client, doing);
      reusable = true;
    } finally {
      this.#busy.delete(client);
      if (reusable && !this.#closed) this.#idle.push(client);
      else await disconnect(client);
    }
  }

  async estimateRows(table: SourceTable): Promise<number> {
    return await this.use(async (ask) => {
      const doing = `estimating the rows of ${table.name}`;
      const from = this.from(table);
      const [explained] = await ask<{ "QUERY PLAN": readonly [{ Plan: { "Plan Rows": number } }] }>(
        doing,
        `EXPLAIN (FORMAT JSON) SELECT FROM ${from}`,
        [],
      );
      const estimate = explained!["QUERY PLAN"][0].Plan["Plan Rows"];
      if (estimate >= COUNT_ROWS_MAX) return estimate;
      const sql = `SELECT count(*)::int AS rows FROM (SELECT FROM ${from} LIMIT ${COUNT_ROWS_MAX}) counted`;
      const [counted] = await ask<{ rows: number }>(doing, sql, []);
      return counted!.rows;
    });
  }

  /**
   * The files that hold a table's rows: its own, or those of its partitions where the role may read each
   * of them by itself. Undefined where a stretch of a file cannot be read alone.
   */
  async files(table: SourceTable): Promise<readonly TableFile[] | undefined> {
    const found = await this.use((ask) =>
      ask<FileRow>(`measuring ${table.name}`, MEASURED, [
        quoteTable(table),
        this.#partitioned.has(table.name),
      ]),
    );
    if (!found.every(({ whole, version }) => whole && version >= TID_RANGE_SINCE)) return undefined;
    return found.map((row) => ({ from: `ONLY ${quoteTable(row)}`, pages: row.pages }));
  }

  /** As {@link RowSnapshot.rewritten}. @param askNow outside of the snapshot */
  async rewritten(tables: readonly SourceTable[], askNow: Ask): Promise<readonly string[]> {
    const files = await this.use((ask) => readTableFiles(ask, tables));
    return await rewrittenTables(askNow, files);
  }

  /** Asks something inside the snapshot. */
  async use<T>(body: (ask: Ask) => Promise<T>): Promise<T> {
    const client = await this.#acquire();
    try {
      const ask = askClient(client);
      await ask("reading under the snapshot", HOLD_LOCKS, []);
      const result = await body(ask);
      await release(client, "reading under the snapshot");
      this.#busy.delete(client);
      this.#idle.push(client);
      return result;
    } catch (error) {
      this.#busy.delete(client);
      await disconnect(client);
      throw error;
    }
  }

  async close(): Promise<void> {
    this.#closed = true;
    const all = [...this.#idle, ...this.#busy];
    this.#idle.length = 0;
    await Promise.all(all.map(disconnect));
  }

  async #acquire(): Promise<pg.Client> {
    const client = this.#idle.pop() ?? (await this.#join());
    if (this.#closed) {
      await disconnect(client);
      throw new BanyanError("SOURCE_UNREACHABLE", "the snapshot was closed while it was joined");
    }
    this.#busy.add(client);
    return client;
  }

  async #join(): Promise<pg.Client> {
    const client = await connect({
      url: this.#url,
      applicationName: this.#applicationName,
      lockTimeoutMs: LOCK_MS_MAX,
      answerMsMax: ANSWER_MS_MAX,
    });
    try {
      await client.query(
        // Compiling a statement that runs once costs more than it gains.
        `SET jit = off; BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET TRANSACTION SNAPSHOT ${quoteLiteral(this.#snapshot)}`,
      );
      return client;
    } catch (error) {
      await disconnect(client);
      throw notJoined(error, "joining the snapshot");
    }
  }

  /** Inheritance children are tables of their own in the log, partitions are not. */
  from(table: SourceTable): string {
    return this.#partitioned.has(table.name) ? quoteTable(table) : `ONLY ${quoteTable(table)}`;
  }
}

/** What it means that a session could not join a snapshot: as a rule the one that exported it has ended. */
export function notJoined(error: unknown, doing: string): BanyanError {
  if (!["22023", "42704", "55000"].includes(sqlstateOf(error)))
    return classify(error, "source", doing);
  return new BanyanError(
    "SOURCE_UNREACHABLE",
    "the snapshot is gone, because the session that held it ended",
    { cause: error, hint: "Run the command again: it begins with a new snapshot." },
  );
}

export function columnList({ columns }: SourceTable): string {
  return columns.map(({ name }) => quoteIdentifier(name)).join(", ");
}

/** Gives up the locks taken since {@link HOLD_LOCKS}. Two statements, so without parameters. */
export async function release(client: pg.Client, doing: string): Promise<void> {
  try {
    await client.query(RELEASE_LOCKS);
  } catch (error) {
    throw classify(error, "source", doing);
  }
}

/** An {@link Ask} of one client. */
export function askClient(client: pg.Client): Ask {
  return async <Row>(doing: string, sql: string, params: readonly unknown[]): Promise<Row[]> => {
    try {
      return (await client.query(sql, [...params])).rows as Row[];
    } catch (error) {
      throw classify(error, "source", doing);
    }
  };
}

/** Types whose own order is that of their text's bytes, so that an index can serve it. */
const ORDERED_AS_TEXT = new Set(["uuid", "bool", "bytea", "time", "macaddr"]);

/**
 * The cast strips the blanks of char(n), which `padded` leaves out. `concat` gives a value's canonical text with
 * them, whose bytes must be those of UTF-8 also where the database has another encoding.
 */
export function orderTerms(table: SourceTable, orderBy: readonly OrderColumn[]): string {
  return orderBy
    .map(({ column, as }) => {
      const { name, type } = table.columns[column]!;
      const value = quoteIdentifier(name);
      if (as === "padded") return `convert_to(${value}::text, 'UTF8')`;
      if (as !== "bytes" || ORDERED_AS_TEXT.has(type.replace(/\(\d\)$/, ""))) return value;
      // Not IS NOT NULL, which a composite value of NULLs is not either.
      return `CASE WHEN num_nonnulls(${value}) = 1 THEN convert_to(concat(${value}), 'UTF8') END`;
    })
    .join(", ");
}
