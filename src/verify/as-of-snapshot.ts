import { streamTypeOf } from "../mapping/stream-id.ts";
import { isBefore } from "../model/position.ts";
import type { ParitySnapshot } from "../source/change-source.ts";
import type { FoldEvent } from "../store/event-store.ts";

/** Streams and transactions of which it is remembered what the snapshot has of them. */
const REMEMBERED_MAX = 10_000;
const LATE_MAX = 10_000;

type Seen = Pick<ParitySnapshot, "sees" | "applied" | "begin">;

/**
 * Which events are in the rows of a snapshot: captured ones of the transactions that it sees, what a
 * service decided as far as the rows were brought to it, and rows as they were read before.
 *
 * Rows that were read after the snapshot was taken may hold what it does not see, and what was told
 * before they took the place of may be gone from the log: of such a stream nothing can be told.
 */
export class AsOfSnapshot {
  readonly #snapshot: Seen;
  readonly #seen = new Map<string, boolean>();
  #applied = new Map<string, number>();
  /** Streams of which something decided is not in the rows yet, and will be. */
  readonly late = new Set<string>();
  /** Streams with captured events of transactions that the snapshot does not see. */
  readonly unseen = new Set<string>();
  /** Streams that were read anew since the snapshot was taken, of those whose events were asked for. */
  readonly untold = new Set<string>();
  readonly #completed: ReadonlySet<string>;

  /** @param completed stream types of which nothing is written back any more */
  constructor(snapshot: Seen, completed: ReadonlySet<string> = new Set()) {
    this.#snapshot = snapshot;
    this.#completed = completed;
  }

  /** The same pages; {@link includes} may be asked of their events. Of one iteration at a time. */
  async *ready(
    pages: AsyncIterable<readonly FoldEvent[]>,
  ): AsyncGenerator<readonly FoldEvent[], void, void> {
    for await (const page of pages) {
      const wanted = new Set<string>();
      for (const event of page) if (isDecided(event)) wanted.add(event.stream);
      if (wanted.size > 0) await this.#learn(wanted);
      yield page;
    }
  }

  includes(event: FoldEvent): boolean {
    if (!isFoldable(event)) return false;
    if (isDecided(event)) {
      const isApplied = event.version <= this.#applied.get(event.stream)!;
      if (
        !isApplied &&
        this.late.size < LATE_MAX &&
        !this.#completed.has(streamTypeOf(event.stream))
      )
        this.late.add(event.stream);
      return isApplied;
    }
    const { sourceTransaction, readAt } = event;
    if (readAt !== undefined) {
      const isTold = isBefore(readAt, this.#snapshot.begin);
      if (!isTold) this.untold.add(event.stream);
      // Where it begins anew, it is of no matter what was read before, perhaps of another server.
      else if (event.data["$gap"] !== undefined && event.data["$continues"] !== true)
        this.untold.delete(event.stream);
      return isTold;
    }
    if (sourceTransaction === undefined) return true;
    let visible = this.#seen.get(sourceTransaction);
    if (visible === undefined) {
      visible = this.#snapshot.sees(sourceTransaction);
      if (this.#seen.size > REMEMBERED_MAX) this.#seen.clear();
      this.#seen.set(sourceTransaction, visible);
    }
    if (!visible && this.unseen.size < LATE_MAX) this.unseen.add(event.stream);
    return visible;
  }

  async #learn(wanted: ReadonlySet<string>): Promise<void> {
    if (this.#applied.size > REMEMBERED_MAX) this.#applied = new Map();
    const unknown = [...wanted].filter((stream) => !this.#applied.has(stream));
    if (unknown.length === 0) return;
    const found = await this.#snapshot.applied(unknown);
    for (const stream of unknown) this.#applied.set(stream, found.get(stream) ?? 0);
  }
}

/** An event that a service appended without the shapes of a mapping means something to that service only. */
export function isFoldable({ mappingVersion }: FoldEvent): boolean {
  return mappingVersion !== undefined;
}

/** Whether somebody else than legacy decided it, so that the rows have it only once it is written back. */
export function isDecided({ origin }: FoldEvent): boolean {
  return origin === "native" || origin === "import";
}
