import { emptyOutput, type EventWriter, type WholeTransaction } from "./event-writer.ts";
import { Frontiers } from "./frontiers.ts";
import { parkedChanges } from "./quarantine-release.ts";
import { rootKey } from "./settle-changes.ts";
import { isStageFull } from "./stage-size.ts";
import { streamsOf, truncateRefused } from "../mapping/change-mapper.ts";
import type { Mapping } from "../mapping/compile.ts";
import type { StreamPlan } from "../mapping/stream-plan.ts";
import { idPrefix, ORDINAL_MAX, writeBaselineId } from "../mapping/event-id.ts";
import { unparkChange, type ParkedPayload } from "../mapping/parked-change.ts";
import { keyText } from "../mapping/stream-id.ts";
import type { TableMapper } from "../mapping/table-mapper.ts";
import type { Change, RowChange, SourceTransaction, TruncateChange } from "../model/change.ts";
import { cellOf } from "../model/column-definition.ts";
import { changePosition } from "../model/position.ts";
import type { Cells } from "../model/table.ts";
import { foldStreams } from "../projection/fold-streams.ts";
import { Folder } from "../projection/fold.ts";
import { failpoint } from "../runtime/failpoint.ts";
import type { EventStore, FoldEvent, ImageChange } from "../store/event-store.ts";

/**
 * Writes transactions that hold a TRUNCATE: each row that the statement emptied away becomes a removal
 * in its stream, told by the fallback event.
 *
 * Which rows there were is known from the events themselves: the store's, what waits in quarantine
 * behind them, and what the same transaction had done before. All earlier transactions must be durable.
 */
export class TruncateWriter {
  readonly #writer: EventWriter;
  readonly #mapping: Mapping;
  readonly #store: EventStore;
  readonly #pipeline: string;
  readonly #frontiers: Frontiers;

  constructor(
    writer: EventWriter,
    mapping: Mapping,
    store: EventStore,
    pipeline: string,
    frontiers = new Frontiers(),
  ) {
    this.#frontiers = frontiers;
    this.#writer = writer;
    this.#mapping = mapping;
    this.#store = store;
    this.#pipeline = pipeline;
  }

  /** @throws BanyanError `TRUNCATE_REFUSED` when the stream's config does not allow it: nothing was staged */
  async write(whole: WholeTransaction, signal: AbortSignal): Promise<void> {
    const changes = whole.changes.filter(
      (change) => change.kind !== "truncate" || this.#tellsAny(whole.transaction, change),
    );
    for (const change of changes) if (change.kind === "truncate") this.#permitted(change);
    await this.#writer.adoptShapes(changes);
    const overlay = new Overlay();
    await this.#addParked(changes, overlay);
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

  /** Whether rows were emptied away that are told of: not when all of them have yet to be read. */
  #tellsAny(transaction: SourceTransaction, { table }: TruncateChange): boolean {
    const frontier = this.#frontiers.of(this.#mapping.streamOfTable(table.name)?.type, table.name);
    return frontier === undefined || frontier.tellsAnyOf(transaction);
  }

