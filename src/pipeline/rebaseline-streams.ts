import { keyOrder } from "./baseline-plan.ts";
import { ChunkFrontier, type ReadChunk } from "./chunk-frontier.ts";
import type { EventWriter } from "./event-writer.ts";
import type { Frontiers } from "./frontiers.ts";
import { isReadable } from "./rebaseline-pace.ts";
import { REQUESTS_PER_PAGE, type RebaselineSize } from "./rebaseline-size.ts";
import { RestatedChunk } from "./restated-chunk.ts";
import type { NotReadAnew } from "./status.ts";
import type { ToldTransactions } from "./told-transactions.ts";
import { keyFault } from "../mapping/canonical-key.ts";
import type { Mapping } from "../mapping/compile.ts";
import type { StreamPlan } from "../mapping/stream-plan.ts";
import { EventBuffer } from "../mapping/event-buffer.ts";
import { streamTypeOf } from "../mapping/stream-id.ts";
import { BanyanError } from "../model/errors.ts";
import type { Position } from "../model/position.ts";
import type { ChangeSource } from "../source/change-source.ts";
import type { EventStore, RebaselineRequest } from "../store/event-store.ts";

/** A stream that the process died of so often while it was read is set aside. */
const ATTEMPTS_MAX = 3;

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
  readonly size: RebaselineSize;
  readonly told: ToldTransactions;
  /** Where the log was read to. */
  readonly checkpoint: Position;
  /** Commits what was staged. */
  readonly commit: () => Promise<void>;
}

/**
 * Reads streams anew that somebody asked for, some at a time: each gets an event that holds its
 * rows as of one snapshot, in place of what was told before. What the log tells of them afterwards, up to
 * where the snapshot was taken, is left out as far as the snapshot saw it.
 *
 * A request that cannot be carried out is settled, and told of; so is one in whose midst the process has
 * died too often, so that it does not keep the log from being followed.
 *
 * To be called where all that was taken from the log is durable, by whoever has the turn to write.
 */
export async function rebaselinePage(
  options: RebaselineStreamsOptions,
  at: RebaselineAt,
  signal: AbortSignal,
): Promise<RebaselinePage> {
  const { store, pipeline, frontiers, writer } = options;
  const requests = await store.rebaselineRequests(pipeline, at.after, REQUESTS_PER_PAGE);
  const after = requests.length < REQUESTS_PER_PAGE ? undefined : requests.at(-1)!.id;
  await writer.learnMoved();
  const ready = requests.filter(({ stream }) => !writer.isMoved(stream));
  const isLeft = ready.length < requests.length;
  const byType = groupBy(ready, ({ stream }) => streamTypeOf(stream));
  const deferred = [...byType.keys()].filter((type) => !isReadable(frontiers, type));
  for (const type of deferred) byType.delete(type);
  if (byType.size > 0 && !(await at.told.areSeen(signal)))
    return { after: at.after, deferred, isLeft, isUnseen: true };
  let isMore = false;
  for (const [type, some] of byType) {
    const left = await carryOut(options, type, some, at, signal);
    isMore ||= left > 0;
  }
  return { after: isMore ? at.after : after, deferred, isLeft, isUnseen: false };
}

/** @returns how many are left for another page */
async function carryOut(
  options: RebaselineStreamsOptions,
  type: string,
  requests: readonly RebaselineRequest[],
  at: RebaselineAt,
  signal: AbortSignal,
): Promise<number> {
  const { mapping } = options;
  const stream = mapping.stream(type);
  if (stream === undefined) {
    const why = `the config has no stream type ${type}`;
    await refuse(options, requests, () => why, at);
    return 0;
  }
  const root = mapping.mapperOf(mapping.shapeOf(stream.ref.root.name)!)!;
  const faults = requests.map(
    (request) => keyFault(root, request.stream) ?? attemptsFault(request),
  );
  await refuse(options, requests, (n) => faults[n], at);
  const sound = requests.filter((_, n) => faults[n] === undefined);
  const some = await at.size.first(sound, mapping, stream);
  if (some.length === 0) return 0;
  const whole = await wholeAt(options, type, at);
  await attempt(options, some, () => restate(options, stream, some, { ...at, whole }, signal));
  return sound.length - some.length;
}

function attemptsFault({ attempts }: RebaselineRequest): string | undefined {
  if (attempts < ATTEMPTS_MAX) return undefined;
  return `the process died ${attempts} times while it was read, of its size perhaps; what the streams hold is as it was`;
}

/** Notes durably that streams are being read, for whoever comes after a process that dies of it. */
async function attempt(
  { store, writer }: RebaselineStreamsOptions,
  requests: readonly RebaselineRequest[],
  work: () => Promise<void>,
): Promise<void> {
  const ids = requests.map(({ id }) => id);
  await store.noteAttempts(ids, 1);
  try {
    await work();
  } catch (error) {
    // What was staged may hold the requests, which are noted past it.
    await writer.dropBaseline();
    // Who fails and says so is not dead. Where the store is gone, it counts all the same.
    await store.noteAttempts(ids, -1).catch(() => undefined);
    throw error;
  }
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
  const startedMs = performance.now();
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
    at.size.read(requests.length, done.rows, performance.now() - startedMs);
  } catch (error) {
    const isOfKey = error instanceof BanyanError && error.code === "VALUE_UNMAPPABLE";
    if (!isOfKey) throw error;
    await writer.dropBaseline();
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
