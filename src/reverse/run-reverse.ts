import { setTimeout as sleep } from "node:timers/promises";
import { applyNatives, newestDefinition, type Applied } from "./apply-natives.ts";
import { NativeFolds } from "./fold-natives.ts";
import type { LegacyWriter } from "./legacy-writer.ts";
import { examineMapping } from "../mapping/compile.ts";
import type { StreamRef } from "../mapping/rules.ts";
import { streamTypeOf } from "../mapping/stream-id.ts";
import type { BanyanError } from "../model/errors.ts";
import type { MappingDefinition } from "../model/mapping-definition.ts";
import { failpoint } from "../runtime/failpoint.ts";
import { runWithRetry } from "../runtime/loop.ts";
import type { EventStore, FeedCursor } from "../store/event-store.ts";
import type { ReverseHold } from "../store/reverse-store.ts";
import { pause } from "../runtime/pause.ts";

export interface ReverseOptions {
  /** Name of the migration. */
  readonly pipeline: string;
  readonly store: EventStore;
  /** Makes a writer that has opened nothing; closed here. */
  readonly openLegacy: () => LegacyWriter;
  readonly streams: Readonly<Record<string, StreamRef>>;
  /** Told after each batch. */
  readonly onApplied?: (progress: ReverseStep) => void;
  /** Somebody holds a lock that is needed; told each time it is waited for again. */
  readonly onWait?: (streams: number, reason: string) => void;
  readonly onRetry?: (event: { attempt: number; delayMs: number; error: BanyanError }) => void;
}

export interface ReverseStep {
  /** Native events that are in the rows now and were not before. */
  readonly events: number;
  /** Conflicts found. */
  readonly conflicts: number;
}

/** Native events in one step. */
const EVENTS_PER_BATCH = 1_000;
/** Between two looks for new events. */
const POLL_MS = 50;
/** How often it is noted that events were passed over which were not native. */
const CURSOR_MS = 200;
/** How often it says that it is there, and sees whether it was replaced; an idle one tries conflicts again, too. */
const HEARTBEAT_MS = 1_000;
/** A conflict that nobody asks for is tried again after so long: the row may be as it should be by now. */
const CONFLICT_IDLE_SECONDS = 30;
const CONFLICTS_PER_TRY = 200;
/** Between two attempts for streams whose rows are locked. */
const WAIT_MS = 500;
const VERSION_MAX = 2 ** 31 - 1;

/**
 * Writes native events into the legacy rows, in the order of the feed, until the signal aborts. What a
 * crash cuts off is done by the next run, and nothing twice: what is applied stands beside the rows.
 *
 * Whoever begins last has it; one that was replaced ends.
 *
 * @throws BanyanError `PIPELINE_FENCED` when another has begun; `REVERSE_NOT_READY`, `TABLE_MISSING` and
 *   whatever else is for a person to mend. What is worth a retry is tried again.
 */
export async function runReverse(options: ReverseOptions, signal: AbortSignal): Promise<void> {
  const { pipeline, store } = options;
  let run: ReverseRun | undefined;
  await runWithRetry({
    signal,
    backoffMsMin: 250,
    backoffMsMax: 15_000,
    steadyMs: 60_000,
    onRetry: (event) => options.onRetry?.(event),
    attempt: async () => {
      // One that cannot write must not replace one that can.
      if (run === undefined) {
        const tables = tablesOf(Object.keys(options.streams), await store.mappings());
        await options.openLegacy().examine(tables);
      }
      // Only once: else two that both have trouble would replace each other for ever.
      run ??= new ReverseRun(options, await store.reverse.takeOver(pipeline));
      failpoint("reverse-taken-over");
      await run.follow(signal);
    },
  });
}

class ReverseRun {
  readonly #options: ReverseOptions;
  readonly #epoch: number;
  readonly #folds: NativeFolds;
  readonly #types: ReadonlySet<string>;
  /** There is no way back for these; legacy may take other rows in their place, or go. */
  #completed: ReadonlySet<string> = new Set();
  #cursor: FeedCursor | undefined;
  #savedMs = 0;

  constructor(options: ReverseOptions, { epoch, cursor }: ReverseHold) {
    this.#options = options;
    this.#epoch = epoch;
    this.#cursor = cursor;
    this.#types = new Set(Object.keys(options.streams));
    const inverses = examineMapping(options.streams, []).mapping.inverses();
    this.#folds = new NativeFolds(options.store.reverse, inverses, () => options.store.mappings());
  }

