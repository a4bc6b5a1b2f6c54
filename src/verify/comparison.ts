import { DigestTable, type RowVerdict } from "./digest-table.ts";
import type { ParitySample, TableParity } from "./parity-report.ts";
import { Digest } from "./row-digest.ts";
import type { Mapping, StreamPlan } from "../mapping/compile.ts";
import type { TableMapper } from "../mapping/table-mapper.ts";
import { cellOf } from "../model/column-definition.ts";
import type { Cells } from "../model/table.ts";
import { foldStreams } from "../projection/fold-streams.ts";
import { Folder } from "../projection/fold.ts";
import type { ParitySnapshot } from "../source/change-source.ts";
import type { EventStore, FoldEvent } from "../store/event-store.ts";

export interface ComparisonOptions {
  readonly snapshot: ParitySnapshot;
  readonly store: EventStore;
  readonly mapping: Mapping;
  /** Streams that wait in quarantine. */
  readonly quarantined: ReadonlySet<string>;
  readonly samplesMax: number;
  readonly showValues: boolean;
  readonly onProgress: (step: string, rows: number) => void;
}

type Visit = (mapper: TableMapper, stream: string, cells: Cells) => void;

/**
 * Compares folds and rows of one stream type after the other, as of one snapshot.
 *
 * Streams for which the rows cannot speak are left out on both sides: those in quarantine, and those
 * that a service has written to, because what it decided is not in the legacy rows.
 */
export class Comparison {
  readonly tables: TableParity[] = [];
  readonly samples: ParitySample[] = [];
  /** Streams left out because of events that were not captured. */
  readonly foreign = new Set<string>();
  /** Rows of streams left out. */
  excludedRows = 0;
  /** Of them those whose key is too long to name a stream. */
  unnamedRows = 0;
  readonly #options: ComparisonOptions;
  #rowsSeen = 0;

  constructor(options: ComparisonOptions) {
    this.#options = options;
  }

