import { CoverageCounter } from "./coverage.ts";
import type { EventBuffer } from "./event-buffer.ts";
import {
  formatUuid,
  writeCaptureId,
  JOINED_HALF,
  LINK_SLOT,
  ORDINAL_MAX,
  type IdPrefix,
} from "./event-id.ts";
import { rowMatches, updateMatches, type CompiledRule } from "./compiled-rule.ts";
import type { RowJson } from "./row-json.ts";
import { keyText, streamId, STREAM_ID_LENGTH_MAX } from "./stream-id.ts";
import { timestampUs } from "./valid-time.ts";
import type { RowChange } from "../model/change.ts";
import { BanyanError, invariant } from "../model/errors.ts";
import { isStorableJson } from "../model/storable-text.ts";
import type { EventContext } from "../model/event.ts";
import { changePosition } from "../model/position.ts";
import { isDecimal, trimScale, type Cells, type SourceTable } from "../model/table.ts";
import { count } from "../model/count-text.ts";

/** What the changes of one source transaction have in common while they are mapped. */
export interface MappingScope {
  readonly commit: string;
  readonly idPrefix: IdPrefix;
  readonly committedAtUs: number;
  /** Context for events of this mapping version; the same object for the whole transaction. */
  readonly contextOf: (mappingVersion: number) => EventContext;
  /** The pipeline's part of event ids. */
  readonly tag: number;
}

/** How a change was told: by named events alone, with the fallback's help, or not at all because it changed nothing. */
export type Telling = "claimed" | "fallback" | "unchanged";

/** A child row that an insert of its root takes into its own event. */
export interface AbsorbedRow {
  readonly mapper: TableMapper;
  readonly cells: Cells;
}

/** Shared by all shapes of a table. */
export interface ImageKeeping {
  /** Once begun it goes on, whatever the log tells later. */
  isKept: boolean;
}

export interface TableMapperParts {
  readonly table: SourceTable;
  readonly streamType: string;
  readonly role: string;
  readonly isRoot: boolean;
  /** Columns whose text is the stream's key: the root's key, or the child's foreign key. */
  readonly streamColumns: readonly number[];
  readonly validTimeColumn: number | undefined;
  readonly json: RowJson;
  readonly inserts: readonly CompiledRule[];
  readonly updates: readonly CompiledRule[];
  readonly deletes: readonly CompiledRule[];
  readonly fallback: FallbackSlots;
  readonly baselineType: string;
  readonly baselineSlot: number;
  readonly images: ImageKeeping;
  /** Set when the shape no longer fits the rules: every change of the table is refused with it. */
  readonly broken: BanyanError | undefined;
}

/** The fallback has a rule number per use, so that no two events of one change share an id. */
export interface FallbackSlots {
  readonly type: string;
  readonly update: number;
  readonly leave: number;
  readonly join: number;
}

/**
 * Maps the row changes of one table shape, by column index.
 *
 * The before and after images must be complete (see row-images.ts). A change that cannot be mapped
 * throws and leaves nothing of itself in the buffer.
 */
export class TableMapper {
  readonly parts: TableMapperParts;
  readonly table: SourceTable;
  readonly streamType: string;
  readonly role: string;
  readonly isRoot: boolean;
  /** The store's number for the mapping this shape belongs to; set before the first change is mapped. */
  mappingVersion = 0;
  readonly coverage: CoverageCounter;
  readonly #allColumns: readonly number[];
  /** 0 = same, 1 = changed and unclaimed, 2 = changed and claimed. Reused from change to change. */
  readonly #changed: Uint8Array;
  readonly #uuid = new Uint8Array(16);
  /** Of the stream's columns those whose equal values may have several texts. */
  readonly #decimals: readonly number[];
  readonly #rolePrefix: Readonly<Record<"insert" | "update" | "delete", string>>;

