import { BanyanError } from "../../src/model/errors.ts";
import type { Cell } from "../../src/model/cell.ts";
import type { Operation } from "../../src/model/change.ts";
import type { Cells, ReplicaIdentity, SourceTable } from "../../src/model/table.ts";
import { cellText, sameBytes } from "./cell-text.ts";
import {
  oldRowOfPartition,
  type KnownRelation,
  type RelationCache,
  type RelationColumn,
} from "./relations.ts";

/** Where decoded messages go, in the order of the log. All numbers of 64 bits come as two words. */
export interface PgoutputSink {
  /** @param xid 32 bits */
  begin(commitHigh: number, commitLow: number, committedAtUs: number, xid: number): void;
  /** @param bytes what the message took in the log, for bounding memory */
  change(
    kind: Operation,
    table: SourceTable,
    before: Cells | undefined,
    after: Cells | undefined,
    bytes: number,
  ): void;
  truncate(table: SourceTable): void;
  message(transactional: boolean, prefix: string, content: string): void;
  commit(endHigh: number, endLow: number): void;
}

/** Microseconds from 1970-01-01 to 2000-01-01, the server's epoch. */
const EPOCH_US = 946_684_800_000_000;
const TWO_32 = 4_294_967_296;
/** The server's own limit is 1,600. */
const COLUMNS_MAX = 1664;

/**
 * Decodes the messages of the `pgoutput` plugin, protocol version 1, values as text.
 *
 * Cells are decoded straight from the network buffer into arrays by column index. An update that
 * carries the whole old row (replica identity full) shares the string of each cell that did not
 * change: `before[i] === after[i]` without a second decoding, and a large value that the log does not
 * repeat is taken from the old row.
 *
 * Every malformed buffer is a `PROTOCOL_VIOLATION`; after one the connection cannot be used any more.
 *
 * @see https://www.postgresql.org/docs/current/protocol-logicalrep-message-formats.html
 */
export class PgoutputDecoder {
  readonly #relations: RelationCache;
  readonly #sink: PgoutputSink;
  /** OIDs that this connection has described: the server does so before the first change of each. */
  readonly #described = new Map<number, KnownRelation>();
  #inTransaction = false;
  #b: Buffer = Buffer.alloc(0);
  #at = 0;
  #end = 0;
  /** Where the cells of the old row lie, to compare those of the new row with; -1 for NULL or unknown. */
  readonly #oldStart = new Int32Array(COLUMNS_MAX);
  readonly #oldLength = new Int32Array(COLUMNS_MAX);

  constructor(relations: RelationCache, sink: PgoutputSink) {
    this.#relations = relations;
    this.#sink = sink;
  }

  get inTransaction(): boolean {
    return this.#inTransaction;
  }

  /** Decodes the one message at `start` (inclusive) to `end` (exclusive). */
  decode(buffer: Buffer, start: number, end: number): void {
    if (start >= end) throw violation("an empty message");
    this.#b = buffer;
    this.#at = start + 1;
    this.#end = end;
    switch (buffer[start]) {
      case 0x49: // I
        this.#insert(end - start);
        break;
      case 0x55: // U
        this.#update(end - start);
        break;
      case 0x44: // D
        this.#delete(end - start);
        break;
      case 0x42: // B
        this.#begin();
        break;
      case 0x43: // C
        this.#commit();
        break;
      case 0x52: // R
        this.#relation();
        break;
      case 0x59: // Y
        this.#relations.learnType(this.#uint32(), this.#string(), this.#string());
        break;
      case 0x54: // T
        this.#truncate();
        break;
      case 0x4d: // M
        this.#message();
        break;
      case 0x4f: // O: the origin's commit position and name, of which nothing is needed
        this.#skip(8);
        this.#string();
        break;
      default:
        throw violation(
          `a message of type 0x${buffer[start]!.toString(16)}, which protocol version 1 does not have`,
        );
    }
    if (this.#at !== end) throw violation(`${end - this.#at} bytes too many in a message`);
  }

  #begin(): void {
    if (this.#inTransaction) throw violation("Begin inside a transaction");
    const high = this.#uint32();
    const low = this.#uint32();
    const committedAtUs = this.#int64() + EPOCH_US;
    const xid = this.#uint32();
    this.#inTransaction = true;
    this.#sink.begin(high, low, committedAtUs, xid);
  }

  #commit(): void {
    this.#mustBeInTransaction();
    this.#skip(1 + 8); // flags; the commit position, which Begin told
    const high = this.#uint32();
    const low = this.#uint32();
    this.#skip(8); // the time, which Begin told
    this.#inTransaction = false;
    this.#sink.commit(high, low);
  }