  async follow(signal: AbortSignal): Promise<void> {
    // One that was replaced meanwhile must not take the place again.
    await this.#save({});
    // The rows may be others than they were: the database may have been restored.
    this.#folds.forget();
    await this.#folds.reload();
    const { pipeline, store } = this.#options;
    this.#completed = await store.reverse.completed(pipeline);
    const legacy = this.#options.openLegacy();
    try {
      await legacy.open(tablesOf(this.#types, this.#folds.mappings));
      while (!signal.aborted) await this.#step(legacy, signal);
    } finally {
      await legacy.close();
    }
  }

  async #step(legacy: LegacyWriter, signal: AbortSignal): Promise<void> {
    const page = await this.#options.store.reverse.natives(this.#cursor, EVENTS_PER_BATCH);
    const wanted = new Map<string, number>();
    for (const { stream, version } of page.natives) {
      if (!this.#isWanted(stream)) continue;
      wanted.set(stream, Math.max(version, wanted.get(stream) ?? 0));
    }
    const hasMoved = page.next !== this.#cursor;
    const isDue = !page.isEnd || performance.now() - this.#savedMs >= CURSOR_MS;
    if (wanted.size > 0) await this.#apply(legacy, wanted, page.next, signal);
    else if (hasMoved && isDue) await this.#save({ cursor: page.next });
    else this.#cursor = page.next;
    await this.#beat(legacy, signal);
    if (page.isEnd && wanted.size === 0) await pause(POLL_MS, signal);
  }

  /** @param next where the feed goes on when all of them are done */
  async #apply(
    legacy: LegacyWriter,
    wanted: ReadonlyMap<string, number>,
    next: FeedCursor | undefined,
    signal: AbortSignal,
  ): Promise<void> {
    for (let left = wanted; ;) {
      const done = await this.#write(legacy, left, signal);
      left = done.waiting;
      failpoint("reverse-before-progress");
      await this.#save(left.size === 0 ? { cursor: next, done } : { done });
      failpoint("reverse-after-progress");
      this.#options.onApplied?.({ events: done.events, conflicts: done.conflicts.length });
      if (left.size === 0) return;
      this.#options.onWait?.(left.size, done.waitsFor ?? "");
      await sleep(WAIT_MS, undefined, { signal });
    }
  }

  /** Says once a second that it is there, however many locks it waits for. */
  async #write(
    legacy: LegacyWriter,
    wanted: ReadonlyMap<string, number>,
    signal: AbortSignal,
  ): Promise<Applied> {
    const onTransaction = async ({ waiting, waitsFor }: Applied): Promise<void> => {
      if (performance.now() - this.#savedMs < HEARTBEAT_MS) return;
      await this.#save({});
      if (waiting.size > 0) this.#options.onWait?.(waiting.size, waitsFor ?? "");
    };
    return await applyNatives({ legacy, folds: this.#folds, onTransaction }, wanted, signal);
  }

  #isWanted(stream: string): boolean {
    const type = streamTypeOf(stream);
    return this.#types.has(type) && !this.#completed.has(type);
  }

  /** Once a second: is it still ours, and can a conflict be written now? */
  async #beat(legacy: LegacyWriter, signal: AbortSignal): Promise<void> {
    if (performance.now() - this.#savedMs < HEARTBEAT_MS) return;
    const { pipeline, store } = this.#options;
    await this.#save({ cursor: this.#cursor });
    this.#completed = await store.reverse.completed(pipeline);
    const streams = await store.reverse.conflictsToTry(
      pipeline,
      CONFLICT_IDLE_SECONDS,
      CONFLICTS_PER_TRY,
    );
    const wanted = new Map(
      streams.filter((stream) => this.#isWanted(stream)).map((stream) => [stream, VERSION_MAX]),
    );
    if (wanted.size === 0) return;
    const done = await this.#write(legacy, wanted, signal);
    await this.#save({ done });
    this.#options.onApplied?.({ events: done.events, conflicts: done.conflicts.length });
  }

  async #save({
    cursor,
    done,
  }: {
    readonly cursor?: FeedCursor | undefined;
    readonly done?: Applied;
  }): Promise<void> {
    const { pipeline, store } = this.#options;
    await store.reverse.save(pipeline, this.#epoch, {
      cursor,
      ...(done === undefined
        ? {}
        : { applied: done.events, settled: done.settled, conflicts: done.conflicts }),
    });
    this.#cursor = cursor ?? this.#cursor;
    this.#savedMs = performance.now();
  }
}

/** Those of stream types, as the newest mapping has them. */
function tablesOf(
  types: Iterable<string>,
  mappings: ReadonlyMap<number, MappingDefinition>,
): readonly string[] {
  const tables = [...types].flatMap((type) => {
    const definition = newestDefinition(mappings, type);
    return Object.values(definition?.roles ?? {}).map(({ table }) => table);
  });
  return [...new Set(tables)];
}
