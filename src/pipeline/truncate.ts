import { emptyOutput, type EventWriter, type WholeTransaction } from "./event-writer.ts";
import { truncateRefused } from "../mapping/change-mapper.ts";
import type { Mapping, StreamPlan } from "../mapping/compile.ts";
import { idPrefix, ORDINAL_MAX, writeBaselineId } from "../mapping/event-id.ts";
import type { TableMapper } from "../mapping/table-mapper.ts";
import type { Change, RowChange, TruncateChange } from "../model/change.ts";
import { changePosition } from "../model/position.ts";
import type { Cells } from "../model/table.ts";
import { foldStreams } from "../projection/fold-streams.ts";
import { Folder } from "../projection/fold.ts";
import type { EventStore, ImageChange } from "../store/event-store.ts";

const EVENTS_PER_STAGE = 4_000;

/**
 * Writes transactions that hold a TRUNCATE: each row that the statement emptied away becomes a removal
 * in its stream, told by the fallback event.
 *
 * Which rows there were is known from the events themselves: the store's, and what the same
 * transaction had done before. All earlier transactions must be durable.
 */
export class TruncateWriter {
  readonly #writer: EventWriter;
  readonly #mapping: Mapping;
  readonly #store: EventStore;

  constructor(writer: EventWriter, mapping: Mapping, store: EventStore) {
    this.#writer = writer;
    this.#mapping = mapping;
    this.#store = store;
  }

  /** @throws BanyanError `TRUNCATE_REFUSED` when the stream's config does not allow it: nothing was staged */
  async write(whole: WholeTransaction, signal: AbortSignal): Promise<void> {
    const { changes } = whole;
    for (const change of changes) if (change.kind === "truncate") this.#permitted(change);
    await this.#writer.adoptShapes(changes);
    const overlay = new Overlay();
    let rows: RowChange[] = [];
    let removals = 0;
    for (const change of changes) {
      if (change.kind !== "truncate") {
        rows.push(change);
        continue;
      }
      const stream = this.#permitted(change);
      if (stream === undefined) continue;
      await this.#writeRows(whole, rows, overlay);
      rows = [];
      removals = await this.#empty(whole, change, stream, overlay, removals, signal);
    }
    await this.#writeRows(whole, rows, overlay);
    this.#writer.addToLedger({ transactions: 1 });
  }

  #permitted(change: TruncateChange): StreamPlan | undefined {
    const stream = this.#mapping.streams.find((plan) =>
      plan.roles.some((role) => role.tableRef.name === change.table.name),
    );
    if (stream?.ref.truncate === "refuse") throw truncateRefused(change.table.name);
    return stream;
  }

  async #writeRows(
    { transaction, intent }: WholeTransaction,
    rows: readonly RowChange[],
    overlay: Overlay,
  ): Promise<void> {
    const images = await this.#writer.complete(rows);
    const out = emptyOutput();
    this.#writer.mapper.map(transaction, rows, intent, out);
    await this.#writer.stage(out, images, 0);
    for (const row of rows) overlay.apply(row, this.#mapping.mapperOf(row.table));
  }

  async #empty(
    { transaction, intent }: WholeTransaction,
    change: TruncateChange,
    stream: StreamPlan,
    overlay: Overlay,
    from: number,
    signal: AbortSignal,
  ): Promise<number> {
    const mapper = this.#mapping.mapperOf(change.table)!;
    const scope = this.#writer.mapper.scope(transaction, intent);
    const prefix = idPrefix(transaction.commit);
    let count = from;
    let out = emptyOutput();
    let images: ImageChange[] = [];
    for await (const cells of this.#liveRows(change, stream, mapper, overlay, signal)) {
      const id = mapper.streamOf(cells);
      if (mapper.keepsImages) {
        images.push({ table: change.table.name, key: mapper.keyOf(cells), image: undefined });
      }
      if (this.#writer.mapper.blocked.has(id)) {
        const ordinal = ORDINAL_MAX - count++;
        const removal: Change = {
          ...change,
          kind: "delete",
          ordinal,
          before: cells,
          after: undefined,
        };
        this.#writer.mapper.map(transaction, [removal], intent, out);
        out.counts.changesIn -= 1;
        out.counts.parked -= 1;
        continue;
      }
      const index = out.events.push(
        id,
        stream.fallback.type,
        transaction.committedAtUs,
        changePosition(transaction.commit, change.ordinal),
        mapper.removal(cells),
        scope.contextOf(mapper.mappingVersion),
      );
      writeBaselineId(out.events.ids, index * 16, prefix, stream.truncateSlot, count++);
      if (out.events.length < EVENTS_PER_STAGE) continue;
      await this.#writer.stage(out, images, 0);
      out = emptyOutput();
      images = [];
    }
    await this.#writer.stage(out, images, 0);
    overlay.empty(change.table.name);
    return count;
  }

  async *#liveRows(
    change: TruncateChange,
    stream: StreamPlan,
    mapper: TableMapper,
    overlay: Overlay,
    signal: AbortSignal,
  ): AsyncGenerator<Cells, void, void> {
    const touched = overlay.rows(change.table.name);
    if (!overlay.emptied(change.table.name)) {
      const folder = new Folder(await this.#store.mappings(), this.#mapping.inverses());
      const events = this.#store.readStreamType(stream.type, signal);
      for await (const { state } of foldStreams(events, folder)) {
        for (const row of state.get(mapper.role)?.values() ?? []) {
          const cells = change.table.columns.map((column) => row[column.name] ?? null);
          if (!touched.has(mapper.keyOf(cells))) yield cells;
        }
      }
    }
    for (const cells of touched.values()) if (cells !== undefined) yield cells;
  }
}

/** What a transaction did to rows so far, over what the store knows. */
class Overlay {
  readonly #tables = new Map<string, Map<string, Cells | undefined>>();
  readonly #emptied = new Set<string>();

  rows(table: string): ReadonlyMap<string, Cells | undefined> {
    return this.#tables.get(table) ?? new Map<string, Cells | undefined>();
  }

  emptied(table: string): boolean {
    return this.#emptied.has(table);
  }

  empty(table: string): void {
    this.#emptied.add(table);
    this.#tables.delete(table);
  }

  apply(change: RowChange, mapper: TableMapper | undefined): void {
    if (mapper === undefined) return;
    const name = change.table.name;
    let rows = this.#tables.get(name);
    if (rows === undefined) this.#tables.set(name, (rows = new Map<string, Cells | undefined>()));
    if (change.before !== undefined) rows.set(mapper.keyOf(change.before), undefined);
    if (change.after !== undefined) rows.set(mapper.keyOf(change.after), change.after);
  }
}
