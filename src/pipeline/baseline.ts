import { baselineContext, baselineStages, type Stage } from "./baseline-events.ts";
import { capturedAt } from "./captured-tables.ts";
import type { EventWriter } from "./event-writer.ts";
import { merged } from "./merged-iteration.ts";
import { RowRate } from "./row-rate.ts";
import type { StatusBoard } from "./status-board.ts";
import type { Mapping } from "../mapping/compile.ts";
import type { StreamPlan } from "../mapping/stream-plan.ts";
import { idPrefix } from "../mapping/event-id.ts";
import { BanyanError } from "../model/errors.ts";
import type { EventContext } from "../model/event.ts";
import { failpoint } from "../runtime/failpoint.ts";
import type { BaselineSnapshot, RowSnapshot } from "../source/change-source.ts";
import type { BaselineRecord, CapturedTable } from "../store/event-store.ts";

/** Stream types read at once, each with a connection per table. */
const STREAM_TYPES_AT_ONCE = 2;

export interface BaselineOptions {
  /** Its tables are those that get a baseline. */
  readonly snapshot: BaselineSnapshot;
  /** Which transactions the snapshot sees, for tables that join a pipeline which ran before. */
  readonly seen?: string;
  /** What is read in chunks afterwards: noted as begun together with this baseline. */
  readonly chunked?: {
    readonly tables: readonly CapturedTable[];
    readonly records: readonly BaselineRecord[];
  };
  /** Why it is read under one snapshot. */
  readonly why?: string;
  /** Whether a baseline in chunks goes on. */
  readonly goesOn?: boolean;
  readonly mapping: Mapping;
  readonly writer: EventWriter;
  readonly board: StatusBoard;
  readonly onProgress: () => void;
}

/**
 * Writes one baseline event per aggregate, as of the snapshot, and makes all of them durable in one
 * store transaction together with the first checkpoint: a baseline that is interrupted has left
 * nothing, and begins anew.
 *
 * @throws BanyanError `STORE_OCCUPIED` when the store has events of one of the aggregates
 */
export async function baseline(options: BaselineOptions, signal: AbortSignal): Promise<void> {
  try {
    await writeBaseline(options, signal);
  } catch (error) {
    throw begins(options) ? occupied(error) : error;
  }
}

/** Whether streams begin with this baseline. Those that go on may just have met a service's event. */
function begins({ snapshot, mapping }: BaselineOptions): boolean {
  const names = new Set(snapshot.tables.map(({ name }) => name));
  return mapping.streams.some(({ ref }) => names.has(ref.root.name));
}

/** A stream that a baseline would begin is there already: another attempt would find it again. */
export function occupied(error: unknown): unknown {
  if (!(error instanceof BanyanError) || error.code !== "STREAM_VERSION_CONFLICT") return error;
  return new BanyanError(
    "STORE_OCCUPIED",
    "the store holds events of these aggregates already, so no baseline of them can be written",
    {
      cause: error,
      hint: "Name an empty database or folder as `store` in the config; or, to go on with the pipeline that wrote them, give the config its name again",
    },
  );
}

