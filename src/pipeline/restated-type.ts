import { keepImages } from "./baseline-events.ts";
import type { EventWriter } from "./event-writer.ts";
import { pushGap, wholeTypeOrdinal, type GapFacts } from "./gap-events.ts";
import { mergeChildren, streamOfAggregate } from "./merge-children.ts";
import { isStageFull } from "./stage-size.ts";
import { VersionTable } from "./version-table.ts";
import type { Mapping } from "../mapping/compile.ts";
import type { StreamPlan } from "../mapping/stream-plan.ts";
import { EventBuffer } from "../mapping/event-buffer.ts";
import type { TableMapper } from "../mapping/table-mapper.ts";
import type { BaselineSnapshot } from "../source/change-source.ts";
import { eachStream } from "../store/each-stream.ts";
import type { EventStore, NewImage } from "../store/event-store.ts";

interface RestatedTypeOptions {
  readonly writer: EventWriter;
  readonly store: EventStore;
  readonly facts: GapFacts;
  readonly onStage: (done: RestatedType) => void;
}

/** The aggregates of one stream type, each with an event that holds its rows as of one snapshot of all. */
export class RestatedType {
  readonly #stream: StreamPlan;
  readonly #snapshot: BaselineSnapshot;
  readonly #mappers: readonly TableMapper[];
  readonly #to: RestatedTypeOptions;
  /** Where streams stand; those that are met again below zero. */
  readonly #versions = new VersionTable();
  #buffer = new EventBuffer();
  #images: NewImage[] = [];
  restated = 0;
  gone = 0;
  moved = 0;
  events = 0;

  constructor(
    stream: StreamPlan,
    mapping: Mapping,
    snapshot: BaselineSnapshot,
    to: RestatedTypeOptions,
  ) {
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
    for await (const page of eachStream(store, type, signal)) {
      for (const { stream, isCaptured } of page) {
        const wasMet = (this.#versions.get(stream) ?? -1) < 0;
        if (!isCaptured || wasMet || this.#isLeft(stream)) continue;
        this.gone += 1;
        this.#push(stream, undefined);
        await this.#stageIfFull();
      }
    }
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
      wholeTypeOrdinal(this.events),
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