  constructor(parts: TableMapperParts) {
    this.parts = parts;
    this.table = parts.table;
    this.streamType = parts.streamType;
    this.role = parts.role;
    this.isRoot = parts.isRoot;
    this.coverage = new CoverageCounter({
      stream: parts.streamType,
      table: parts.table.name,
      columns: parts.table.columns.map(({ name }) => name),
      rules: parts.updates.map(({ type }) => type),
      fallback: parts.fallback.type,
    });
    this.#allColumns = parts.table.columns.map((_, index) => index);
    this.#changed = new Uint8Array(parts.table.columns.length);
    this.#decimals = parts.streamColumns.filter((column) =>
      isDecimal(parts.table.columns[column]?.type ?? ""),
    );
    const role = JSON.stringify(parts.role);
    this.#rolePrefix = {
      insert: `{"$row":${role},"$op":"insert",`,
      update: `{"$row":${role},"$op":"update",`,
      delete: `{"$row":${role},"$op":"delete",`,
    };
  }

  /**
   * True when the log does not carry whole old rows, or once did not: Banyan keeps the last image itself.
   * It may become true while the log still shows this shape, when the catalogue is ahead of it.
   */
  get keepsImages(): boolean {
    return this.parts.images.isKept;
  }

  /** The stream that a row belongs to. @throws BanyanError `VALUE_UNMAPPABLE` when its id would be too long */
  streamOf(cells: Cells): string {
    const id = this.streamIdOf(cells);
    if (id.length > STREAM_ID_LENGTH_MAX) {
      throw new BanyanError(
        "VALUE_UNMAPPABLE",
        `the key of a row of ${this.table.name} makes a stream id of ${count(id.length)} characters; at most ${STREAM_ID_LENGTH_MAX} are possible`,
      );
    }
    return id;
  }

  /** As {@link streamOf}, but may be too long. */
  streamIdOf(cells: Cells): string {
    const { streamColumns } = this.parts;
    if (this.#decimals.length === 0)
      return streamId(this.streamType, keyText(cells, streamColumns));
    const trimmed = [...cells];
    for (const column of this.#decimals) {
      const cell = cells[column];
      if (typeof cell === "string") trimmed[column] = trimScale(cell);
    }
    return streamId(this.streamType, keyText(trimmed, streamColumns));
  }

  /** Text of the row's own key, unique in its table. */
  keyOf(cells: Cells): string {
    return keyText(cells, this.table.key);
  }

  /** When the row says that it changed in the business, in microseconds; undefined when it does not say. */
  validTimeUs(cells: Cells): number | undefined {
    const { validTimeColumn } = this.parts;
    return validTimeColumn === undefined ? undefined : timestampUs(cells[validTimeColumn]);
  }

  /**
   * When the row says that this change happened. A change that leaves the time as it was, and a
   * deletion, say nothing: the time in the row is that of an earlier change.
   */
  #changedAtUs({ before, after }: RowChange): number | undefined {
    const { validTimeColumn: column } = this.parts;
    if (column === undefined || after === undefined) return undefined;
    return before?.[column] === after[column] ? undefined : this.validTimeUs(after);
  }

  /** The insert rule that fires for a row, if any: first match in the order written. */
  insertRule(cells: Cells): CompiledRule | undefined {
    return this.parts.inserts.find((rule) => rowMatches(rule, cells, this.parts.json));
  }

  /** Maps one change. @param absorbed child rows inserted after this root row in the same transaction */
  map(
    change: RowChange,
    scope: MappingScope,
    out: EventBuffer,
    absorbed: readonly AbsorbedRow[],
  ): Telling {
    if (this.parts.broken !== undefined) throw this.parts.broken;
    invariant(
      change.ordinal <= ORDINAL_MAX,
      "a transaction has more changes than an event id can tell",
    );
    const telling = this.#tell(change, scope, out, absorbed);
    if (telling !== "unchanged") this.coverage.change(change.kind, telling === "claimed");
    return telling;
  }

  #tell(
    change: RowChange,
    scope: MappingScope,
    out: EventBuffer,
    absorbed: readonly AbsorbedRow[],
  ): Telling {
    switch (change.kind) {
      case "insert":
        return this.#insert(change, change.after!, scope, out, absorbed, undefined);
      case "delete":
        return this.#delete(change, change.before!, scope, out, undefined);
      case "update":
        return this.#update(change, change.before!, change.after!, scope, out);
    }
  }

  #update(
    change: RowChange,
    before: Cells,
    after: Cells,
    scope: MappingScope,
    out: EventBuffer,
  ): Telling {
    const changed = this.#changed;
    let open = 0;
    for (let i = 0; i < changed.length; i++) {
      const differs = before[i] !== after[i];
      changed[i] = differs ? 1 : 0;
      if (differs) open += 1;
    }
    if (open === 0) return "unchanged";
    if (this.#moved()) return this.#move(change, before, after, scope, out);

    const stream = this.streamOf(after);
    const { json, updates, fallback } = this.parts;
    let first = 0;
    for (let number = 1; number <= updates.length; number++) {
      const rule = updates[number - 1]!;
      if (!updateMatches(rule, before, after, changed, json)) continue;
      const data =
        rule.transform === undefined
          ? this.#changedData("{", rule.emits, rule.claims, before, after)
          : this.#transformedData(rule, before, after);
      this.#emit(out, scope, change, rule.type, rule.slot, stream, data, undefined);
      for (const column of rule.claims) {
        if (changed[column] === 1) {
          changed[column] = 2;
          open -= 1;
        }
      }
      if (first === 0) first = number;
      if (open === 0) {
        this.coverage.updated(changed, first);
        return "claimed";
      }
    }
    this.coverage.updated(changed, first);
    const rest = this.#allColumns.filter((column) => changed[column] === 1);
    const emits = [...this.table.key, ...rest];
    const data = this.#changedData(this.#rolePrefix.update, emits, rest, before, after);
    this.#emit(out, scope, change, fallback.type, fallback.update, stream, data, undefined);
    return "fallback";
  }

  /** Whether the row's own key or the stream it belongs to changed. */
  #moved(): boolean {
    for (const column of this.table.key) if (this.#changed[column] === 1) return true;
    for (const column of this.parts.streamColumns) if (this.#changed[column] === 1) return true;
    return false;
  }

  /** The row left one identity and joined another: two events, linked by one causation id. */
  #move(
    change: RowChange,
    before: Cells,
    after: Cells,
    scope: MappingScope,
    out: EventBuffer,
  ): Telling {
    writeCaptureId(this.#uuid, 0, scope.idPrefix, LINK_SLOT, change.ordinal, scope.tag);
    const link = formatUuid(this.#uuid, 0);
    // Each side is told for itself: one that cannot be must not stop the other.
    const left =
      change.half === "joined"
        ? certainly(() => this.#deleteRule(before) !== undefined)
        : this.#delete(change, before, scope, out, link) === "claimed";
    const joined =
      change.half === "left"
        ? certainly(() => this.insertRule(after) !== undefined)
        : this.#insert(change, after, scope, out, [], link) === "claimed";
    return left && joined ? "claimed" : "fallback";
  }

  #deleteRule(before: Cells): CompiledRule | undefined {
    return this.parts.deletes.find((rule) => rowMatches(rule, before, this.parts.json));
  }

  #insert(
    change: RowChange,
    after: Cells,
    scope: MappingScope,
    out: EventBuffer,
    absorbed: readonly AbsorbedRow[],
    link: string | undefined,
  ): Telling {
    const { json, fallback } = this.parts;
    const rule = this.insertRule(after);
    const stream = this.streamOf(after);
    const row = json.members(after, this.#allColumns);
    if (rule === undefined) {
      const data = `${this.#rolePrefix.insert}${row}}`;
      const slot = link === undefined ? fallback.update : fallback.join;
      this.#emit(out, scope, change, fallback.type, slot, stream, data, link, link !== undefined);
      return "fallback";
    }
    let data = `{${row}`;
    for (const role of rule.with) data += `,${JSON.stringify(role)}:[${rowsOf(role, absorbed)}]`;
    this.#emit(
      out,
      scope,
      change,
      rule.type,
      rule.slot,
      stream,
      `${data}}`,
      link,
      link !== undefined,
    );
    return "claimed";
  }

  #delete(
    change: RowChange,
    before: Cells,
    scope: MappingScope,
    out: EventBuffer,
    link: string | undefined,
  ): Telling {
    const { json, fallback } = this.parts;
    const stream = this.streamOf(before);
    const rule = this.#deleteRule(before);
    if (rule === undefined) {
      const data = this.removal(before);
      const slot = link === undefined ? fallback.update : fallback.leave;
      this.#emit(out, scope, change, fallback.type, slot, stream, data, link);
      return "fallback";
    }
    const data = `{${json.members(before, this.table.key)},"$was":{${json.members(before, this.#allColumns)}}}`;
    this.#emit(out, scope, change, rule.type, rule.slot, stream, data, link);
    return "claimed";
  }

  #changedData(
    open: string,
    emits: readonly number[],
    claims: readonly number[],
    before: Cells,
    after: Cells,
  ): string {
    const { json } = this.parts;
    let was = "";
    for (let i = 0; i < claims.length; i++) {
      if (this.#changed[claims[i]!] !== 1) continue;
      if (was !== "") was += ",";
      was += json.member(before, claims[i]!);
    }
    return `${open}${json.members(after, emits)},"$was":{${was}}}`;
  }

  /** @throws BanyanError `VALUE_UNMAPPABLE` when the rule's inverse does not give the columns back */
  #transformedData(rule: CompiledRule, before: Cells, after: Cells): string {
    const { json } = this.parts;
    const transform = rule.transform!;
    const now = json.object(after) as never;
    const text = JSON.stringify(transform.to(now, json.object(before) as never));
    if (!isStorableJson(text)) {
      throw new BanyanError(
        "VALUE_UNMAPPABLE",
        `"to" of rule ${rule.type} gives U+0000 or half a surrogate pair, which no event can keep`,
        { hint: `Correct "to" of rule ${rule.type} and run: banyan quarantine retry` },
      );
    }
    const data = JSON.parse(text) as Record<string, unknown>;
    const back = transform.from(data) as Record<string, unknown>;
    for (const column of this.#allColumns) {
      const name = this.table.columns[column]!.name;
      // A fold takes whatever the inverse gives, so that a column beside those declared must be right too.
      const given = Object.hasOwn(back, name);
      if (!given && !rule.transformColumns.includes(column)) continue;
      // Left out is not NULL: a fold would leave the column as it was.
      if (!given || json.cell(column, back[name]) !== after[column]) {
        throw new BanyanError(
          "VALUE_UNMAPPABLE",
          `the inverse of rule ${rule.type} does not give back column "${name}"`,
          { hint: `Correct "from" of rule ${rule.type} and run: banyan quarantine retry` },
        );
      }
    }
    const copied = this.#changedData("{", rule.emits, rule.claims, before, after);
    return `${copied.slice(0, -1)},"$data":${text}}`;
  }

  #emit(
    out: EventBuffer,
    scope: MappingScope,
    change: RowChange,
    type: string,
    slot: number,
    stream: string,
    data: string,
    causation: string | undefined,
    joins = false,
  ): void {
    const index = out.push(
      stream,
      type,
      this.#changedAtUs(change) ?? scope.committedAtUs,
      changePosition(scope.commit, change.ordinal),
      data,
      scope.contextOf(this.mappingVersion),
    );
    const ordinal = change.ordinal + (joins ? JOINED_HALF : 0);
    writeCaptureId(out.ids, index * 16, scope.idPrefix, slot, ordinal, scope.tag);
    if (causation !== undefined) out.causationIds.set(index, causation);
  }

  /** Data of a fallback event that removes a row. */
  removal(cells: Cells): string {
    const { json } = this.parts;
    return `${this.#rolePrefix.delete}${json.members(cells, this.table.key)},"$was":{${json.members(cells, this.#allColumns)}}}`;
  }

  /** The row as one JSON object, for a parent's event. */
  rowObject(cells: Cells): string {
    return `{${this.parts.json.members(cells, this.#allColumns)}}`;
  }
}

/** Whether the other side of a move is told by name, which is not known while its rule fails. */
function certainly(isNamed: () => boolean): boolean {
  try {
    return isNamed();
  } catch {
    return false;
  }
}

function rowsOf(role: string, absorbed: readonly AbsorbedRow[]): string {
  let json = "";
  for (const row of absorbed) {
    if (row.mapper.role !== role) continue;
    if (json !== "") json += ",";
    json += row.mapper.rowObject(row.cells);
  }
  return json;
}
