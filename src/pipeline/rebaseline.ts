import { baselineContext, keepImages } from "./baseline-events.ts";
import { capturedAt } from "./captured-tables.ts";
import type { EventWriter } from "./event-writer.ts";
import { Frontiers } from "./frontiers.ts";
import { pushGap, type GapFacts } from "./gap-events.ts";
import { mergeChildren, streamOfAggregate } from "./merge-children.ts";
import type { PipelineOptions } from "./pipeline.ts";
import { parkedChanges } from "./quarantine-release.ts";
import { isStageFull } from "./stage-size.ts";
import { writerOf, type Run } from "./start.ts";
import { StatusBoard } from "./status-board.ts";
import { VersionTable } from "./version-table.ts";
import {
  compileMapping,
  plannedTables,
  type Mapping,
  type StreamPlan,
} from "../mapping/compile.ts";
import { EventBuffer } from "../mapping/event-buffer.ts";
import { idPrefix } from "../mapping/event-id.ts";
import type { TableMapper } from "../mapping/table-mapper.ts";
import { BanyanError } from "../model/errors.ts";
import type { Position } from "../model/position.ts";
import { failpoint } from "../runtime/failpoint.ts";
import type { BaselineSnapshot } from "../source/change-source.ts";
import type { EventStore, NewImage } from "../store/event-store.ts";

export interface RebaselineResult {
  readonly from: Position;
  readonly to: Position;
  /** Aggregates that are there, and those that are gone. */
  readonly restated: number;
  readonly gone: number;
  /** Aggregates left as their events have them, because the new service decides over them. */
  readonly moved: number;
}

/**
 * Begins the log anew after the place in it was lost, in the same history: every aggregate gets an event
 * that says so and holds its rows as of one exact point, where the log is read on. Aggregates that the
 * source no longer has get one that says that. Those over which the new service decides are left as their
 * events have them: what it decided may not be in their rows.
 *
 * One store transaction: killed anywhere, nothing is written, and it is run again.
 *
 * @param isWanted asked once it is known what will be done, before anything is changed
 * @param onEvents told now and then how many aggregates have their event by then
 * @throws BanyanError `PIPELINE_UNKNOWN`; `USAGE` when the place in the log is not lost
 */
export async function rebaselinePipeline(
  options: PipelineOptions,
  isWanted: (plan: { readonly from: Position; readonly reason: string }) => Promise<boolean>,
  signal: AbortSignal,
  onEvents: (aggregates: number) => void = () => undefined,
): Promise<RebaselineResult | undefined> {
  const { name, source, store, streams } = options;
  const record = await store.pipeline(name);
  const from = record?.checkpoint;
  if (from === undefined) {
    throw new BanyanError("PIPELINE_UNKNOWN", `pipeline ${name} has no baseline yet`, {
      hint: "Run: banyan run",
    });
  }
  const reason = await source.placeLost(from);
  if (reason === undefined) {
    throw new BanyanError(
      "USAGE",
      "the place in the log is not lost: nothing has to be read anew",
      {
        hint: "Run: banyan run; or name what is to be read anew: banyan rebaseline --stream order-1",
      },
    );
  }
  if (!(await isWanted({ from, reason }))) return undefined;
  const { uri } = await source.identify();
  const capture = await store.openCapture(name, uri);
  const board = new StatusBoard(capture.record);
  const run: Run = {
    ...options,
    uri,
    capture,
    board,
    writer: undefined,
    report: () => options.onProgress?.(board.snapshot()),
  };
  try {
    const plan = { tables: plannedTables(streams), isRestart: true };
    const snapshot = await source.openBaseline(plan, signal);
    try {
      return await restate(run, snapshot, { from, reason, onEvents }, signal);
    } finally {
      await snapshot.close();
    }
  } finally {
    await capture.close();
  }
}

async function restate(
  run: Run,
  snapshot: BaselineSnapshot,
  {
    from,
    reason,
    onEvents,
  }: {
    readonly from: Position;
    readonly reason: string;
    readonly onEvents: (aggregates: number) => void;
  },
  signal: AbortSignal,
): Promise<RebaselineResult> {
  const { store, name, board, capture } = run;
  failpoint("rebaseline-slot-created");
  const mapping = compileMapping(run.streams, snapshot.tables, await store.mappings());
  const writer = writerOf(run, mapping, new Frontiers());
  await writer.learnMoved();
  const version = await writer.mappingVersion();
  mapping.setVersion(version);
  const { position: to } = snapshot;
  const facts: GapFacts = {
    prefix: idPrefix(to.slice(0, 16)),
    context: baselineContext(version),
    from,
    to,
    reason,
    tag: writer.mapper.tag,
  };
  const done = { restated: 0, gone: 0, moved: 0, events: 0 };
  for (const stream of mapping.streams) {
    const before = done.restated + done.gone;
    const onStage = ({ restated, gone }: Restating): void => onEvents(before + restated + gone);
    const writing = new Restating(stream, mapping, snapshot, { writer, store, facts, onStage });
    await writing.write(signal);
    done.restated += writing.restated;
    done.gone += writing.gone;
    done.moved += writing.moved;
    done.events += writing.events;
    run.report();
  }
  const rewritten = await snapshot.rewritten();
  if (rewritten.length > 0) {
    throw new BanyanError(
      "SOURCE_NOT_READY",
      `truncated or rewritten while they were read: ${rewritten.join(", ")}`,
      { hint: "Run the command again: nothing was kept." },
    );
  }
  await giveUpParked(store, name, writer);
  writer.addToLedger({ events: done.events });
  failpoint("rebaseline-before-commit");
  const roles = mapping.streams.flatMap((stream) => stream.roles);
  const baselines = (capture.record.baselines ?? []).map((one) => ({
    ...one,
    chunks: [],
    done: true,
  }));
  board.enter("stopped");
  const tables = capturedAt(roles, to);
  const progress = { phase: "stopped", checkpoint: to, tables, baselines } as const;
  await writer.commit(progress, () => undefined);
  await writer.settle();
  const { restated, gone, moved } = done;
  return { from, to, restated, gone, moved };
}

