import { VersionTable } from "./version-table.ts";
import type { EventBuffer } from "../mapping/event-buffer.ts";
import { invariant } from "../model/errors.ts";
import type { StreamVersionPage } from "../store/event-store.ts";

/** Current versions of streams in the store, as committed; 0 for one that does not exist. */
type Lookup = (streams: readonly string[]) => Promise<readonly number[]>;

/** Stands for the version of a stream that is being looked up. */
const ASKED = -1;
/** Stands for the version of a stream that somebody else has appended to. */
const FORGOTTEN = -2;

/**
 * Gives events their place in their streams.
 *
 * Remembers where recently written streams stand, in two generations; others are looked up in the
 * store. What is staged but not committed is known only here, so a generation ends with a commit, not
 * before. Safe because a pipeline has one writer, and because the store refuses a version that is taken.
 * A stream that a service has appended to is to be told of before it is written again.
 */
export class StreamVersions {
  readonly #limit: number;
  #young = new VersionTable();
  #old = new VersionTable();
  #isTurnDue = false;
  #turns = 0;
  #isRecalling = false;
  /** Remembered by {@link assignOnce} since the last {@link kept}. */
  #once: string[] = [];

  /** @param limit streams at which a generation ends with the next commit */
  constructor(limit: number) {
    this.#limit = limit;
  }

  /** Streams remembered. */
  get size(): number {
    return this.#young.size + this.#old.size;
  }

  /**
   * Takes over what the store says, beside the assigning of versions. Of a stream that comes again the
   * first version counts, so pages come newest first. Stops asking for more when there is no more room,
   * and when a generation ends: what was told before that may have been overtaken and forgotten.
   *
   * @param pages as of a moment before the first assignment, or later
   */
  async recall(pages: AsyncIterable<StreamVersionPage>): Promise<void> {
    const [old, turns] = [this.#old, this.#turns];
    this.#isRecalling = true;
    try {
      for await (const { streams, versions } of pages) {
        for (let i = 0; i < streams.length; i++) {
          if (this.#turns !== turns || old.size >= 2 * this.#limit) return;
          const stream = streams[i]!;
          // Never into the young ones, among which an assignment has its finger while it waits.
          if (this.#young.get(stream) === undefined) old.setNew(stream, versions[i]!);
        }
      }
    } finally {
      this.#isRecalling = false;
    }
  }

  /**
   * Notes that somebody else has appended the event of this version, and looks the stream up the next
   * time, unless what is remembered is behind it already. Of such a stream nothing is staged: what a
   * service builds on is committed.
   */
  overtaken(stream: string, version: number): void {
    const remembered = known(this.#young.get(stream) ?? this.#old.get(stream));
    if (remembered === undefined || remembered < version) this.#young.set(stream, FORGOTTEN);
  }

  /** Fills in the versions of all events. */
  async assign(events: EventBuffer, lookup: Lookup): Promise<void> {
    this.#turn();
    await number(events, this.#young, (stream) => known(this.#old.get(stream)), lookup);
  }

  /**
   * The same for streams that come together: all events of a stream until the next commit are here, or
   * go on in the next call. They need not be remembered, so that one commit may have any number of them;
   * but they are while {@link recall} may still tell where they stood before.
   *
   * To be followed by {@link kept} or {@link dropped}.
   */
  async assignOnce(events: EventBuffer, lookup: Lookup): Promise<void> {
    const remembered = (stream: string): number | undefined =>
      known(this.#young.get(stream) ?? this.#old.get(stream));
    await number(events, new VersionTable(), remembered, lookup);
    const { streams, versions, length } = events;
    for (let i = 0; i < length; i++) {
      const goesOn = i === length - 1 || this.#isRecalling;
      if (!goesOn && remembered(streams[i]!) === undefined) continue;
      this.#young.set(streams[i]!, versions[i]!);
      this.#once.push(streams[i]!);
    }
  }

  /** What was assigned is about to be committed. */
  kept(): void {
    this.#once = [];
  }

  /** What {@link assignOnce} has assigned since is not going to be committed: it is looked up again. */
  dropped(): void {
    for (const stream of this.#once) this.#young.set(stream, FORGOTTEN);
    this.#once = [];
  }

  /** Notes that all that was staged before the last commit began is durable by now. */
  committed(): void {
    this.#isTurnDue = this.#young.size >= this.#limit;
  }

  /** Not in {@link committed}, which may come while versions are looked up: those at hand would be lost. */
  #turn(): void {
    if (!this.#isTurnDue) return;
    this.#isTurnDue = false;
    this.#turns += 1;
    const room = this.#old;
    room.clear();
    this.#old = this.#young;
    this.#young = room;
  }
}

function known(version: number | undefined): number | undefined {
  return version === FORGOTTEN ? undefined : version;
}

/** Numbers the events on from `at`, into which streams that it lacks are taken: as remembered, else looked up. */
async function number(
  { streams, versions, length }: EventBuffer,
  at: VersionTable,
  remembered: (stream: string) => number | undefined,
  lookup: Lookup,
): Promise<void> {
  at.reserve(length);
  const slots = new Int32Array(length);
  const asked: string[] = [];
  for (let i = 0; i < length; i++) {
    const stream = streams[i]!;
    const slot = at.slotOf(stream);
    slots[i] = slot;
    const is = at.versionAt(slot);
    if (is !== 0 && is !== FORGOTTEN) continue;
    const version = is === FORGOTTEN ? undefined : remembered(stream);
    if (version === undefined) asked.push(stream);
    at.setAt(slot, version ?? ASKED);
  }
  // The first event of a stream that was looked up, in the order in which they were asked for.
  const found = (asked.length === 0 ? [] : await lookup(asked)).values();
  for (let i = 0; i < length; i++) {
    const slot = slots[i]!;
    let version: number | undefined = at.versionAt(slot);
    if (version === ASKED) version = found.next().value;
    invariant(version !== undefined && version >= 0, "every stream asked for has a version");
    version += 1;
    at.setAt(slot, version);
    versions[i] = version;
  }
}
