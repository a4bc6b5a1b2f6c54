import type { AsOfSnapshot } from "./as-of-snapshot.ts";
import type { ParitySample } from "./parity-report.ts";
import { shownValues } from "./shown-values.ts";
import type { StreamHashes } from "./stream-hashes.ts";
import type { TableMapper } from "../mapping/table-mapper.ts";
import type { Cell } from "../model/cell.ts";
import type { Cells } from "../model/table.ts";
import { foldStreams } from "../projection/fold-streams.ts";
import type { Folder, StreamState } from "../projection/fold.ts";
import type { ParitySnapshot } from "../source/change-source.ts";
import type { RowHashPlan } from "../source/row-hash.ts";
import type { FoldEvent } from "../store/event-store.ts";
import type { FoldSnapshot } from "../store/parity-store.ts";

/** Aggregates whose events are read at once. */
const STREAMS_PER_LOOK = 500;
/** Aggregates whose rows are read at once, by one question per table; and about how many rows. */
const STREAMS_PER_READ = 10_000;
const ROWS_PER_READ = 100_000;

/** An aggregate to be compared row by row. */
export interface Examined {
  readonly stream: string;
  /** As the rows have them; equal numbers may have several texts. */
  readonly keys: readonly (readonly Cell[])[];
  /** About how many there are. */
  readonly rows: number;
}

/** What aggregates are compared by. */
export interface Examination {
  readonly snapshot: ParitySnapshot;
  readonly folder: Folder;
  readonly asOf: AsOfSnapshot;
  readonly folds: FoldSnapshot;
  readonly hashes: StreamHashes;
  readonly plans: readonly RowHashPlan[];
  /** Those whose rows are compared. */
  readonly roles: readonly number[];
  readonly showValues: boolean;
  readonly onDifference: (role: number, difference: FoundDifference) => void;
  /** Told of rows of streams of which nothing can be told. */
  readonly onUntold: (role: number, rows: number) => void;
}

export interface FoundDifference extends ParitySample {
  /** Of the last event that was folded; 0 when there is none. */
  readonly version: number;
}

/** Compares aggregates row by row and cell by cell, with their events folded as of the snapshot. */
export async function examine(
  examination: Examination,
  all: readonly Examined[],
  signal: AbortSignal,
): Promise<void> {
  for (const some of inReads(all)) {
    const rows = await readRows(examination, some, signal);
    const waiting = new Set(some.map(({ stream }) => stream));
    const judge = (stream: string, version: number, state: StreamState): void => {
      waiting.delete(stream);
      judgeStream(examination, { stream, version, state }, rows.get(stream));
      rows.delete(stream);
    };
    const streams = [...waiting];
    const { asOf, folds, folder } = examination;
    for (let at = 0; at < streams.length; at += STREAMS_PER_LOOK) {
      const events = asOf.ready(folds.events(streams.slice(at, at + STREAMS_PER_LOOK), signal));
      const include = (event: FoldEvent): boolean => asOf.includes(event);
      for await (const { stream, version, state } of foldStreams(events, folder, include))
        judge(stream, version, state);
    }
    for (const stream of waiting) judge(stream, 0, new Map());
  }
}

/** A large part at once: where no index leads to the rows, each read passes the whole table. */
function* inReads(all: readonly Examined[]): Generator<readonly Examined[], void, void> {
  let some: Examined[] = [];
  let rows = 0;
  for (const one of all) {
    if (some.length === STREAMS_PER_READ || (some.length > 0 && rows + one.rows > ROWS_PER_READ)) {
      yield some;
      some = [];
      rows = 0;
    }
    some.push(one);
    rows += one.rows;
  }
  if (some.length > 0) yield some;
}

/** By key text; a key that the source does not hold to be unique may have several. */
type RowsByKey = Map<string, Cells[]>;
/** By stream and role. */
type RowsByStream = Map<string, Map<number, RowsByKey>>;

async function readRows(
  { snapshot, hashes, plans, roles }: Examination,
  some: readonly Examined[],
  signal: AbortSignal,
): Promise<RowsByStream> {
  const rows: RowsByStream = new Map(some.map(({ stream }) => [stream, new Map()]));
  const keys = some.flatMap((one) => one.keys);
  if (keys.length === 0) return rows;
  for (const role of roles) {
    const mapper = hashes.mappers[role]!;
    const groups = snapshot.readAggregates(mapper.table, plans[role]!, keys, signal);
    for await (const group of groups) {
      for (const cells of group) {
        const byRole = rows.get(mapper.streamIdOf(cells));
        if (byRole === undefined) continue;
        const byKey: RowsByKey = byRole.get(role) ?? new Map<string, Cells[]>();
        byRole.set(role, byKey);
        const key = mapper.keyOf(cells);
        const known = byKey.get(key);
        if (known === undefined) byKey.set(key, [cells]);
        else known.push(cells);
      }
    }
  }
  return rows;
}

function judgeStream(
  { hashes, roles, asOf, showValues, onDifference, onUntold }: Examination,
  { stream, version, state }: { stream: string; version: number; state: StreamState },
  rows: ReadonlyMap<number, RowsByKey> | undefined,
): void {
  for (const role of roles) {
    const mapper = hashes.mappers[role]!;
    const { table } = mapper;
    const byKey = new Map(rows?.get(role));
    if (asOf.untold.has(stream)) {
      onUntold(role, [...byKey.values()].flat().length);
      continue;
    }
    const tell = (verdict: FoundDifference["verdict"], key: string, columns: Columns = []): void =>
      onDifference(role, { verdict, table: table.name, stream, key, columns, version });
    for (const fold of hashes.rowsOf(state, role)) {
      const key = mapper.keyOf(fold);
      const [row, ...more] = byKey.get(key) ?? [];
      byKey.delete(key);
      if (row === undefined) tell("extra", key);
      else {
        const columns = differingColumns(mapper, row, fold, showValues);
        // A fold has one row of a key.
        if (columns.length + more.length > 0) tell("different", key, columns);
      }
    }
    for (const key of byKey.keys()) tell("missing", key);
  }
}

type Columns = ParitySample["columns"];

function differingColumns(
  { table }: TableMapper,
  row: Cells,
  fold: Cells,
  showValues: boolean,
): Columns {
  return table.columns.flatMap((column, i) =>
    (row[i] ?? null) === (fold[i] ?? null)
      ? []
      : [{ column: column.name, ...shownValues(row[i], fold[i], showValues) }],
  );
}
