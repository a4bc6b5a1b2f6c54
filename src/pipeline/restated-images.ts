import type { EventWriter } from "./event-writer.ts";
import type { Mapping } from "../mapping/compile.ts";
import { EventBuffer } from "../mapping/event-buffer.ts";
import { decodeImage } from "../mapping/row-images.ts";
import { keyText } from "../mapping/stream-id.ts";
import type { TableMapper } from "../mapping/table-mapper.ts";
import { cellOf } from "../model/column-definition.ts";
import type { Position } from "../model/position.ts";
import { Folder, type StreamState } from "../projection/fold.ts";
import type { EventStore, ImageChange, NewImage } from "../store/event-store.ts";

/** Rows whose images are looked up at once. */
const KEYS_PER_PAGE = 4_000;

export interface RestatedImagesOptions {
  readonly store: EventStore;
  readonly mapping: Mapping;
  readonly writer: EventWriter;
  readonly mappers: readonly TableMapper[];
  /** Whether a stream is one of those that are read anew. */
  readonly isRestated: (stream: string) => boolean;
}

/**
 * What becomes of kept images when streams are read anew: those that name one of these streams go, and
 * those of the rows that are read come. An image that names another stays: the log has yet to tell of the
 * move. In pages, whatever the size of an aggregate.
 */
export class RestatedImages {
  readonly #options: RestatedImagesOptions;
  readonly #folder: Promise<Folder | undefined>;

  constructor(options: RestatedImagesOptions) {
    this.#options = options;
    const { mappers, store, mapping } = options;
    const areKept = mappers.some(({ keepsImages }) => keepsImages);
    this.#folder = areKept
      ? store.mappings().then((mappings) => new Folder(mappings, mapping.inverses()))
      : Promise.resolve(undefined);
  }

  /**
   * Stages that the images of all rows go that these streams have told of. To be called before rows are
   * read.
   *
   * @returns where in the log the last event of each was
   */
  async forgetTold(
    streams: readonly string[],
    signal: AbortSignal,
  ): Promise<ReadonlyMap<string, Position>> {
    const folder = await this.#folder;
    const last = new Map<string, Position>();
    let keys = new Map<TableMapper, Set<string>>();
    let count = 0;
    for await (const event of this.#options.store.readStreams(streams)) {
      signal.throwIfAborted();
      if (event.sourcePosition !== undefined) last.set(event.stream, event.sourcePosition);
      if (folder === undefined || event.mappingVersion === undefined) continue;
      // Each for itself: what the aggregate holds by now may be more than fits into memory.
      const state: StreamState = new Map();
      folder.apply(state, event);
      for (const mapper of this.#options.mappers) count += this.#noteKeys(keys, state, mapper);
      if (count < KEYS_PER_PAGE) continue;
      await this.#forget(keys);
      keys = new Map();
      count = 0;
    }
    await this.#forget(keys);
    return last;
  }

  /** What is to be staged of the rows that were read. */
  async changesOf(read: readonly NewImage[]): Promise<readonly ImageChange[]> {
    const changes: ImageChange[] = [];
    for (const mapper of this.#options.mappers) {
      const own = read.filter(({ table }) => table === mapper.table.name);
      const others = await this.#ownedByOthers(
        mapper,
        own.map(({ key }) => key),
      );
      changes.push(...own.filter(({ key }) => !others.has(key)));
    }
    return changes;
  }

  #noteKeys(keys: Map<TableMapper, Set<string>>, state: StreamState, mapper: TableMapper): number {
    const rows = state.get(mapper.role);
    if (rows === undefined || !mapper.keepsImages) return 0;
    const { table } = mapper;
    const columns = this.#options.mapping.columnsOf(table);
    let of = keys.get(mapper);
    if (of === undefined) keys.set(mapper, (of = new Set()));
    const before = of.size;
    for (const row of rows.values()) {
      const cells = columns.map((column) => cellOf(row, column));
      of.add(keyText(cells, table.key));
    }
    return of.size - before;
  }

  async #forget(keys: ReadonlyMap<TableMapper, ReadonlySet<string>>): Promise<void> {
    const { writer } = this.#options;
    const changes: ImageChange[] = [];
    for (const [mapper, of] of keys) {
      const list = [...of];
      const owners = await this.#ownersOf(mapper, list);
      for (const [i, owner] of owners.entries()) {
        if (owner === undefined || !this.#options.isRestated(owner)) continue;
        changes.push({ table: mapper.table.name, key: list[i]!, image: undefined });
      }
    }
    await writer.stageVersioned(new EventBuffer(), changes, []);
  }

  async #ownedByOthers(mapper: TableMapper, keys: readonly string[]): Promise<ReadonlySet<string>> {
    const owners = await this.#ownersOf(mapper, keys);
    const isOthers = (owner: string | undefined): boolean =>
      owner !== undefined && !this.#options.isRestated(owner);
    return new Set(keys.filter((_, i) => isOthers(owners[i])));
  }

  /** The streams that the images of rows name; undefined for a row without. */
  async #ownersOf(
    mapper: TableMapper,
    keys: readonly string[],
  ): Promise<readonly (string | undefined)[]> {
    if (keys.length === 0) return [];
    const { writer, mapping } = this.#options;
    const columns = mapping.columnsOf(mapper.table);
    const images = await writer.images(mapper.table.name, keys);
    return images.map((image) =>
      image === undefined ? undefined : mapper.streamIdOf(decodeImage(columns, image)),
    );
  }
}