async function writeBaseline(options: BaselineOptions, signal: AbortSignal): Promise<void> {
  const { snapshot, mapping, writer, board } = options;
  const mappingVersion = await writer.mappingVersion();
  for (const table of snapshot.tables) {
    const mapper = mapping.mapperOf(table);
    if (mapper !== undefined) mapper.mappingVersion = mappingVersion;
  }
  let rowsEstimated = 0;
  for (const table of snapshot.tables) rowsEstimated += await snapshot.estimateRows(table);
  const context = baselineContext(mappingVersion);
  const rate = new RowRate();
  rate.sample(0, Date.now());
  let rowsRead = 0;
  let bytesRead = 0;
  let aggregates = 0;
  let events = 0;
  const stages = merged(
    mapping.streams.map((stream) => () => readStages(stream, options, context, signal)),
    STREAM_TYPES_AT_ONCE,
  );
  for await (const stage of stages) {
    if (events === 0) failpoint("baseline-first-stage");
    if (stage.goesOn) await writer.assignVersions(stage.events);
    await writer.stageBaseline(stage.events, { newImages: stage.images });
    rowsRead += stage.rows;
    bytesRead += stage.events.dataLength;
    // Those that a table joins got their baseline before.
    if (!stage.goesOn) aggregates += stage.aggregates;
    events += stage.events.length;
    if (rowsRead * 2 >= rowsEstimated) failpoint("baseline-middle");
    rate.sample(rowsRead, Date.now());
    const { restarted } = snapshot;
    board.baselining({
      ...SNAPSHOT_PROGRESS,
      why: options.why ?? "",
      restarted,
      rowsRead,
      rowsEstimated,
      bytesRead,
      aggregates,
      rowsPerSecond: rate.perSecond,
      secondsLeft: rate.secondsLeft(rowsEstimated - rowsRead),
    });
    options.onProgress();
  }
  signal.throwIfAborted();
  await requireWhole(snapshot);
  writer.addToLedger({ baselined: aggregates, baselineRows: rowsRead, events });
  failpoint("baseline-before-commit");
  const { position } = snapshot;
  const names = new Set(snapshot.tables.map(({ name }) => name));
  const roles = mapping.streams
    .flatMap((stream) => stream.roles)
    .filter(({ tableRef }) => names.has(tableRef.name));
  const { chunked = { tables: [], records: [] } } = options;
  const tables = [...capturedAt(roles, position, options.seen), ...chunked.tables];
  const isFirst = options.seen === undefined;
  if (isFirst) board.baselined(position);
  const start = isFirst
    ? { checkpoint: position, baselinePosition: position }
    : { checkpoint: undefined };
  const goesOn = options.goesOn === true || chunked.records.length > 0;
  const phase = goesOn ? "baseline" : "tail";
  const baselines = chunked.records;
  await writer.commit({ phase, ...start, tables, baselines }, () => {
    failpoint("baseline-after-commit");
  });
  await writer.settle();
}

const SNAPSHOT_PROGRESS = {
  mode: "snapshot",
  paused: false,
  backingOff: "",
  chunks: 0,
  streams: { done: 0, total: 0 },
} as const;

/** @throws BanyanError `SOURCE_NOT_READY` when a table was emptied or rewritten while it was to be read */
async function requireWhole(snapshot: BaselineSnapshot): Promise<void> {
  const read = new Set(snapshot.tables.map(({ name }) => name));
  const tables = (await snapshot.rewritten()).filter((name) => read.has(name));
  if (tables.length === 0) return;
  const list = tables.join(", ");
  throw new BanyanError(
    "SOURCE_NOT_READY",
    `truncated or rewritten while the baseline was taken, which hides their rows from it: ${list}`,
    {
      hint: "Run the command again: nothing was kept, and the baseline begins anew.",
      detail: { tables: list },
    },
  );
}

/**
 * The aggregates of one stream type as events. Of tables that join a stream which is there already it
 * is those tables' rows alone, and the versions are still to be given.
 */
async function* readStages(
  stream: StreamPlan,
  { snapshot, mapping, writer }: BaselineOptions,
  context: EventContext,
  signal: AbortSignal,
): AsyncGenerator<Stage & { readonly goesOn: boolean }, void, void> {
  const read = new Map(snapshot.tables.map((table) => [table.name, table]));
  const mappers = stream.roles.map(({ tableRef }) =>
    mapping.mapperOf(read.get(tableRef.name) ?? mapping.shapeOf(tableRef.name)!)!,
  );
  if (mappers.every(({ table }) => !read.has(table.name))) return;
  const goesOn = !read.has(mappers[0]!.table.name);
  const rowsOf: Pick<RowSnapshot, "readRows"> = {
    readRows: (table, orderBy, aborted) =>
      read.has(table.name) ? snapshot.readRows(table, orderBy, aborted) : noRows(),
  };
  const { position } = snapshot;
  const prefix = idPrefix(position.slice(0, 16));
  const { tag } = writer.mapper;
  const facts = { prefix, context, position, tag, ordinal: 0 };
  for await (const stage of baselineStages(rowsOf, stream, mappers, facts, signal))
    yield { ...stage, goesOn };
}

/** Of a table whose baseline was written before. */
export async function* noRows(): AsyncGenerator<never, void, void> {
  // There are none.
}
