import { streamTypeOf } from "../mapping/stream-id.ts";
import { count } from "../model/count-text.ts";
import type { StreamChanges } from "../store/parity-store.ts";
import type { Comparison } from "./comparison.ts";
import type { VerifyOptions } from "./prepare.ts";

/** Aggregates with new events that are remembered for the next look; what is beyond is left to the sweep. */
const STREAMS_PER_CHECK_MAX = 5_000;
/** Beside them, those with decisions that are not in the rows yet. */
const LATE_PER_CHECK_MAX = 5_000;

type Compared = Pick<Comparison, "late" | "unseen" | "untold">;

/**
 * Streams to look at between two sweeps: those that had events, those whose rows have yet to get what a
 * service decided, and those that were left out because they waited in quarantine.
 *
 * They are taken for a look and given back where it did not come to an end.
 */
export class ChangedStreams {
  #changed = new Set<string>();
  /** Once they are written back their rows change, and no event comes that would tell. */
  #late = new Set<string>();
  #quarantined = new Set<string>();
  #skipped = 0;
  #lateSkipped = 0;
  #place: string | undefined;
  /** A fence that was passed, of which not all events may have been shown by then. */
  #passed: { readonly at: string; readonly end: string } | undefined;
  #isSwept = false;

  /** Streams that had events and are left to the next sweep. */
  get skipped(): number {
    return this.#skipped;
  }

  get reasons(): readonly string[] {
    return [
      ...left(this.#skipped, "changed aggregates are left to the next sweep"),
      ...left(
        this.#lateSkipped,
        "aggregates whose decisions are not written back yet are left to the next sweep",
      ),
    ];
  }

  /** Whether anything is to be looked at. */
  get isEmpty(): boolean {
    return this.#changed.size === 0 && this.#late.size === 0;
  }

  /** Whether a fence that was passed could be told of now, by one more look. */
  get hasPassed(): boolean {
    return (
      this.#passed !== undefined &&
      this.#place !== undefined &&
      BigInt(this.#place) >= BigInt(this.#passed.end)
    );
  }

  /** Asks what had events since it was asked last. What is complete changes for its service alone. */
  async collect({ store, pipeline, streams }: VerifyOptions): Promise<StreamChanges> {
    const completed = await store.reverse.completed(pipeline);
    const types = Object.keys(streams).filter((type) => !completed.has(type));
    const found = await store.parity.changedSince(types, this.#place, STREAMS_PER_CHECK_MAX);
    this.#place = found.place;
    this.#skipped += found.total - found.streams.length;
    this.#add(found.streams);
    for (const stream of this.#late)
      if (completed.has(streamTypeOf(stream))) this.#late.delete(stream);
    return found;
  }

  /** For one look, by stream type. What is collected from then on is for the next. */
  take(): TakenStreams {
    const taken = { changed: this.#changed, late: this.#late, quarantined: this.#quarantined };
    this.#changed = new Set();
    this.#late = new Set();
    this.#quarantined = new Set();
    return { ...taken, place: this.#place! };
  }

  /** The look has come to no end. */
  giveBack({ changed, late, quarantined }: TakenStreams): void {
    this.#changed = new Set([...changed, ...this.#changed]);
    this.#late = late;
    this.#quarantined = quarantined;
  }

  /** What was taken was looked at. @param quarantined streams that were left out */
  looked({ late, unseen, untold }: Compared, quarantined: ReadonlySet<string>): void {
    this.#add(unseen);
    this.#add(untold);
    const all = [...late];
    this.#late = new Set(all.slice(0, LATE_PER_CHECK_MAX));
    this.#lateSkipped += Math.max(0, all.length - LATE_PER_CHECK_MAX);
    this.#quarantined = new Set(quarantined);
  }

  /** Everything was looked at. */
  swept(compared: Compared, quarantined: ReadonlySet<string>): void {
    this.#isSwept = true;
    this.#skipped = 0;
    this.#lateSkipped = 0;
    this.looked(compared, quarantined);
  }

  /**
   * As of when all that had events was looked at, now that what was taken was.
   *
   * A fence tells that all events of before are stored, which is not to say shown: transactions of the store
   * that are still open may come before them. Where they were all shown and there were none, it is as of this
   * look's own fence; else as of an earlier one.
   *
   * @param fencedAt before this look's fence was written
   * @param since what was collected once it was passed
   * @returns ISO 8601; undefined when it is not known
   */
  passed(
    { place }: TakenStreams,
    fencedAt: string,
    { total, ...since }: StreamChanges,
  ): string | undefined {
    const mark = { at: fencedAt, end: since.end };
    if (!this.#isSwept) return undefined;
    if (total === 0 && BigInt(since.place) >= BigInt(since.end)) {
      this.#passed = undefined;
      return fencedAt;
    }
    const earlier = this.#passed;
    if (earlier === undefined || BigInt(place) < BigInt(earlier.end)) {
      this.#passed ??= mark;
      return undefined;
    }
    // Where nothing changes one is enough, until the next look that is wanted for something else.
    this.#passed = total === 0 ? undefined : mark;
    return earlier.at;
  }

  #add(streams: Iterable<string>): void {
    for (const stream of streams) {
      if (this.#changed.has(stream)) continue;
      if (this.#changed.size >= STREAMS_PER_CHECK_MAX) this.#skipped += 1;
      else this.#changed.add(stream);
    }
  }
}

export interface TakenStreams {
  readonly changed: Set<string>;
  readonly late: Set<string>;
  /** Left out of the look before. */
  readonly quarantined: Set<string>;
  /** Up to where events were collected. */
  readonly place: string;
}

function left(streams: number, what: string): readonly string[] {
  return streams === 0 ? [] : [`${count(streams)} ${what}`];
}
