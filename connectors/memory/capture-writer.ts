import { bytewise } from "./bytewise.ts";
import { settleParked } from "./quarantine.ts";
import {
  addEvents,
  assertFits,
  imageKey,
  pipelineOf,
  recordedEvents,
  type MemoryState,
} from "./state.ts";
import { BanyanError, invariant } from "../../src/model/errors.ts";
import type { RecordedEvent } from "../../src/model/event.ts";
import type { MappingDefinition } from "../../src/model/mapping-definition.ts";
import type {
  BaselineRecord,
  CapturedTable,
  CaptureWriter,
  CommitResult,
  Ledger,
  ParkedChange,
  PipelineRecord,
  RenamedTable,
  Progress,
  StagedBatch,
} from "../../src/store/event-store.ts";

/** Holds what is staged until it is committed; nobody else sees it before. */
export class MemoryCaptureWriter implements CaptureWriter {
  readonly record: PipelineRecord;
  readonly #state: MemoryState;
  #staged: Staged = nothingStaged();
  #dead: unknown;

  constructor(state: MemoryState, record: PipelineRecord) {
    this.#state = state;
    this.record = record;
  }

  mappingVersion(fingerprint: string, definition: MappingDefinition): Promise<number> {
    return this.#run(() => {
      const { mappings } = this.#state;
      const known = mappings.get(fingerprint);
      if (known !== undefined) return known.version;
      const version = mappings.size + 1;
      mappings.set(fingerprint, { version, definition: structuredClone(definition) });
      return version;
    });
  }

  versions(streams: readonly string[]): Promise<readonly number[]> {
    return this.#run(() => streams.map((stream) => this.#state.streams.get(stream)?.length ?? 0));
  }

  storedVersions(streams: readonly string[]): Promise<readonly number[]> {
    return this.versions(streams);
  }

  images(table: string, keys: readonly string[]): Promise<readonly (string | undefined)[]> {
    return this.#run(() => {
      const { images } = pipelineOf(this.#state, this.record.name);
      return keys.map((key) => {
        const at = imageKey(table, key);
        return this.#staged.images.has(at) ? this.#staged.images.get(at) : images.get(at);
      });
    });
  }

  forgetImages(
    table: string,
    after: string | undefined,
    imagesMax: number,
  ): Promise<string | undefined> {
    return this.#run(() => {
      const { images } = pipelineOf(this.#state, this.record.name);
      const staged = this.#staged.images;
      const of = imageKey(table, "");
      const isKept = (at: string): boolean =>
        at.startsWith(of) && (!staged.has(at) || staged.get(at) !== undefined);
      const keys = [...new Set([...images.keys(), ...staged.keys()])]
        .filter(isKept)
        .map((at) => at.slice(of.length))
        .sort(bytewise);
      const isBehind = (key: string): boolean => after === undefined || bytewise(key, after) > 0;
      const gone = keys.filter(isBehind).slice(0, imagesMax);
      for (const key of gone) staged.set(imageKey(table, key), undefined);
      return gone.length < imagesMax ? undefined : gone.at(-1);
    });
  }

  stage(batch: StagedBatch): Promise<void> {
    return this.#run(() => {
      const { events, images, newImages, missingImages, parked, released, skipped } = batch;
      const staged = this.#staged;
      const { images: kept } = pipelineOf(this.#state, this.record.name);
      staged.events.push(...recordedEvents(events, this.record.source, Date.now() * 1000));
      assertFits(this.#state, staged.events);
      for (const { table, key, image } of [...(images ?? []), ...(newImages ?? [])])
        staged.images.set(imageKey(table, key), image);
      for (const { table, key, image } of missingImages ?? []) {
        const at = imageKey(table, key);
        const is = staged.images.has(at) ? staged.images.get(at) : kept.get(at);
        if (is === undefined) staged.images.set(at, image);
      }
      staged.parked.push(...structuredClone(parked ?? []));
      staged.released.push(...(released ?? []));
      staged.skipped.push(...(skipped ?? []));
      if (batch.rebaselined !== undefined) staged.rebaselined.push(batch.rebaselined);
      staged.refused.push(...(batch.refused ?? []));
    });
  }

  commit(progress: Progress): Promise<CommitResult> {
    return this.#run(() => {
      const pipeline = pipelineOf(this.#state, this.record.name);
      const { record } = pipeline;
      const { checkpoint, ledger } = progress;
      if (record.epoch !== this.record.epoch) {
        throw new BanyanError("PIPELINE_FENCED", "another writer has taken over this pipeline");
      }
      invariant(
        checkpoint === undefined ||
          record.checkpoint === undefined ||
          checkpoint >= record.checkpoint,
        `the checkpoint would go back from ${record.checkpoint} to ${checkpoint}`,
      );
      const staged = this.#staged;
      this.#staged = nothingStaged();
      addEvents(this.#state, staged.events);
      for (const [key, image] of staged.images) {
        if (image === undefined) pipeline.images.delete(key);
        else pipeline.images.set(key, image);
      }
      renameImages(pipeline.images, progress.renamed ?? []);
      this.#park(staged.parked);
      settleParked(this.#state, staged.released, "retried");
      settleParked(this.#state, staged.skipped, "skipped");
      for (const { ids, seen, fence } of staged.rebaselined) {
        for (const entry of this.#state.rebaselines)
          if (ids.includes(entry.request.id)) entry.done = { seen, fence };
      }
      for (const entry of this.#state.rebaselines)
        if (staged.refused.includes(entry.request.id)) entry.isRefused = true;
      pipeline.record = {
        ...record,
        phase: progress.phase,
        checkpoint: checkpoint ?? record.checkpoint,
        baselinePosition: progress.baselinePosition ?? record.baselinePosition,
        ledger: sum(record.ledger, ledger),
        tables: withTables(record.tables, progress.tables ?? []),
        ...withBaselines(record.baselines, progress.baselines),
        status: structuredClone(progress.status ?? {}),
        updatedAt: new Date().toISOString(),
      };
      return { quarantineGeneration: pipeline.quarantineGeneration };
    });
  }

  rollback(): Promise<void> {
    this.#staged = nothingStaged();
    return Promise.resolve();
  }

  close(): Promise<void> {
    this.#dead ??= new BanyanError("INVARIANT_BROKEN", "the writer is closed");
    const pipeline = pipelineOf(this.#state, this.record.name);
    if (pipeline.record.epoch === this.record.epoch) pipeline.isHeld = false;
    return this.rollback();
  }

  #park(changes: readonly ParkedChange[]): void {
    const { parked } = this.#state;
    for (const change of changes) {
      const id = String(parked.length + 1);
      const parkedAt = new Date().toISOString();
      const record = { ...change, id, parkedAt, decision: "none" as const };
      parked.push({ pipeline: this.record.name, record, state: "pending" });
    }
  }

  /** After a rejection the writer is dead and what it had staged is gone. */
  async #run<T>(step: () => T): Promise<T> {
    if (this.#dead !== undefined) throw this.#dead;
    try {
      return step();
    } catch (error) {
      this.#dead = error;
      this.#staged = nothingStaged();
      throw error;
    }
  }
}

interface Staged {
  readonly events: RecordedEvent[];
  /** By {@link imageKey}; undefined removes the image. */
  readonly images: Map<string, string | undefined>;
  readonly parked: ParkedChange[];
  readonly released: string[];
  readonly skipped: string[];
  readonly rebaselined: NonNullable<StagedBatch["rebaselined"]>[];
  readonly refused: string[];
}

function nothingStaged(): Staged {
  return {
    events: [],
    images: new Map(),
    parked: [],
    released: [],
    skipped: [],
    rebaselined: [],
    refused: [],
  };
}

function renameImages(images: Map<string, string>, renamed: readonly RenamedTable[]): void {
  const takeOf = (table: string): (readonly [key: string, image: string])[] => {
    const prefix = imageKey(table, "");
    const taken = [...images].filter(([at]) => at.startsWith(prefix));
    for (const [at] of taken) images.delete(at);
    return taken.map(([at, image]) => [at.slice(prefix.length), image]);
  };
  const moved = renamed.map(({ from, to }) => ({ to, taken: takeOf(from) }));
  for (const { to, taken } of moved) {
    takeOf(to);
    for (const [key, image] of taken) images.set(imageKey(to, key), image);
  }
}

function withTables(
  known: readonly CapturedTable[],
  given: readonly CapturedTable[],
): readonly CapturedTable[] {
  const tables = new Map([...known, ...given].map((table) => [table.table, table]));
  return [...tables.values()].sort((a, b) => (a.table < b.table ? -1 : 1));
}

function withBaselines(
  known: readonly BaselineRecord[] = [],
  given: readonly BaselineRecord[] = [],
): { readonly baselines?: readonly BaselineRecord[] } {
  const all = [...known, ...structuredClone(given)];
  const baselines = new Map(all.map((baseline) => [baseline.stream, baseline]));
  return baselines.size === 0 ? {} : { baselines: [...baselines.values()] };
}

function sum(ledger: Ledger, added: Partial<Ledger>): Ledger {
  const names = Object.keys(ledger) as (keyof Ledger)[];
  return Object.fromEntries(
    names.map((name) => [name, ledger[name] + (added[name] ?? 0)]),
  ) as unknown as Ledger;
}
