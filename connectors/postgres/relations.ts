import type { Cells, CodecName, ReplicaIdentity, SourceTable } from "../../src/model/table.ts";
import { qualifiedName } from "../../src/model/table.ts";

/** What an R message says. Its key flags follow the replica identity: with `full` every column has one. */
export interface RelationMessage {
  readonly oid: number;
  readonly schema: string;
  readonly relation: string;
  readonly identity: ReplicaIdentity;
  readonly columns: readonly RelationColumn[];
}

export interface RelationColumn {
  readonly name: string;
  readonly typeOid: number;
  readonly typeModifier: number;
  readonly inIdentity: boolean;
}

/** What the log does not say of a table. Read from the catalogue when the stream starts. */
export interface CatalogueTable {
  readonly oid: number;
  /** Its name in the catalogue. */
  readonly schema: string;
  readonly relation: string;
  /** Names of the primary key's columns (or of the key the config names), in key order. */
  readonly key: readonly string[];
  readonly notNull: ReadonlySet<string>;
  /** For a partitioned table that of its leaves, because theirs decides what the log holds. */
  readonly identity: ReplicaIdentity;
  readonly partitioned: boolean;
}

export interface Catalogue {
  readonly tables: ReadonlyMap<number, CatalogueTable>;
  /** Type names by OID without modifier, e.g. 1700 → `numeric`. */
  readonly types: ReadonlyMap<number, string>;
  /** Modifier texts that the server alone can format, by `oid:typmod`, e.g. `(Point,4326)`. */
  readonly modifiers: ReadonlyMap<string, string>;
}

/** A relation as the decoder uses it. */
export interface KnownRelation {
  readonly table: SourceTable;
  /** By column index: whether a K tuple carries it. */
  readonly inIdentity: readonly boolean[];
  /** What is sent under a partitioned table's name; see {@link oldRowOfPartition}. */
  readonly isPartitioned: boolean;
}

/**
 * The old row of a partition as far as it is known, of a tuple read as it is. It is marked by the replica
 * identity of the table whose name it is sent under, while that of the partition decided what the log
 * holds: a row marked as whole may be a key with NULL in place of all else, and one marked as a key whole.
 *
 * Nothing but NULLs beside the key, and a NULL where there can be none, are taken for what is not known.
 *
 * @param isWhole as the tuple is marked
 */
export function oldRowOfPartition(
  { table: { columns, key }, inIdentity }: KnownRelation,
  isWhole: boolean,
  cells: Cells,
): Cells {
  const isKey = (i: number): boolean => (isWhole ? key.includes(i) : inIdentity[i] === true);
  const isBroken = cells.some((cell, i) => cell === null && !columns[i]!.nullable);
  const isMore = cells.some((cell, i) => cell !== null && cell !== undefined && !isKey(i));
  if (cells.every((_, i) => isKey(i)) || (isMore && !isBroken)) return cells;
  return cells.map((cell) => (cell === null ? undefined : cell));
}

const CODEC_BY_OID: Readonly<Record<number, CodecName>> = {
  16: "bool",
  17: "bytea",
  21: "int",
  23: "int",
  1114: "timestamp",
  1184: "timestamptz",
};

export function codecOf(typeOid: number): CodecName {
  return CODEC_BY_OID[typeOid] ?? "text";
}

/**
 * The tables of one log by OID. The same description keeps the same {@link SourceTable} object, also
 * across reconnections; another one makes a new object, on whose identity a mapping caches.
 */
export class RelationCache {
  readonly #planned: ReadonlySet<string>;
  readonly #known = new Map<number, KnownRelation & { readonly signature: string }>();
  readonly #streamTypes = new Map<number, string>();
  #catalogue: Catalogue = { tables: new Map(), types: new Map(), modifiers: new Map() };

  /** @param planned qualified names that the config has, as far as known; may grow later */
  constructor(planned: ReadonlySet<string> = new Set()) {
    this.#planned = planned;
  }

  /** Facts for the R messages to come; those of an earlier connection are forgotten. */
  useCatalogue(catalogue: Catalogue): void {
    this.#catalogue = catalogue;
  }

