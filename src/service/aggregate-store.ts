import { aggregatesOf, type Aggregates } from "./aggregate.ts";
import { MappingCache } from "./mapping-cache.ts";
import type { RowOf, StreamRef } from "../mapping/rules.ts";
import { BanyanError } from "../model/errors.ts";
import type { EventStore } from "../store/event-store.ts";

export interface AggregatesOfOptions<Stream extends StreamRef> {
  readonly unique?: readonly (keyof RowOf<Stream["root"]> & string)[];
}

/** The aggregates of one migration, for a service. Made by `openAggregates`. */
export interface AggregateStore<Streams extends Readonly<Record<string, StreamRef>>> {
  /**
   * @param streamType a name in the config's `streams`
   * @param options.unique columns of the root whose value only one aggregate may have: a command whose
   *   value another has claimed is `VALUE_TAKEN`. Every service of the stream type has to say the same
   */
  aggregates<Type extends keyof Streams & string>(
    streamType: Type,
    options?: AggregatesOfOptions<Streams[Type]>,
  ): Aggregates<Streams[Type]>;
  /** Fails when the store cannot be used now: for a health check. */
  check(): Promise<void>;
  close(): Promise<void>;
}

/**
 * @param store the caller's, closed with what is returned
 * @param pipeline name of the migration, in the config `name`
 */
export function aggregateStore<Streams extends Readonly<Record<string, StreamRef>>>(
  store: EventStore,
  pipeline: string,
  streams: Streams,
): AggregateStore<Streams> {
  const mappings = new MappingCache(store, streams);
  return {
    aggregates<Type extends keyof Streams & string>(
      streamType: Type,
      { unique = [] }: AggregatesOfOptions<Streams[Type]> = {},
    ) {
      const ref = Object.hasOwn(streams, streamType) ? streams[streamType] : undefined;
      if (ref === undefined) {
        throw new BanyanError("USAGE", `the config has no stream ${streamType}`);
      }
      return aggregatesOf<Streams[Type]>({ store, pipeline, streamType, ref, mappings, unique });
    },
    async check() {
      await store.requests(pipeline);
    },
    close: () => store.close(),
  };
}
