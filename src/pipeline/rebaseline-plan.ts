import { keyedTables } from "./baseline-plan.ts";
import { mergeChildren, streamOfAggregate } from "./merge-children.ts";
import { keyFault } from "../mapping/canonical-key.ts";
import { compileMapping, plannedTables, type Mapping } from "../mapping/compile.ts";
import type { StreamPlan } from "../mapping/stream-plan.ts";
import type { StreamRef } from "../mapping/rules.ts";
import { streamTypeOf } from "../mapping/stream-id.ts";
import { BanyanError } from "../model/errors.ts";
import type { ChangeSource, RowSnapshot } from "../source/change-source.ts";
import type { EventStore } from "../store/event-store.ts";

/** Streams asked for in one statement, each of which waits until a pipeline that runs writes nothing. */
const STREAMS_PER_REQUEST = 50_000;
const FAULTS_SHOWN_MAX = 20;

/** What must be known to ask for streams. */
interface Asking {
  readonly source: ChangeSource;
  readonly store: EventStore;
  readonly streams: Readonly<Record<string, StreamRef>>;
}

/**
 * Asks that streams of a pipeline be read anew: a running one does it at once, else the next run. Each
 * gets an event that says from where to where its history is not known, with its rows as they are.
 *
 * @param reason for people; it stands in the events
 * @returns how many were asked for now, without those that had been already
 */
export async function requestRebaseline(
  store: EventStore,
  pipeline: string,
  streams: readonly string[],
  reason: string,
): Promise<number> {
  let asked = 0;
  for (let at = 0; at < streams.length; at += STREAMS_PER_REQUEST) {
    const some = streams.slice(at, at + STREAMS_PER_REQUEST);
    asked += await store.requestRebaseline(pipeline, some, reason);
  }
  return asked;
}

/** Streams of some types that are asked for and not read anew yet. */
export async function requestedOfTypes(
  store: EventStore,
  pipeline: string,
  types: readonly string[],
): Promise<readonly string[]> {
  const found: string[] = [];
  if (types.length === 0) return found;
  for (let after: string | undefined = "0"; after !== undefined;) {
    const requests = await store.rebaselineRequests(pipeline, after, STREAMS_PER_REQUEST);
    for (const { stream } of requests) if (types.includes(streamTypeOf(stream))) found.push(stream);
    after = requests.length < STREAMS_PER_REQUEST ? undefined : requests.at(-1)!.id;
  }
  return found;
}

/**
 * All streams of some types: those that the store has, and those that only the source has.
 *
 * @throws BanyanError `USAGE` for a type that the config does not have
 */
export async function streamsOfTypes(
  asking: Asking,
  types: readonly string[],
  signal: AbortSignal,
): Promise<readonly string[]> {
  const { source, store } = asking;
  const mapping = await mappingNow(asking);
  const found = new Set<string>();
  for (const type of types) {
    const stream = mapping.stream(type);
    if (stream === undefined) throw unknownType(type, mapping);
    for await (const events of store.readStreamType(type, signal)) {
      for (const event of events) if (event.mappingVersion !== undefined) found.add(event.stream);
    }
    for await (const id of streamsInSource(source, mapping, stream, signal)) found.add(id);
  }
  return [...found];
}

/**
 * Refuses ids that no stream of the config can have, all at once.
 *
 * @throws BanyanError `USAGE`
 */
export async function requireStreams(asking: Asking, ids: readonly string[]): Promise<void> {
  if (ids.length === 0) return;
  const mapping = await mappingNow(asking);
  const faults = ids.flatMap((id) => {
    const stream = mapping.stream(streamTypeOf(id));
    if (stream === undefined) return [`${id}: the config has no stream type of it`];
    const root = mapping.mapperOf(mapping.shapeOf(stream.ref.root.name)!)!;
    const why = keyFault(root, id);
    return why === undefined ? [] : [`${id}: ${why}`];
  });
  if (faults.length === 0) return;
  const types = mapping.streams.map(({ type }) => type);
  const more = faults.length - FAULTS_SHOWN_MAX;
  const shown = faults.slice(0, FAULTS_SHOWN_MAX).join("; ");
  throw new BanyanError(
    "USAGE",
    `no such stream can be: ${shown}${more > 0 ? `; and ${more} more` : ""}`,
    {
      hint: `A stream is named by its type (${types.join(", ")}), a dash and its key as the database writes it, a numeric without zeros at its end, e.g. ${types[0]}-1; banyan history shows what a stream holds`,
    },
  );
}

async function mappingNow({ source, store, streams }: Asking): Promise<Mapping> {
  const tables = await source.discover(plannedTables(streams));
  return compileMapping(streams, tables, await store.mappings());
}

async function* streamsInSource(
  source: ChangeSource,
  mapping: Mapping,
  stream: StreamPlan,
  signal: AbortSignal,
): AsyncGenerator<string, void, void> {
  const shapes = keyedTables(mapping, stream).map(({ table }) => table);
  const snapshot = await source.openParity(shapes, signal);
  try {
    const mappers = shapes.map((table) => mapping.mapperOf(table)!);
    const rowsOf: Pick<RowSnapshot, "readRows"> = snapshot;
    for await (const group of mergeChildren(rowsOf, mappers, signal)) {
      for (const aggregate of group) yield streamOfAggregate(mappers, aggregate);
    }
  } finally {
    await snapshot.close();
  }
}

function unknownType(type: string, { streams }: Mapping): BanyanError {
  return new BanyanError("USAGE", `the config has no stream ${type}`, {
    hint: `Its streams are: ${streams.map((stream) => stream.type).join(", ")}`,
  });
}
