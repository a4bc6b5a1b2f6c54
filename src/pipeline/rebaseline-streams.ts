import { keyOrder } from "./baseline-plan.ts";
import { ChunkFrontier, type ReadChunk } from "./chunk-frontier.ts";
import type { EventWriter } from "./event-writer.ts";
import type { Frontiers } from "./frontiers.ts";
import { isReadable } from "./rebaseline-pace.ts";
import { RestatedChunk } from "./restated-chunk.ts";
import type { NotReadAnew } from "./status.ts";
import type { ToldTransactions } from "./told-transactions.ts";
import { keyFault } from "../mapping/canonical-key.ts";
import type { Mapping, StreamPlan } from "../mapping/compile.ts";
import { EventBuffer } from "../mapping/event-buffer.ts";
import { streamTypeOf } from "../mapping/stream-id.ts";
import { BanyanError } from "../model/errors.ts";
import type { Position } from "../model/position.ts";
import type { ChangeSource } from "../source/change-source.ts";
import type { EventStore, RebaselineRequest } from "../store/event-store.ts";

/** Streams read anew under one snapshot, in one commit. */
const STREAMS_PER_CHUNK = 200;

export interface RebaselineStreamsOptions {
  readonly pipeline: string;
  readonly source: ChangeSource;
  readonly store: EventStore;
  readonly mapping: Mapping;
  readonly writer: EventWriter;
  readonly frontiers: Frontiers;
  /** Told of each stream that cannot be read anew. */
  readonly onNotReadAnew: (note: NotReadAnew) => void;
}

export interface RebaselinePage {
  /** Behind which request the next page begins; undefined when none is left. */
  readonly after: string | undefined;
  /** Stream types of requests that were passed over, because a baseline of the type goes on. */
  readonly deferred: readonly string[];
  /** Some wait: the new service decides over them, and the rows must not be told in place of what it decided. */
  readonly isLeft: boolean;
  /** Nothing was read, because the source does not yet show all that was told. */
  readonly isUnseen: boolean;
}

interface RebaselineAt {
  readonly after: string;
  readonly told: ToldTransactions;
  /** Where the log was read to. */
  readonly checkpoint: Position;
  /** Commits what was staged. */
  readonly commit: () => Promise<void>;
}

/**
 * Reads streams anew that somebody asked for, a few hundred at most: each gets an event that holds its
 * rows as of one snapshot, in place of what was told before. What the log tells of them afterwards, up to
 * where the snapshot was taken, is left out as far as the snapshot saw it.
 *
 * A request that cannot be carried out is settled, and told of.
 *
 * To be called where all that was taken from the log is durable, by whoever has the turn to write.
 */
export async function rebaselinePage(
  options: RebaselineStreamsOptions,
  at: RebaselineAt,
  signal: AbortSignal,
): Promise<RebaselinePage> {
  const { store, pipeline, frontiers, writer } = options;
  const requests = await store.rebaselineRequests(pipeline, at.after, STREAMS_PER_CHUNK);
  const after = requests.length < STREAMS_PER_CHUNK ? undefined : requests.at(-1)!.id;
  await writer.learnMoved();
  const ready = requests.filter(({ stream }) => !writer.isMoved(stream));
  const isLeft = ready.length < requests.length;
  const byType = groupBy(ready, ({ stream }) => streamTypeOf(stream));
  const deferred = [...byType.keys()].filter((type) => !isReadable(frontiers, type));
  for (const type of deferred) byType.delete(type);
  if (byType.size > 0 && !(await at.told.areSeen(signal)))
    return { after: at.after, deferred, isLeft, isUnseen: true };
  for (const [type, some] of byType) await carryOut(options, type, some, at, signal);
  return { after, deferred, isLeft, isUnseen: false };
}

async function carryOut(
  options: RebaselineStreamsOptions,
  type: string,
  requests: readonly RebaselineRequest[],
  at: RebaselineAt,
  signal: AbortSignal,
): Promise<void> {
  const { mapping } = options;
  const stream = mapping.stream(type);
  if (stream === undefined) {
    const why = `the config has no stream type ${type}`;
    return await refuse(options, requests, () => why, at);
  }
  const root = mapping.mapperOf(mapping.shapeOf(stream.ref.root.name)!)!;
  const faults = requests.map((request) => keyFault(root, request.stream));
  await refuse(options, requests, (n) => faults[n], at);
  const sound = requests.filter((_, n) => faults[n] === undefined);
  if (sound.length === 0) return;
  await restate(options, stream, sound, { ...at, whole: await wholeAt(options, type, at) }, signal);
}

