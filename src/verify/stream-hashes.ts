import { createHash } from "node:crypto";
import { isDecided, isFoldable } from "./as-of-snapshot.ts";
import type { HistoryCheck } from "./history-check.ts";
import type { Mapping } from "../mapping/compile.ts";
import type { StreamPlan } from "../mapping/stream-plan.ts";
import { keyOfStream } from "../mapping/stream-id.ts";
import type { TableMapper } from "../mapping/table-mapper.ts";
import { cellOf, type ColumnDefinition } from "../model/column-definition.ts";
import type { Cells } from "../model/table.ts";
import { joinHalves, TextHash } from "../model/text-hash.ts";
import type { Folder, StreamState } from "../projection/fold.ts";
import { foldStreams } from "../projection/fold-streams.ts";
import { RowHash, SEPARATOR } from "../source/row-hash.ts";
import type { FoldEvent } from "../store/event-store.ts";
import type { FoldSums } from "../store/parity-store.ts";

/** Raised when the same rows come to hash differently, or more is looked for in the events. */
const WAY_OF_HASHING = 3;
const STREAMS_PER_PAGE = 2_000;
/** See FoldSums.roles. */
const DECIDED = -1;
const FLAWED = -2;

/** Folds the streams of one type, and hashes their rows as the source hashes its own. */
export class StreamHashes {
  readonly stream: StreamPlan;
  /** By role number: the root, then its children in the order of the config. */
  readonly mappers: readonly TableMapper[];
  /** Stable hash of all that the hashes depend on beside the events. */
  readonly fingerprint: string;
  readonly #columns: readonly (readonly ColumnDefinition[])[];
  readonly #rows: readonly RowHash[];
  readonly #hash = new TextHash();

  constructor(mapping: Mapping, stream: StreamPlan, mappers: readonly TableMapper[]) {
    this.stream = stream;
    this.mappers = mappers;
    this.#columns = mappers.map(({ table }) => mapping.columnsOf(table));
    this.#rows = mappers.map(({ table, parts }) => new RowHash(table, parts.streamColumns));
    this.fingerprint = fingerprintOf(mapping, stream, mappers, this.#columns);
  }

  /** Hash of a stream's key, whose lowest bits name its bucket; see RowHash.key. */
  keyOf(stream: string): bigint {
    const { high, low } = this.#hash.of(
      keyOfStream(stream)
        .map((part) => part ?? "")
        .join(SEPARATOR),
    );
    return joinHalves(high, low);
  }

  rowHash(role: number, cells: Cells): bigint {
    const { high, low } = this.#rows[role]!.row(cells);
    return joinHalves(high, low);
  }

  /** The rows of one role in a folded stream, by column of the table. */
  *rowsOf(state: StreamState, role: number): Generator<Cells, void, void> {
    const rows = state.get(this.mappers[role]!.role);
    if (rows === undefined) return;
    const columns = this.#columns[role]!;
    for (const row of rows.values()) yield columns.map((column) => cellOf(row, column));
  }

  /**
   * Sums of whole streams, in pages.
   *
   * @param include which events belong into the fold; all when absent
   * @param check of whole streams alone, with all their events
   */
  async *fold(
    events: AsyncIterable<readonly FoldEvent[]>,
    folder: Folder,
    include: (event: FoldEvent) => boolean = () => true,
    check?: HistoryCheck,
  ): AsyncGenerator<FoldSums, void, void> {
    let decided = false;
    let page = emptyPage();
    const folded = foldStreams(events, folder, (event, state) => {
      check?.look(state, event);
      if (isDecided(event)) decided = true;
      return isFoldable(event) && include(event);
    });
    for await (const { stream, state } of folded) {
      page.folded.push(stream);
      if (decided) push(page, stream, DECIDED, this.keyOf(stream), 0, 0n);
      decided = false;
      const flaws = check?.take().length ?? 0;
      if (flaws > 0) push(page, stream, FLAWED, this.keyOf(stream), flaws, 0n);
      this.#sum(page, stream, state);
      if (page.folded.length < STREAMS_PER_PAGE) continue;
      yield page;
      page = emptyPage();
    }
    if (page.folded.length > 0) yield page;
  }

  #sum(page: Page, stream: string, state: StreamState): void {
    let key: bigint | undefined;
    for (let role = 0; role < this.mappers.length; role++) {
      const mapper = this.mappers[role]!;
      let count = 0;
      let sum = 0n;
      for (const cells of this.rowsOf(state, role)) {
        count += 1;
        sum += this.rowHash(role, cells);
        // A row that says that it belongs elsewhere must not be taken for the one that is there.
        if (mapper.streamIdOf(cells) !== stream) sum += this.keyOf(stream) | 1n;
      }
      if (count === 0) continue;
      key ??= this.keyOf(stream);
      push(page, stream, role, key, count, BigInt.asIntN(64, sum));
    }
  }
}

type Page = { readonly [K in keyof FoldSums]: FoldSums[K][number][] };

function emptyPage(): Page {
  return { folded: [], streams: [], roles: [], keys: [], counts: [], sums: [] };
}

function push(
  page: Page,
  stream: string,
  role: number,
  key: bigint,
  count: number,
  sum: bigint,
): void {
  page.streams.push(stream);
  page.roles.push(role);
  page.keys.push(key);
  page.counts.push(count);
  page.sums.push(sum);
}

function fingerprintOf(
  mapping: Mapping,
  stream: StreamPlan,
  mappers: readonly TableMapper[],
  columns: readonly (readonly ColumnDefinition[])[],
): string {
  const inverses = [...mapping.inverses()]
    .filter(([name]) => name.startsWith(`${stream.type}/`))
    .map(([name, from]) => [name, String(from)]);
  const roles = mappers.map(({ role, table, parts }, i) => ({
    role,
    columns: columns[i],
    nullable: table.columns.map(({ nullable }) => nullable),
    types: table.columns.map(({ type }) => type),
    key: parts.streamColumns,
  }));
  const all = JSON.stringify([WAY_OF_HASHING, roles, inverses]);
  return createHash("sha256").update(all).digest("hex");
}
