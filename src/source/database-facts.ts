import type { Finding } from "./change-source.ts";
import type { SourceTable } from "../model/table.ts";

/**
 * What a database says of itself to somebody who has never seen it: catalogue and statistics, read
 * without changing or locking anything, without reading whole tables.
 *
 * Every adapter of a source that can be assessed gives this; all judgement is made elsewhere
 * (src/assess), so that it is the same for all of them. What the server does not say, or does not
 * say to this role, is undefined, never zero.
 */
export interface DatabaseFacts {
  readonly database: string;
  /** e.g. `PostgreSQL 18.4`. */
  readonly server: string;
  /** The role that asked. */
  readonly role: string;
  /** Schemas of the application, whether asked for or not. */
  readonly schemas: readonly string[];
  /**
   * How long the server has been counting changes, in seconds, at most: a table, or a database whose
   * age the role may not know, may be younger. Undefined when it does not count.
   */
  readonly countedSeconds: number | undefined;
  /** What server and role still lack before a capture, as a source's `check` would say. */
  readonly findings: readonly Finding[];
  /** Of the application's schemas, by name; a partitioned table is one table. */
  readonly tables: readonly TableFacts[];
  /** From the tables above. What they refer to may lie outside them. */
  readonly foreignKeys: readonly ForeignKey[];
}

export type TableKind = "table" | "partitioned" | "unlogged" | "foreign";

export interface TableFacts {
  /** Columns as the log carries them, key and replica identity (of partitions the weakest). */
  readonly table: SourceTable;
  readonly kind: TableKind;
  /** Tables it inherits from without being a partition: its rows show in theirs, its changes do not. */
  readonly inherits: readonly string[];
  /** Names of the leaves of a partitioned table, which hold its rows. */
  readonly partitions: readonly string[];
  readonly comment: string | undefined;
  /** Whether this role may read its rows. Without it, the server also hides what it knows of values. */
  readonly readable: boolean;
  /** By the server's statistics; undefined when the table has never been analysed. */
  readonly rows: number | undefined;
  /** Rows with their out-of-line values; without indexes. */
  readonly bytes: number;
  readonly indexBytes: number;
  /** Of `bytes`, what stands out of line. */
  readonly outOfLineBytes: number;
  /** True when the sizes are those of the last VACUUM or ANALYZE, because the table was locked just now. */
  readonly bytesAreOld: boolean;
  /** Row changes since the statistics began; undefined when this server does not count them. */
  readonly changes: ChangeCounts | undefined;
  readonly columns: readonly ColumnFacts[];
  /** Column names. Empty when there is none. */
  readonly primaryKey: readonly string[];
  /** Unique keys without the primary one, whose columns are all NOT NULL and that hold for all rows. */
  readonly uniqueKeys: readonly (readonly string[])[];
  /** Every rule that no two rows are alike in something, whatever it is over, but the primary key. */
  readonly uniqueRules: readonly UniqueRule[];
  /** Names of the application's own triggers. */
  readonly triggers: readonly string[];
  readonly rowSecurity: boolean;
  /** Whether row-level security would hide rows from this role. */
  readonly rowsHidden: boolean;
  /** Generated columns that the log leaves out. */
  readonly generatedLeftOut: readonly string[];
  /** SQL that makes the log name the rows of its updates and deletes; undefined when it does so already. */
  readonly identityMend: string | undefined;
  /**
   * SQL that gives it a primary key that always holds; undefined when it has a unique key that does, or
   * when only a person can say how.
   */
  readonly keyMend: string | undefined;
  /** SQL that puts its changes into the log; undefined when they are. */
  readonly loggedMend: string | undefined;
}

/** A unique index or an exclusion constraint. */
export interface UniqueRule {
  /** Plain columns in which two rows of the rule would be equal; expressions are none. */
  readonly columns: readonly string[];
  /** As the server prints it: `lower(email) WHERE deleted_at IS NULL`. */
  readonly text: string;
}

export interface ChangeCounts {
  readonly inserted: number;
  readonly updated: number;
  readonly deleted: number;
}

/** Beside what `SourceTable.columns` says; in its order. */
export interface ColumnFacts {
  readonly name: string;
  readonly type: string;
  readonly nullable: boolean;
  readonly comment: string | undefined;
  /** Labels of an enum, or the values that a CHECK constraint lists; undefined when neither. */
  readonly allowed: readonly string[] | undefined;
  /** The default expression as the server prints it; `identity` for an identity column; undefined also when locked. */
  readonly default: string | undefined;
  /** Distinct values, estimated; undefined when never analysed. */
  readonly distinct: number | undefined;
  /** Of a column with few values the most common ones, with the share of rows that have them; at most 20. */
  readonly common: readonly { readonly value: string; readonly share: number }[];
  /** 0 to 1. */
  readonly nullShare: number | undefined;
  /** As stored in the row: of an out-of-line value only its address. */
  readonly averageBytes: number | undefined;
  /** Whether a value may be stored out of line, so that the log may not repeat it. */
  readonly mayBeOutOfLine: boolean;
}

export interface ForeignKey {
  readonly name: string;
  readonly table: string;
  readonly columns: readonly string[];
  readonly references: string;
  readonly referencedColumns: readonly string[];
  readonly onDelete: ReferentialAction;
  readonly onUpdate: ReferentialAction;
}

export type ReferentialAction = "no action" | "restrict" | "cascade" | "set null" | "set default";

/** What the log showed of a database for a short while. */
export interface LogSample {
  /** How much of the log was seen, in seconds of the server's clock. */
  readonly seconds: number;
  /** Transactions that changed a row. */
  readonly transactions: number;
  /** Of the changes as the log told them, in text. */
  readonly bytes: number;
  /** By table name; of a partitioned table its own. */
  readonly tables: ReadonlyMap<string, SampledTable>;
}

export interface SampledTable extends ChangeCounts {
  readonly truncated: number;
  /** Of its changes as the log told them, in text. */
  readonly bytes: number;
  /** Updates whose old row the log carried, by the columns that changed: joined names → how often. */
  readonly changedTogether: ReadonlyMap<string, number>;
  /** Values seen to follow each other in a column with few values: `column` → `old → new` → how often. */
  readonly transitions: ReadonlyMap<string, ReadonlyMap<string, number>>;
}

/** A database that can be looked at before anything is configured. */
export interface DatabaseSurvey {
  /**
   * @param schemas only these; all when absent
   * @throws BanyanError `SOURCE_UNREACHABLE`, `SOURCE_REFUSED`
   */
  facts(schemas?: readonly string[]): Promise<DatabaseFacts>;
  /**
   * Watches the log for a while through a temporary slot that ends with the session. Aborted, it
   * gives what it has seen so far.
   *
   * @throws BanyanError `SOURCE_NOT_READY` when the server keeps no logical log or the role may not
   *   read it, `SLOT_CREATION_BLOCKED` when open transactions stand in the way, each with what to do
   */
  sample(seconds: number, signal: AbortSignal): Promise<LogSample>;
  close(): Promise<void>;
}