/** What waited in quarantine lies before the gap: the rows that follow hold what came of it. */
async function giveUpParked(store: EventStore, pipeline: string, writer: EventWriter) {
  for (const { stream } of await store.quarantine.streams(pipeline)) {
    if (writer.isMoved(stream)) continue;
    for await (const records of parkedChanges(store, pipeline, stream)) {
      const skipped = records.map(({ id }) => id);
      await writer.stageVersioned(new EventBuffer(), [], [], { skipped });
    }
  }
}

interface RestatingTo {
  readonly writer: EventWriter;
  readonly store: EventStore;
  readonly facts: GapFacts;
  readonly onStage: (restating: Restating) => void;
}

/** The aggregates of one stream type, restated. */
class Restating {
  readonly #stream: StreamPlan;
  readonly #snapshot: BaselineSnapshot;
  readonly #mappers: readonly TableMapper[];
  readonly #to: RestatingTo;
  /** Where streams stand; those that are met again below zero. */
  readonly #versions = new VersionTable();
  #buffer = new EventBuffer();
  #images: NewImage[] = [];
  restated = 0;
  gone = 0;
  moved = 0;
  events = 0;

  constructor(stream: StreamPlan, mapping: Mapping, snapshot: BaselineSnapshot, to: RestatingTo) {
    this.#stream = stream;
    this.#snapshot = snapshot;
    this.#to = to;
    this.#mappers = stream.roles.map(({ tableRef }) =>
      mapping.mapperOf(mapping.shapeOf(tableRef.name)!)!,
    );
  }

  async write(signal: AbortSignal): Promise<void> {
    const { store } = this.#to;
    const { type } = this.#stream;
    for await (const events of store.readStreamType(type, signal)) {
      for (const { stream, version } of events) this.#versions.set(stream, version);
    }
    for await (const group of mergeChildren(this.#snapshot, this.#mappers, signal)) {
      for (const aggregate of group) {
        const stream = streamOfAggregate(this.#mappers, aggregate);
        if (this.#isLeft(stream)) {
          if (!aggregate.continues) this.moved += 1;
        } else {
          if (!aggregate.continues) this.restated += 1;
          this.#push(stream, aggregate);
        }
        keepImages(this.#images, this.#mappers, aggregate);
        await this.#stageIfFull();
      }
    }
    // Those that are left are gone; what a service alone has written is not ours to end.
    let last: { stream: string; isCaptured: boolean } | undefined;
    const end = async (): Promise<void> => {
      if (last?.isCaptured !== true || (this.#versions.get(last.stream) ?? -1) < 0) return;
      if (this.#isLeft(last.stream)) return;
      this.gone += 1;
      this.#push(last.stream, undefined);
      await this.#stageIfFull();
    };
    for await (const events of store.readStreamType(type, signal)) {
      for (const { stream, mappingVersion } of events) {
        if (stream !== last?.stream) {
          await end();
          last = { stream, isCaptured: false };
        }
        if (mappingVersion !== undefined) last.isCaptured = true;
      }
    }
    await end();
    await this.#stage();
  }

  #push(stream: string, aggregate: Parameters<typeof pushGap>[4]): void {
    const { facts } = this.#to;
    const index = pushGap(
      this.#buffer,
      this.#stream,
      this.#mappers,
      stream,
      aggregate,
      this.events,
      facts,
    );
    const version = Math.abs(this.#versions.get(stream) ?? 0) + 1;
    this.#buffer.versions[index] = version;
    this.#versions.set(stream, -version);
    this.events += 1;
  }

  /** One that the store does not know yet is legacy's to have made. */
  #isLeft(stream: string): boolean {
    return this.#to.writer.isMoved(stream) && this.#versions.get(stream) !== undefined;
  }

  async #stageIfFull(): Promise<void> {
    if (isStageFull(this.#buffer, this.#images.length)) await this.#stage();
  }

  async #stage(): Promise<void> {
    const [events, images] = [this.#buffer, this.#images];
    this.#buffer = new EventBuffer();
    this.#images = [];
    if (events.length + images.length > 0) await this.#to.writer.stageBaseline(events, { images });
    this.#to.onStage(this);
  }
}