  #permitted(change: TruncateChange): StreamPlan | undefined {
    const stream = this.#mapping.streams.find((plan) =>
      plan.roles.some((role) => role.tableRef.name === change.table.name),
    );
    if (stream?.ref.truncate === "refuse") throw truncateRefused(change.table.name);
    return stream;
  }

  /** Changes that wait in quarantine are not in the store's events, but they did happen before. */
  async #addParked(changes: readonly Change[], overlay: Overlay): Promise<void> {
    const emptied = new Map(
      changes.flatMap(({ kind, table }) => (kind === "truncate" ? [[table.name, table]] : [])),
    );
    for (const stream of this.#writer.mapper.blocked) {
      for await (const records of parkedChanges(this.#store, this.#pipeline, stream)) {
        for (const { change } of records) {
          const payload = change as ParkedPayload;
          const table = emptied.get(this.#mapping.nameNow(payload.table));
          if (table === undefined) continue;
          const row = unparkChange(payload, table, this.#mapping.columnsOf(table));
          overlay.apply(row, this.#mapping.mapperOf(table));
        }
      }
    }
  }

  async #writeRows(
    { transaction, intent }: WholeTransaction,
    rows: readonly RowChange[],
    overlay: Overlay,
  ): Promise<void> {
    const { changes, images } = await this.#writer.complete([{ transaction, changes: rows }]);
    const settled = changes[0] as readonly RowChange[];
    const out = emptyOutput();
    await this.#writer.map({ transaction, changes: settled, intent }, out);
    await this.#writer.stage(out, images, 0);
    for (const row of settled) overlay.apply(row, this.#mapping.mapperOf(row.table));
  }

  async #empty(
    { transaction, intent }: WholeTransaction,
    change: TruncateChange,
    plan: StreamPlan,
    overlay: Overlay,
    from: number,
    signal: AbortSignal,
  ): Promise<number> {
    const mapper = this.#mapping.mapperOf(change.table)!;
    const scope = this.#writer.mapper.scope(transaction, intent);
    const prefix = idPrefix(transaction.commit);
    const { tag } = this.#writer.mapper;
    let count = from;
    let out = emptyOutput();
    let images: ImageChange[] = [];
    const frontier = this.#frontiers.of(plan.type, change.table.name);
    await this.#writer.learnMoved();
    for await (const cells of this.#liveRows(change, plan, mapper, overlay, signal)) {
      const streamOf = (): string => mapper.streamIdOf(cells);
      // Read after the statement: the row is another one, which came later.
      const key = rootKey(mapper, cells);
      if (frontier !== undefined && frontier.verdict(transaction, key, streamOf, true) !== "told")
        continue;
      if (mapper.keepsImages) {
        images.push({ table: change.table.name, key: mapper.keyOf(cells), image: undefined });
      }
      const ordinal = ORDINAL_MAX - count;
      const removal = {
        ...change,
        kind: "delete",
        ordinal,
        before: cells,
        after: undefined,
      } as const;
      const stream = streamsOf(removal, mapper)[0]!;
      const whole = { transaction, changes: [removal], intent };
      if (!this.#writer.parkWaiting(whole, stream, out)) {
        // A row that was emptied away is a change like any other, though the log has one for all.
        out.counts.changesIn += 1;
        out.counts.fallback += 1;
        const index = out.events.push(
          stream,
          plan.fallback.type,
          transaction.committedAtUs,
          changePosition(transaction.commit, change.ordinal),
          mapper.removal(cells),
          scope.contextOf(mapper.mappingVersion),
        );
        writeBaselineId(out.events.ids, index * 16, prefix, plan.truncateSlot, count, tag);
      }
      count += 1;
      if (!isStageFull(out.events, out.parked.length)) continue;
      await this.#writer.stage(out, images, 0);
      out = emptyOutput();
      images = [];
    }
    await this.#writer.stage(out, images, 0);
    failpoint("truncate-staged");
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
      const columns = this.#mapping.columnsOf(change.table);
      const folder = new Folder(await this.#store.mappings(), this.#mapping.inverses());
      const events = this.#store.readStreamType(stream.type, signal);
      // What a service decided is not in the legacy rows.
      const isCaptured = ({ mappingVersion }: FoldEvent): boolean => mappingVersion !== undefined;
      for await (const { state } of foldStreams(events, folder, isCaptured)) {
        for (const row of state.get(mapper.role)?.values() ?? []) {
          const cells = columns.map((column) => cellOf(row, column));
          if (!touched.has(placeOf(cells, mapper))) yield cells;
        }
      }
    }
    for (const cells of touched.values()) if (cells !== undefined) yield cells;
  }
}

/** What became of rows since the events that the store has, by their place. */
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
    const { before, after, half } = change;
    if (before !== undefined && half !== "joined") rows.set(placeOf(before, mapper), undefined);
    if (after !== undefined && half !== "left") rows.set(placeOf(after, mapper), after);
  }
}

/** A row's stream and key: one that moves between streams leaves the one and is in the other, by its key alone it is the same. */
function placeOf(cells: Cells, mapper: TableMapper): string {
  return `${keyText(cells, mapper.parts.streamColumns)}\0${mapper.keyOf(cells)}`;
}
