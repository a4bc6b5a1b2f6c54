import { BanyanError } from "../model/errors.ts";
import type { MappingDefinition } from "../model/mapping-definition.ts";
import { Folder, type Inverses, type StreamState } from "../projection/fold.ts";
import type { FoldEvent } from "../store/event-store.ts";
import type { ReverseStore } from "../store/reverse-store.ts";

/** A stream whose native events are to be in the rows up to a version. */
export interface Target {
  readonly stream: string;
  /** Of the last event that is wanted. */
  readonly version: number;
  /** Of the last event that is in the rows; undefined when none was ever written. */
  readonly applied: number | undefined;
}

/** The aggregate before the first native event that is not in the rows, and after the last one wanted. */
export interface Folded {
  readonly before: StreamState;
  readonly after: StreamState;
  /** Of that first event. */
  readonly firstVersion: number;
  /** Of the last native event. */
  readonly version: number;
  /** Native events in between. */
  readonly events: number;
}

/** Events that say what no mapping knows. */
export interface Unfoldable {
  readonly failure: BanyanError;
  /** Of the first event that waits. */
  readonly firstVersion: number;
}

/** Undefined: no native event waits. */
export type FoldResult = Folded | Unfoldable | undefined;

/** Streams whose fold is kept for the next time, the longest unused given up first. */
const FOLDS_KEPT_MAX = 2_000;
/** Rows of one that is kept; a larger one is read anew each time. */
const FOLD_ROWS_MAX = 200;

/**
 * Folds streams to what their rows are and to what they are to be.
 *
 * The rows hold the fold of everything up to the last event that was applied or captured: so they are at
 * the fold of all events before the first native one behind `applied`.
 */
export class NativeFolds {
  readonly #store: ReverseStore;
  readonly #inverses: Inverses;
  readonly #loadMappings: () => Promise<ReadonlyMap<number, MappingDefinition>>;
  readonly #kept = new Map<string, { readonly version: number; readonly state: StreamState }>();
  #mappings: ReadonlyMap<number, MappingDefinition> = new Map();

  constructor(
    store: ReverseStore,
    inverses: Inverses,
    loadMappings: () => Promise<ReadonlyMap<number, MappingDefinition>>,
  ) {
    this.#store = store;
    this.#inverses = inverses;
    this.#loadMappings = loadMappings;
  }

  /** As last loaded. */
  get mappings(): ReadonlyMap<number, MappingDefinition> {
    return this.#mappings;
  }

  async reload(): Promise<void> {
    this.#mappings = await this.#loadMappings();
  }

  /** @returns by stream, in the order of the targets */
  async fold(targets: readonly Target[]): Promise<ReadonlyMap<string, FoldResult>> {
    const folds = new Map(
      targets.map((target) => [target.stream, new StreamFold(target, this.#take(target))]),
    );
    const ranges = [...folds.values()].map((fold) => fold.range);
    let folder = new Folder(this.#mappings, this.#inverses);
    for await (const events of this.#store.readStreams(ranges)) {
      for (const event of events) {
        if (event.mappingVersion !== undefined && !this.#mappings.has(event.mappingVersion)) {
          await this.reload();
          folder = new Folder(this.#mappings, this.#inverses);
        }
        folds.get(event.stream)!.add(event, folder);
      }
    }
    return new Map([...folds].map(([stream, fold]) => [stream, fold.result()]));
  }

  /** Keeps what the rows hold now. @param version of the last event in it */
  keep(stream: string, version: number, state: StreamState): void {
    this.#kept.delete(stream);
    let rows = 0;
    for (const role of state.values()) rows += role.size;
    if (rows > FOLD_ROWS_MAX) return;
    this.#kept.set(stream, { version, state });
    if (this.#kept.size > FOLDS_KEPT_MAX) this.#kept.delete(this.#kept.keys().next().value!);
  }

  forget(): void {
    this.#kept.clear();
  }

  /** What is kept is good only for the version that the rows really have: they may have been restored. */
  #take({ stream, applied }: Target): { version: number; state: StreamState } | undefined {
    const kept = this.#kept.get(stream);
    this.#kept.delete(stream);
    return kept?.version === applied ? kept : undefined;
  }
}

class StreamFold {
  readonly #target: Target;
  readonly #state: StreamState;
  readonly #fromVersion: number;
  #failure: BanyanError | undefined;
  #before: StreamState | undefined;
  #after: StreamState | undefined;
  #firstVersion = 0;
  #version = 0;
  #events = 0;

  constructor(target: Target, kept: { version: number; state: StreamState } | undefined) {
    this.#target = target;
    this.#state = kept?.state ?? new Map();
    this.#fromVersion = (kept?.version ?? 0) + 1;
  }

  get range(): { stream: string; fromVersion: number; toVersion: number } {
    const { stream, version } = this.#target;
    return { stream, fromVersion: this.#fromVersion, toVersion: version };
  }

  add(event: FoldEvent, folder: Folder): void {
    if (this.#failure !== undefined) return;
    const isWaiting = event.origin === "native" && event.version > (this.#target.applied ?? 0);
    if (isWaiting && this.#before === undefined) {
      this.#before = copyOf(this.#state);
      this.#firstVersion = event.version;
    }
    // The log has told the rows of what was captured behind the last native event.
    const isBehind = !isWaiting && this.#version > 0;
    if (isBehind && this.#after === undefined) this.#after = copyOf(this.#state);
    try {
      folder.apply(this.#state, event);
    } catch (error) {
      if (!(error instanceof BanyanError)) throw error;
      this.#failure = error;
      if (this.#firstVersion === 0) this.#firstVersion = event.version;
      return;
    }
    if (!isWaiting) return;
    this.#version = event.version;
    this.#after = undefined;
    this.#events += 1;
  }

  result(): FoldResult {
    if (this.#failure !== undefined)
      return { failure: this.#failure, firstVersion: this.#firstVersion };
    if (this.#before === undefined) return undefined;
    return {
      before: this.#before,
      after: this.#after ?? this.#state,
      firstVersion: this.#firstVersion,
      version: this.#version,
      events: this.#events,
    };
  }
}

function copyOf(state: StreamState): StreamState {
  const copy: StreamState = new Map();
  for (const [role, rows] of state)
    copy.set(role, new Map([...rows].map(([key, row]) => [key, { ...row }])));
  return copy;
}