  async compare(stream: StreamPlan, signal: AbortSignal): Promise<void> {
    const { snapshot, mapping } = this.#options;
    const mappers = stream.roles.map((role) => {
      const table = snapshot.tables.find((candidate) => candidate.name === role.tableRef.name);
      return mapping.mapperOf(table!)!;
    });
    const sides = new Map<string, DigestTable>();
    for (const mapper of mappers) {
      sides.set(mapper.role, new DigestTable(await snapshot.estimateRows(mapper.table)));
    }
    const identity = new Digest();
    const content = new Digest();
    // Folds first: only they tell which streams are left out. One side after the other, because side
    // by side the two would only wait for the same processor.
    await this.#eachFold(stream, mappers, signal, (mapper, id, cells) => {
      identify(identity, id, mapper.keyOf(cells));
      content.reset().cells(cells).end();
      sides.get(mapper.role)!.addFold(identity.high, identity.low, content.high, content.low);
    });
    let differs = false;
    for (const mapper of mappers) {
      const side = sides.get(mapper.role)!;
      const present = await this.#eachRow(mapper, signal, (_, id, cells) => {
        identify(identity, id, mapper.keyOf(cells));
        content.reset().cells(cells).end();
        side.addRow(identity.high, identity.low, content.high, content.low);
      });
      const { equal, missing, extra, different } = side.counts();
      this.tables.push({
        table: mapper.table.name,
        streamType: stream.type,
        present,
        compared: equal + missing + different,
        missing,
        extra,
        different,
        columns: mapper.table.columns.length,
      });
      differs ||= missing + extra + different > 0;
    }
    if (differs) await this.#sample(stream, mappers, sides, signal);
  }

  /** Reads both sides once more and keeps what the tables of digests found fault with. */
  async #sample(
    stream: StreamPlan,
    mappers: readonly TableMapper[],
    sides: ReadonlyMap<string, DigestTable>,
    signal: AbortSignal,
  ): Promise<void> {
    interface Suspect {
      readonly verdict: Exclude<RowVerdict, "equal">;
      readonly mapper: TableMapper;
      readonly stream: string;
      readonly key: string;
      row: Cells | undefined;
      fold: Cells | undefined;
    }
    const room = this.#options.samplesMax - this.samples.length;
    if (room <= 0) return;
    const suspects = new Map<string, Suspect>();
    const identity = new Digest();
    const collect =
      (side: "row" | "fold"): Visit =>
      (mapper, streamId, cells) => {
        const key = mapper.keyOf(cells);
        identify(identity, streamId, key);
        const verdict = sides.get(mapper.role)!.verdict(identity.high, identity.low);
        if (verdict === undefined || verdict === "equal") return;
        const id = `${mapper.role}\0${streamId}\0${key}`;
        let suspect = suspects.get(id);
        if (suspect === undefined) {
          if (suspects.size >= room) return;
          suspect = { verdict, mapper, stream: streamId, key, row: undefined, fold: undefined };
          suspects.set(id, suspect);
        }
        suspect[side] = cells;
      };
    const excluded = [this.excludedRows, this.unnamedRows] as const;
    for (const mapper of mappers) await this.#eachRow(mapper, signal, collect("row"));
    [this.excludedRows, this.unnamedRows] = excluded;
    await this.#eachFold(stream, mappers, signal, collect("fold"));
    for (const { verdict, mapper, stream: id, key, row, fold } of suspects.values()) {
      const columns =
        row === undefined || fold === undefined
          ? []
          : differingColumns(mapper, row, fold, this.#options.showValues);
      this.samples.push({ verdict, table: mapper.table.name, stream: id, key, columns });
    }
  }

  /** @returns how many rows there are, with those left out */
  async #eachRow(mapper: TableMapper, signal: AbortSignal, visit: Visit): Promise<number> {
    let present = 0;
    for await (const rows of this.#options.snapshot.readRows(mapper.table, [], signal)) {
      for (const cells of rows) {
        const id = streamIdOf(mapper, cells);
        if (id === undefined) this.unnamedRows += 1;
        if (id === undefined || this.#isLeftOut(id)) this.excludedRows += 1;
        else visit(mapper, id, cells);
      }
      present += rows.length;
      this.#progress(`reading ${mapper.table.name}`, rows.length);
    }
    return present;
  }

  async #eachFold(
    stream: StreamPlan,
    mappers: readonly TableMapper[],
    signal: AbortSignal,
    visit: Visit,
  ): Promise<void> {
    const { store, mapping } = this.#options;
    const folder = new Folder(await store.mappings(), mapping.inverses());
    const events = store.readStreamType(stream.type, signal);
    for await (const folded of foldStreams(events, folder, this.#inSnapshot())) {
      if (this.#isLeftOut(folded.stream)) continue;
      for (const mapper of mappers) {
        const columns = mapping.columnsOf(mapper.table);
        for (const row of folded.state.get(mapper.role)?.values() ?? []) {
          const cells = columns.map((column) => cellOf(row, column));
          visit(mapper, folded.stream, cells);
          this.#progress(`folding ${stream.type}`, 1);
        }
      }
    }
  }

  /** Whether an event belongs into a fold as of the snapshot; notes streams that hold others' events. */
  #inSnapshot(): (event: FoldEvent) => boolean {
    const seen = new Map<string, boolean>();
    return ({ stream, origin, sourceTransaction }) => {
      if (origin === "native" || origin === "import") this.foreign.add(stream);
      if (this.foreign.has(stream)) return false;
      if (sourceTransaction === undefined) return true;
      let visible = seen.get(sourceTransaction);
      if (visible === undefined) {
        visible = this.#options.snapshot.sees(sourceTransaction);
        if (seen.size > 10_000) seen.clear();
        seen.set(sourceTransaction, visible);
      }
      return visible;
    };
  }

  #isLeftOut(stream: string): boolean {
    return this.#options.quarantined.has(stream) || this.foreign.has(stream);
  }

  #progress(step: string, rows: number): void {
    const before = this.#rowsSeen;
    this.#rowsSeen += rows;
    if (Math.floor(before / 10_000) === Math.floor(this.#rowsSeen / 10_000)) return;
    this.#options.onProgress(step, this.#rowsSeen);
  }
}

/** Undefined for a key that is too long to name a stream: its changes wait in quarantine. */
function streamIdOf(mapper: TableMapper, cells: Cells): string | undefined {
  try {
    return mapper.streamOf(cells);
  } catch {
    return undefined;
  }
}

function identify(digest: Digest, stream: string, key: string): void {
  digest.reset().text(stream).text(key).end();
}

function differingColumns(
  { table }: TableMapper,
  row: Cells,
  fold: Cells,
  showValues: boolean,
): ParitySample["columns"] {
  const show = (cell: string | null | undefined): string | null =>
    cell === null || cell === undefined ? null : showValues ? cell : `‹${cell.length} characters›`;
  return table.columns.flatMap((column, i) =>
    row[i] === fold[i] ? [] : [{ column: column.name, row: show(row[i]), fold: show(fold[i]) }],
  );
}
