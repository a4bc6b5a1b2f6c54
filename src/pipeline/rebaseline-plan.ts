import { keyedTables } from "./baseline-plan.ts";
import { mergeChildren } from "./merge-children.ts";
import {
  compileMapping,
  plannedTables,
  type Mapping,
  type StreamPlan,
} from "../mapping/compile.ts";
import type { StreamRef } from "../mapping/rules.ts";
import { streamTypeOf } from "../mapping/stream-id.ts";
import { BanyanError } from "../model/errors.ts";
import type { ChangeSource, RowSnapshot } from "../source/change-source.ts";
import type { EventStore } from "../store/event-store.ts";

/** Streams asked for in one statement. */
const STREAMS_PER_REQUEST = 5_000;

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

/**
 * All streams of some types: those that the store has, and those that only the source has.
 *
 * @throws BanyanError `USAGE` for a type that the config does not have
 */
export async function streamsOfTypes(
  {
    source,
    store,
    streams,
  }: {
    readonly source: ChangeSource;
    readonly store: EventStore;
    readonly streams: Readonly<Record<string, StreamRef>>;
  },
  types: readonly string[],
  signal: AbortSignal,
): Promise<readonly string[]> {
  const tables = await source.discover(plannedTables(streams));
  const mapping = compileMapping(streams, tables, await store.mappings());
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

/** @throws BanyanError `USAGE` for a stream whose type the config does not have */
export function requireStreams(
  streams: Readonly<Record<string, StreamRef>>,
  ids: readonly string[],
): void {
  const wrong = ids.find((id) => !id.includes("-") || !Object.hasOwn(streams, streamTypeOf(id)));
  if (wrong === undefined) return;
  throw new BanyanError("USAGE", `the config has no stream type of ${wrong}`, {
    hint: `Its stream types are: ${Object.keys(streams).join(", ")}`,
  });
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
      for (const { root, children } of group) {
        const owner = root === undefined ? children.findIndex(({ length }) => length > 0) + 1 : 0;
        yield mappers[owner]!.streamOf(root ?? children[owner - 1]![0]!);
      }
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
