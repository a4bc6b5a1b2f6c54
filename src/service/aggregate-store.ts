import { aggregatesOf, type Aggregates } from "./aggregate.ts";
import { MappingCache } from "./mapping-cache.ts";
import type { StreamRef } from "../mapping/rules.ts";
import { BanyanError } from "../model/errors.ts";
import type { EventStore } from "../store/event-store.ts";

/** The aggregates of one migration, for a service. Made by `openAggregates`. */
export interface AggregateStore<Streams extends Readonly<Record<string, StreamRef>>> {
  /** @param streamType a name in the config's `streams` */
  aggregates<Type extends keyof Streams & string>(streamType: Type): Aggregates<Streams[Type]>;
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
    aggregates<Type extends keyof Streams & string>(streamType: Type) {
      const ref = Object.hasOwn(streams, streamType) ? streams[streamType] : undefined;
      if (ref === undefined) {
        throw new BanyanError("USAGE", `the config has no stream ${streamType}`);
      }
      return aggregatesOf<Streams[Type]>({ store, pipeline, streamType, ref, mappings });
    },
    async check() {
      await store.requests(pipeline);
    },
    close: () => store.close(),
  };
}
