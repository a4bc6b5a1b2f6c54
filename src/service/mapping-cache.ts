import { streamMapping, type StreamMapping } from "./stream-mapping.ts";
import type { StreamRef } from "../mapping/rules.ts";
import type { MappingDefinition } from "../model/mapping-definition.ts";
import type { EventStore } from "../store/event-store.ts";

/** So often a service looks whether a capture has met another schema. */
const FRESH_MS = 10_000;

/** The store's mappings as a service needs them, read again now and then. */
export class MappingCache {
  readonly #store: EventStore;
  readonly #streams: Readonly<Record<string, StreamRef>>;
  #read:
    | { readonly at: number; readonly mappings: Promise<ReadonlyMap<number, MappingDefinition>> }
    | undefined;
  /** By stream type, of the mappings in {@link #known}. */
  #compiled = new Map<string, StreamMapping>();
  #known: ReadonlyMap<number, MappingDefinition> | undefined;

  constructor(store: EventStore, streams: Readonly<Record<string, StreamRef>>) {
    this.#store = store;
    this.#streams = streams;
  }

  async of(type: string): Promise<StreamMapping> {
    const isFresh = this.#read !== undefined && performance.now() - this.#read.at < FRESH_MS;
    return this.#compile(type, isFresh ? await this.#read!.mappings : await this.#readAgain());
  }

  /** @param version of an event, which a mapping that was made since may explain */
  async knowing(type: string, version: number): Promise<StreamMapping> {
    const known = this.#compiled.get(type);
    if (known !== undefined && this.#known!.has(version)) return known;
    return this.#compile(type, await this.#readAgain());
  }

  async #readAgain(): Promise<ReadonlyMap<number, MappingDefinition>> {
    const mappings = this.#store.mappings();
    const read = { at: performance.now(), mappings };
    this.#read = read;
    try {
      return await mappings;
    } catch (error) {
      if (this.#read === read) this.#read = undefined;
      throw error;
    }
  }

  #compile(type: string, mappings: ReadonlyMap<number, MappingDefinition>): StreamMapping {
    // They are only ever added, though not always the lowest version first: two captures may begin at once.
    if (this.#known === undefined || mappings.size > this.#known.size) {
      this.#known = mappings;
      this.#compiled = new Map();
    }
    let compiled = this.#compiled.get(type);
    if (compiled === undefined) {
      compiled = streamMapping(type, this.#streams[type]!, this.#known);
      this.#compiled.set(type, compiled);
    }
    return compiled;
  }
}