  #insert(bytes: number): void {
    const { table } = this.#relationOfChange();
    if (this.#byte() !== 0x4e) throw violation("an insert without a new row");
    const after = this.#row(table.columns.length, undefined, undefined);
    this.#sink.change("insert", table, undefined, after, bytes);
  }

  #update(bytes: number): void {
    const relation = this.#relationOfChange();
    const columns = relation.table.columns.length;
    let kind = this.#byte();
    let before: Cells | undefined;
    let full: Cells | undefined;
    if (kind === 0x4f) {
      full = this.#oldRow(columns);
      before = relation.isPartitioned ? oldRowOfPartition(relation, true, full) : full;
      // What is not known of the old row is none of the new one.
      if (before !== full) full = undefined;
      kind = this.#byte();
    } else if (kind === 0x4b) {
      before = this.#oldKey(relation);
      kind = this.#byte();
    }
    if (kind !== 0x4e) throw violation("an update without a new row");
    const after = this.#row(columns, full, undefined);
    this.#sink.change("update", relation.table, before, after, bytes);
  }

  #delete(bytes: number): void {
    const relation = this.#relationOfChange();
    const kind = this.#byte();
    if (kind !== 0x4f && kind !== 0x4b) throw violation("a delete without an old row");
    const before = kind === 0x4b ? this.#oldKey(relation) : this.#oldWhole(relation);
    this.#sink.change("delete", relation.table, before, undefined, bytes);
  }

  #oldKey(relation: KnownRelation): Cells {
    const { table, inIdentity, isPartitioned } = relation;
    const columns = table.columns.length;
    if (!isPartitioned) return this.#row(columns, undefined, inIdentity);
    return oldRowOfPartition(relation, false, this.#row(columns, undefined, undefined));
  }

  #oldWhole(relation: KnownRelation): Cells {
    const row = this.#row(relation.table.columns.length, undefined, undefined);
    return relation.isPartitioned ? oldRowOfPartition(relation, true, row) : row;
  }

  /** A whole old row; notes where its cells lie. */
  #oldRow(columns: number): Cells {
    const b = this.#b;
    const end = this.#end;
    const cells: Cell[] = this.#newRow(columns);
    let at = this.#at;
    for (let i = 0; i < columns; i++) {
      const kind = at < end ? b[at++] : 0;
      if (kind === 0x74) {
        const length = this.#lengthAt(at);
        at += 4;
        cells[i] = cellText(b, at, at + length);
        this.#oldStart[i] = at;
        this.#oldLength[i] = length;
        at += length;
      } else {
        cells[i] = this.#cellWithoutText(kind);
        this.#oldLength[i] = -1;
      }
    }
    this.#at = at;
    return cells;
  }

  /**
   * @param old the row that {@link #oldRow} has just read
   * @param known by column index, for a row that has the identity's columns only: the others are unknown
   */
  #row(columns: number, old: Cells | undefined, known: readonly boolean[] | undefined): Cells {
    const b = this.#b;
    const end = this.#end;
    const cells: Cell[] = this.#newRow(columns);
    let at = this.#at;
    for (let i = 0; i < columns; i++) {
      const kind = at < end ? b[at++] : 0;
      if (kind === 0x74) {
        const length = this.#lengthAt(at);
        at += 4;
        cells[i] =
          old !== undefined &&
          this.#oldLength[i] === length &&
          sameBytes(b, this.#oldStart[i]!, b, at, length)
            ? old[i]
            : cellText(b, at, at + length);
        at += length;
      } else {
        const cell = this.#cellWithoutText(kind);
        cells[i] = cell === undefined && old !== undefined ? old[i] : cell;
      }
      if (known !== undefined && known[i] !== true) cells[i] = undefined;
    }
    this.#at = at;
    return cells;
  }

  #newRow(columns: number): Cell[] {
    const found = this.#uint16();
    if (found !== columns) {
      throw violation(`a row of ${found} columns in a table of ${columns}`);
    }
    return new Array<Cell>(columns);
  }

  #cellWithoutText(kind: number | undefined): null | undefined {
    if (kind === 0x6e) return null;
    if (kind === 0x75) return undefined;
    if (kind === 0x62) throw violation("a binary value, although text was asked for");
    if (kind === 0) throw truncated();
    throw violation(`a value of kind 0x${kind!.toString(16)}`);
  }

  #relationOfChange(): KnownRelation {
    this.#mustBeInTransaction();
    return this.#describedRelation(this.#uint32());
  }

  #describedRelation(oid: number): KnownRelation {
    const relation = this.#described.get(oid);
    if (relation === undefined)
      throw violation(`a change of relation ${oid}, not described before`);
    return relation;
  }

  #relation(): void {
    const oid = this.#uint32();
    const schema = this.#string();
    const relation = this.#string();
    const identity = identityOf(this.#byte());
    const count = this.#uint16();
    if (count > COLUMNS_MAX) throw violation(`a table of ${count} columns`);
    const columns: RelationColumn[] = [];
    for (let i = 0; i < count; i++) {
      const inIdentity = (this.#byte() & 1) === 1;
      const name = this.#string();
      const typeOid = this.#uint32();
      columns.push({ name, typeOid, typeModifier: this.#uint32() | 0, inIdentity });
    }
    // An empty schema stands for pg_catalog.
    const message = { oid, schema: schema || "pg_catalog", relation, identity, columns };
    this.#described.set(oid, this.#relations.learn(message));
  }

  #truncate(): void {
    this.#mustBeInTransaction();
    const count = this.#uint32();
    this.#skip(1); // cascade and restart identity: what follows from them is in the list
    if (count * 4 > this.#end - this.#at) throw truncated();
    for (let i = 0; i < count; i++) {
      this.#sink.truncate(this.#describedRelation(this.#uint32()).table);
    }
  }

  #message(): void {
    const transactional = (this.#byte() & 1) === 1;
    this.#skip(8); // its own position
    const prefix = this.#string();
    const length = this.#lengthAt(this.#at);
    const start = this.#at + 4;
    this.#at = start + length;
    if (transactional) this.#mustBeInTransaction();
    this.#sink.message(transactional, prefix, cellText(this.#b, start, start + length));
  }

  #mustBeInTransaction(): void {
    if (!this.#inTransaction) throw violation("a change outside a transaction");
  }

  #byte(): number {
    if (this.#at >= this.#end) throw truncated();
    return this.#b[this.#at++]!;
  }

  #uint16(): number {
    const at = this.#at;
    if (at + 2 > this.#end) throw truncated();
    this.#at = at + 2;
    return (this.#b[at]! << 8) | this.#b[at + 1]!;
  }

  #uint32(): number {
    const at = this.#at;
    if (at + 4 > this.#end) throw truncated();
    this.#at = at + 4;
    return uint32At(this.#b, at);
  }

  /** Exact up to 2^53, which as microseconds is the year 2255. */
  #int64(): number {
    const high = this.#uint32() | 0;
    return high * TWO_32 + this.#uint32();
  }

  /** The length at `at`, checked: what it measures lies within the message. Does not move on. */
  #lengthAt(at: number): number {
    if (at + 4 > this.#end) throw truncated();
    const length = uint32At(this.#b, at);
    if (length > this.#end - at - 4) throw truncated();
    return length;
  }

  #string(): string {
    const stop = this.#b.indexOf(0, this.#at);
    if (stop === -1 || stop >= this.#end) throw truncated();
    const text = cellText(this.#b, this.#at, stop);
    this.#at = stop + 1;
    return text;
  }

  #skip(bytes: number): void {
    if (this.#at + bytes > this.#end) throw truncated();
    this.#at += bytes;
  }
}

function uint32At(b: Buffer, at: number): number {
  return ((b[at]! << 24) | (b[at + 1]! << 16) | (b[at + 2]! << 8) | b[at + 3]!) >>> 0;
}

function identityOf(code: number): ReplicaIdentity {
  switch (code) {
    case 0x66:
      return "full";
    case 0x64:
      return "default";
    case 0x69:
      return "index";
    case 0x6e:
      return "nothing";
    default:
      throw violation(`replica identity 0x${code.toString(16)}`);
  }
}

function truncated(): BanyanError {
  return violation("a message that ends early");
}

function violation(what: string): BanyanError {
  return new BanyanError("PROTOCOL_VIOLATION", `the server's log stream holds ${what}`, {
    hint: "It is read again from the last checkpoint; if that fails too, report the server's version.",
  });
}
