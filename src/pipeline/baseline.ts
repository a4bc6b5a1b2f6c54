import { capturedAt } from "./captured-tables.ts";
import type { EventWriter } from "./event-writer.ts";
import { mergeChildren, type MergedAggregate } from "./merge-children.ts";
import { merged } from "./merged-iteration.ts";
import type { StatusBoard } from "./status-board.ts";
import type { Mapping, StreamPlan } from "../mapping/compile.ts";
import { idPrefix, writeBaselineId, type IdPrefix } from "../mapping/event-id.ts";
import { EventBuffer } from "../mapping/event-buffer.ts";
import { encodeImage } from "../mapping/row-images.ts";
import type { TableMapper } from "../mapping/table-mapper.ts";
import { BanyanError } from "../model/errors.ts";
import type { EventContext } from "../model/event.ts";
import type { Position } from "../model/position.ts";
import { failpoint } from "../runtime/failpoint.ts";
import type { BaselineSnapshot, RowSnapshot } from "../source/change-source.ts";
import type { NewImage } from "../store/event-store.ts";

/** Aggregates per stage, and the length of their data at which a stage is full before that. */
const AGGREGATES_PER_STAGE = 4_000;
const DATA_LENGTH_PER_STAGE_MAX = 8 * 1024 * 1024;
/** Stream types read at once, each with a connection per table. */
const STREAM_TYPES_AT_ONCE = 2;

export interface BaselineOptions {
  /** Its tables are those that get a baseline. */
  readonly snapshot: BaselineSnapshot;
  /** Which transactions the snapshot sees, for tables that join a pipeline which ran before. */
  readonly seen?: string;
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
function occupied(error: unknown): unknown {
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
  const context: EventContext = {
    origin: "baseline",
    sourceTransaction: undefined,
    correlationId: undefined,
    causationId: undefined,
    actor: undefined,
    metadata: undefined,
    mappingVersion,
  };
  const startedMs = Date.now();
  let rowsRead = 0;
  let aggregates = 0;
  let events = 0;
  const stages = merged(
    mapping.streams.map((stream) => () => readStages(stream, options, context, signal)),
    STREAM_TYPES_AT_ONCE,
  );
  for await (const stage of stages) {
    if (events === 0) failpoint("baseline-first-stage");
    if (stage.goesOn) await writer.assignVersions(stage.events);
    await writer.stageBaseline(stage.events, stage.images);
    rowsRead += stage.rows;
    aggregates += stage.aggregates;
    events += stage.events.length;
    if (rowsRead * 2 >= rowsEstimated) failpoint("baseline-middle");
    const rowsPerSecond = Math.round((rowsRead * 1000) / Math.max(1, Date.now() - startedMs));
    const { restarted } = snapshot;
    board.baselining({ restarted, rowsRead, rowsEstimated, aggregates, rowsPerSecond });
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
  const tables = capturedAt(roles, position, options.seen);
  const isFirst = options.seen === undefined;
  if (isFirst) board.baselined(position);
  const start = isFirst
    ? { checkpoint: position, baselinePosition: position }
    : { checkpoint: undefined };
  await writer.commit({ phase: "tail", ...start, tables }, () => {
    failpoint("baseline-after-commit");
  });
  await writer.settle();
}

/** @throws BanyanError `SOURCE_NOT_READY` when a table was emptied or rewritten while it was to be read */
async function requireWhole(snapshot: BaselineSnapshot): Promise<void> {
  const tables = await snapshot.rewritten();
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

interface Stage {
  readonly events: EventBuffer;
  /** True for events of streams that are there already; their versions are still to be given. */
  readonly goesOn: boolean;
  readonly aggregates: number;
  readonly images: readonly NewImage[];
  readonly rows: number;
}

/**
 * The aggregates of one stream type as events, in key order. Of tables that join a stream which is
 * there already it is those tables' rows alone.
 */
async function* readStages(
  stream: StreamPlan,
  { snapshot, mapping, writer }: BaselineOptions,
  context: EventContext,
  signal: AbortSignal,
): AsyncGenerator<Stage, void, void> {
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
  const nowUs = Date.now() * 1000;
  const { tag } = writer.mapper;
  let ordinal = 0;
  let version = 0;
  let timeUs = nowUs;
  let events = new EventBuffer();
  let images: NewImage[] = [];
  let aggregates = 0;
  let rows = 0;
  for await (const group of mergeChildren(rowsOf, mappers, signal)) {
    for (const aggregate of group) {
      const { root, continues } = aggregate;
      const full =
        events.length >= AGGREGATES_PER_STAGE || events.dataLength >= DATA_LENGTH_PER_STAGE_MAX;
      if (full) {
        yield { events, goesOn, aggregates, images, rows };
        events = new EventBuffer();
        images = [];
        aggregates = 0;
        rows = 0;
      }
      // The further parts of a large aggregate are of the same moment as the first.
      version = continues ? version + 1 : 1;
      if (!continues) {
        aggregates += 1;
        timeUs = (root === undefined ? undefined : mappers[0]!.validTimeUs(root)) ?? nowUs;
      }
      const facts = { prefix, context, position, timeUs, version, ordinal, tag };
      pushBaseline(events, stream, mappers, aggregate, facts);
      ordinal += 1;
      rows += keepImages(images, mappers, aggregate);
    }
  }
  if (events.length > 0) yield { events, goesOn, aggregates, images, rows };
}

function pushBaseline(
  events: EventBuffer,
  stream: StreamPlan,
  mappers: readonly TableMapper[],
  { root, children }: MergedAggregate,
  facts: {
    readonly prefix: IdPrefix;
    readonly context: EventContext;
    readonly position: Position;
    readonly timeUs: number;
    readonly version: number;
    readonly ordinal: number;
    readonly tag: number;
  },
): void {
  const rootMapper = mappers[0]!;
  let data = root === undefined ? `{"$root":null` : rootMapper.rowObject(root).slice(0, -1);
  let id = root === undefined ? undefined : rootMapper.streamOf(root);
  for (let i = 1; i < mappers.length; i++) {
    const mapper = mappers[i]!;
    const rows = children[i - 1] ?? [];
    if (id === undefined && rows.length > 0) id = mapper.streamOf(rows[0]!);
    data += `,${JSON.stringify(mapper.role)}:[`;
    for (let row = 0; row < rows.length; row++) {
      data += (row > 0 ? "," : "") + mapper.rowObject(rows[row]!);
    }
    data += "]";
  }
  const { prefix, context, position, timeUs, version, ordinal, tag } = facts;
  const index = events.push(id!, stream.baselineType, timeUs, position, `${data}}`, context);
  events.versions[index] = version;
  writeBaselineId(events.ids, index * 16, prefix, stream.baselineSlot, ordinal, tag);
}

async function* noRows(): AsyncGenerator<never, void, void> {
  // Of a table whose baseline was written before.
}

/** @returns how many rows the aggregate holds */
function keepImages(
  images: NewImage[],
  mappers: readonly TableMapper[],
  { root, children }: MergedAggregate,
): number {
  let count = 0;
  for (let i = 0; i < mappers.length; i++) {
    const mapper = mappers[i]!;
    const rows = i === 0 ? (root === undefined ? [] : [root]) : (children[i - 1] ?? []);
    count += rows.length;
    if (!mapper.keepsImages) continue;
    for (const cells of rows) {
      const image = encodeImage(mapper.table, cells);
      images.push({ table: mapper.table.name, key: mapper.keyOf(cells), image });
    }
  }
  return count;
}
