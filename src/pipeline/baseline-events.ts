import type { ChunkCut } from "./chunk-cut.ts";
import { mergeChildren, streamOfAggregate, type MergedAggregate } from "./merge-children.ts";
import { isStageFull } from "./stage-size.ts";
import type { StreamPlan } from "../mapping/stream-plan.ts";
import { writeBaselineId, type IdPrefix } from "../mapping/event-id.ts";
import { EventBuffer } from "../mapping/event-buffer.ts";
import { encodeImage } from "../mapping/row-images.ts";
import type { TableMapper } from "../mapping/table-mapper.ts";
import type { EventContext } from "../model/event.ts";
import type { Position } from "../model/position.ts";
import type { Cells } from "../model/table.ts";
import type { RowSnapshot } from "../source/change-source.ts";
import type { NewImage } from "../store/event-store.ts";

/** Some aggregates as events, to be staged together. */
export interface Stage {
  readonly events: EventBuffer;
  /** Of the rows of tables that keep them. */
  readonly images: readonly NewImage[];
  readonly aggregates: number;
  readonly rows: number;
  /** Of aggregates that are read anew: those that are gone, and those that were left to the new service. */
  readonly gone: number;
  readonly moved: number;
}

export interface BaselineFacts {
  readonly prefix: IdPrefix;
  readonly context: EventContext;
  readonly position: Position;
  /** The pipeline's part of event ids. */
  readonly tag: number;
  /** Number of the first event among all baseline events of the stream type. */
  readonly ordinal: number;
  /** Where a chunk is ended early; absent where all is read. */
  readonly cut?: ChunkCut;
}

/** The context of baseline events, which no transaction caused. */
export function baselineContext(mappingVersion: number): EventContext {
  return {
    origin: "baseline",
    sourceTransaction: undefined,
    correlationId: undefined,
    causationId: undefined,
    actor: undefined,
    metadata: undefined,
    mappingVersion,
  };
}

/**
 * The aggregates of one stream type as events, in key order: each begins at version 1, and a large one
 * goes on in further events.
 *
 * @param mappers of the root, then of the children
 */
export async function* baselineStages(
  rowsOf: Pick<RowSnapshot, "readRows">,
  stream: StreamPlan,
  mappers: readonly TableMapper[],
  facts: BaselineFacts,
  signal: AbortSignal,
): AsyncGenerator<Stage, void, void> {
  const nowUs = Date.now() * 1000;
  let { ordinal } = facts;
  let version = 0;
  let timeUs = nowUs;
  let stage = emptyStage();
  for await (const group of cutShort(rowsOf, mappers, facts.cut, signal)) {
    for (const aggregate of group) {
      const { root, continues } = aggregate;
      if (isStageFull(stage.events)) {
        yield stage;
        stage = emptyStage();
      }
      // The further parts of a large aggregate are of the same moment as the first.
      version = continues ? version + 1 : 1;
      if (!continues) {
        stage.aggregates += 1;
        timeUs = (root === undefined ? undefined : mappers[0]!.validTimeUs(root)) ?? nowUs;
      }
      pushBaseline(stage.events, stream, mappers, aggregate, {
        ...facts,
        timeUs,
        version,
        ordinal,
      });
      ordinal += 1;
      stage.rows += keepImages(stage.images, mappers, aggregate);
    }
  }
  if (stage.events.length > 0) yield stage;
}

/** Whole aggregates, up to where a chunk is cut. */
export function cutShort(
  rowsOf: Pick<RowSnapshot, "readRows">,
  mappers: readonly TableMapper[],
  cut: ChunkCut | undefined,
  signal: AbortSignal,
): AsyncIterable<readonly MergedAggregate[]> {
  const all = mergeChildren(rowsOf, mappers, signal);
  return cut === undefined ? all : cut.upTo(all, mappers);
}

export function emptyStage() {
  const images: NewImage[] = [];
  return { events: new EventBuffer(), images, aggregates: 0, rows: 0, gone: 0, moved: 0 };
}

function pushBaseline(
  events: EventBuffer,
  stream: StreamPlan,
  mappers: readonly TableMapper[],
  aggregate: MergedAggregate,
  facts: BaselineFacts & { readonly timeUs: number; readonly version: number },
): void {
  const data = `{${aggregateMembers(mappers, aggregate.root, aggregate.children)}}`;
  const id = streamOfAggregate(mappers, aggregate);
  const { prefix, context, position, timeUs, version, ordinal, tag } = facts;
  const index = events.push(id, stream.baselineType, timeUs, position, data, context);
  events.versions[index] = version;
  writeBaselineId(events.ids, index * 16, prefix, stream.baselineSlot, ordinal, tag);
}

/** An aggregate's rows as the members of a JSON object: those of the root, and an array per child table. */
export function aggregateMembers(
  mappers: readonly TableMapper[],
  root: Cells | undefined,
  children: readonly (readonly Cells[])[],
): string {
  let data = root === undefined ? `"$root":null` : mappers[0]!.rowObject(root).slice(1, -1);
  for (let i = 1; i < mappers.length; i++) {
    const mapper = mappers[i]!;
    const rows = children[i - 1] ?? [];
    data += `,${JSON.stringify(mapper.role)}:[`;
    for (let row = 0; row < rows.length; row++) {
      data += (row > 0 ? "," : "") + mapper.rowObject(rows[row]!);
    }
    data += "]";
  }
  return data;
}

/** @returns how many rows the aggregate holds */
export function keepImages(
  images: NewImage[],
  mappers: readonly TableMapper[],
  { root, children }: Pick<MergedAggregate, "root" | "children">,
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