/** Nobody knows when it went wrong; before the rows were read as a whole it cannot have been. */
async function wholeAt(
  { store, pipeline }: RebaselineStreamsOptions,
  type: string,
  { checkpoint }: RebaselineAt,
): Promise<Position> {
  const { tables = [] } = (await store.pipeline(pipeline)) ?? {};
  const since = tables.filter(({ stream }) => stream === type).map((table) => table.since);
  return since.toSorted().at(-1) ?? checkpoint;
}

/** One that the source does not take for a key is found by halves: it must not hold up the others. */
async function restate(
  options: RebaselineStreamsOptions,
  stream: StreamPlan,
  requests: readonly RebaselineRequest[],
  at: RebaselineAt & { readonly whole: Position },
  signal: AbortSignal,
): Promise<void> {
  const { writer } = options;
  try {
    const done = await new RestatedChunk(options, stream, requests, at.whole).write(signal);
    noteRefreshed(options, stream, done.streams, done);
    const why = "neither the source nor the store has anything of it";
    const nothing = new Set(done.nothing.map(({ stream: id }) => id));
    await refuse(
      options,
      requests,
      (n) => (nothing.has(requests[n]!.stream) ? why : undefined),
      at,
    );
    if (done.streams.length > 0) await at.commit();
  } catch (error) {
    const isOfKey = error instanceof BanyanError && error.code === "VALUE_UNMAPPABLE";
    if (!isOfKey || writer.staged.events > 0) throw error;
    if (requests.length === 1) return await refuse(options, requests, () => error.message, at);
    const half = Math.ceil(requests.length / 2);
    await restate(options, stream, requests.slice(0, half), at, signal);
    await restate(options, stream, requests.slice(half), at, signal);
  }
}

/** Settles those requests for which there is a reason, with what else was staged. */
async function refuse(
  { writer, onNotReadAnew }: RebaselineStreamsOptions,
  requests: readonly RebaselineRequest[],
  whyOf: (n: number) => string | undefined,
  { commit }: Pick<RebaselineAt, "commit">,
): Promise<void> {
  const refused: string[] = [];
  for (const [n, { id, stream }] of requests.entries()) {
    const why = whyOf(n);
    if (why === undefined) continue;
    refused.push(id);
    onNotReadAnew({ stream, why });
  }
  if (refused.length === 0) return;
  await writer.stageVersioned(new EventBuffer(), [], [], { refused });
  await commit();
}

function groupBy<T>(items: readonly T[], keyOf: (item: T) => string): Map<string, T[]> {
  const groups = new Map<string, T[]>();
  for (const item of items) {
    const key = keyOf(item);
    const group = groups.get(key);
    if (group === undefined) groups.set(key, [item]);
    else group.push(item);
  }
  return groups;
}

/** What earlier runs read anew and the log has not passed yet. */
export async function noteRebaselined(
  {
    store,
    source,
    pipeline,
    ...noted
  }: Pick<RebaselineStreamsOptions, "store" | "source" | "mapping" | "frontiers" | "pipeline">,
  checkpoint: Position,
): Promise<void> {
  for (const { streams, seen, fence } of await store.rebaselined(pipeline, checkpoint)) {
    for (const [type, some] of groupBy(streams, streamTypeOf)) {
      const stream = noted.mapping.stream(type);
      const chunk = { sees: source.visibility(seen), fence: fence.slice(0, 16) };
      if (stream !== undefined) noteRefreshed(noted, stream, some, chunk);
    }
  }
}

function noteRefreshed(
  { mapping, frontiers }: Pick<RebaselineStreamsOptions, "mapping" | "frontiers">,
  stream: StreamPlan,
  streams: readonly string[],
  { sees, fence }: ReadChunk,
): void {
  if (streams.length === 0) return;
  const make = (): ChunkFrontier =>
    new ChunkFrontier(keyOrder(mapping, stream), "all", [], (table) => mapping.hasAllImages(table));
  frontiers.refreshed(stream.type, { sees, fence }, streams, make);
}