  get(oid: number): KnownRelation | undefined {
    return this.#known.get(oid);
  }

  learn(message: RelationMessage): KnownRelation {
    const old = this.#known.get(message.oid);
    const table = this.#tableOf(message, old?.table);
    const inIdentity = message.columns.map((column) => column.inIdentity);
    const isPartitioned = this.#catalogue.tables.get(message.oid)?.partitioned === true;
    const signature = JSON.stringify([table, inIdentity, isPartitioned]);
    if (old?.signature === signature) return old;
    const known = { table, inIdentity, isPartitioned, signature };
    this.#known.set(message.oid, known);
    return known;
  }

  /** From a Y message: helps only with a type that was made after the catalogue was read. */
  learnType(oid: number, schema: string, name: string): void {
    this.#streamTypes.set(oid, schema === "" ? name : `${schema}.${name}`);
  }

  #tableOf(message: RelationMessage, old: SourceTable | undefined): SourceTable {
    const facts = this.#catalogue.tables.get(message.oid);
    const { schema, relation } = this.#nameOf(message, facts);
    return Object.freeze({
      name: qualifiedName(schema, relation),
      schema,
      relation,
      columns: message.columns.map((column) =>
        Object.freeze({
          name: column.name,
          type: this.#typeName(column.typeOid, column.typeModifier),
          codec: codecOf(column.typeOid),
          nullable: facts === undefined || !facts.notNull.has(column.name),
        }),
      ),
      key: keyOf(message, facts, old),
      replicaIdentity: facts?.partitioned === true ? facts.identity : message.identity,
    });
  }

  /**
   * The log has the name of its place, the catalogue that of the time when the stream began. A table
   * renamed between the two goes on under the name that the config knows.
   */
  #nameOf(
    message: RelationMessage,
    facts: CatalogueTable | undefined,
  ): Pick<RelationMessage, "schema" | "relation"> {
    const isPlanned = this.#planned.has(qualifiedName(message.schema, message.relation));
    return isPlanned ? message : (facts ?? message);
  }

  #typeName(oid: number, modifier: number): string {
    const name = this.#catalogue.types.get(oid) ?? this.#streamTypes.get(oid);
    if (name === undefined) return `oid:${oid}`;
    if (modifier < 0) return name;
    return name.endsWith("[]")
      ? `${name.slice(0, -2)}${this.#modifier(oid, name.slice(0, -2), modifier)}[]`
      : name + this.#modifier(oid, name, modifier);
  }

  #modifier(oid: number, name: string, modifier: number): string {
    return this.#catalogue.modifiers.get(`${oid}:${modifier}`) ?? formatModifier(name, modifier);
  }
}

/** The modifier of the built-in types that have one, as `format_type` writes it; for other types nothing. */
export function formatModifier(name: string, modifier: number): string {
  switch (name) {
    case "varchar":
    case "bpchar":
      return `(${modifier - 4})`;
    case "numeric": {
      const packed = modifier - 4;
      // Eleven bits of scale, which may be negative since version 15.
      return `(${(packed >> 16) & 0xffff},${(((packed & 0x7ff) ^ 1024) - 1024).toString()})`;
    }
    case "bit":
    case "varbit":
    case "time":
    case "timetz":
    case "timestamp":
    case "timestamptz":
      return `(${modifier})`;
    default:
      return "";
  }
}

/**
 * Indexes of the key's columns. The catalogue shows the table of today, the message that of its place
 * in the log: where a key column was renamed between the two, its place in the row still tells.
 */
function keyOf(
  message: RelationMessage,
  facts: CatalogueTable | undefined,
  old: SourceTable | undefined,
): readonly number[] {
  const byName = facts?.key.map((name) => message.columns.findIndex((c) => c.name === name)) ?? [];
  if (byName.length > 0 && !byName.includes(-1)) return byName;
  if (old !== undefined && old.columns.length === message.columns.length) return old.key;
  if (message.identity !== "default") return [];
  return message.columns.flatMap((column, index) => (column.inIdentity ? [index] : []));
}
