import { bucketOf } from "./bucket.ts";
import type { EventMarks } from "./event-marks.ts";
import { movingBuckets } from "./move.ts";
import type { Move } from "./rollout-store.ts";
import { hashesOf } from "../verify/comparison.ts";
import type { ParityReport } from "../verify/parity-report.ts";
import {
  discoverTables,
  openComparison,
  quarantinedStreams,
  unfinishedNow,
  waitForFence,
  type VerifyOptions,
} from "../verify/prepare.ts";
import type { Position } from "../model/position.ts";
import { keyTextOf, streamTypeOf } from "../mapping/stream-id.ts";
import { count } from "../model/count-text.ts";

/** Aggregates that are compared within a hold at most, and ahead of it. */
const STREAMS_HELD_MAX = 20_000;
const STREAMS_AHEAD_MAX = 200_000;
/** Transactions that were open when the verification began; and clocks that are not quite the same. */
const REPORT_MARGIN_MS = 60_000;

/**
 * Compares the moving aggregates of one move. What the last verification found equal, and what had no event
 * since, is equal; so ahead of the hold those are compared that had one since that verification, and within
 * the hold only those that had one since the look ahead of it.
 */
export class MovingParity {
  readonly #options: VerifyOptions;
  readonly #marks: EventMarks;
  readonly #salt: string;
  #since: string | undefined;

  /** @param salt of the rollout */
  constructor(options: VerifyOptions, marks: EventMarks, salt: string) {
    this.#options = options;
    this.#marks = marks;
    this.#salt = salt;
  }

  /** The look ahead of the hold, and a capture that is behind is waited for. @returns why the aggregates cannot move */
  async prepare(move: Move, signal: AbortSignal): Promise<string | undefined> {
    const { store, pipeline, source } = this.#options;
    const saved = await store.parity.report(pipeline);
    if (saved === undefined) return "nothing was verified yet; run: banyan verify";
    const { startedAt, finishedAt } = saved.report as ParityReport;
    // What it was saved at is by the store's clock, as the time of events: nothing ends after it is kept.
    const aheadMs = Math.max(0, Date.parse(finishedAt) - Date.parse(saved.savedAt));
    const time = new Date(Date.parse(startedAt) - aheadMs - REPORT_MARGIN_MS).toISOString();
    const place = await this.#marks.eventsSeen();
    const problem = await this.#look(move, { time }, STREAMS_AHEAD_MAX, signal);
    if (problem !== undefined) return problem;
    this.#since = place;
    // Within the hold it is waited for too: then it is abreast, and writes are held for no backlog.
    return await this.#awaitCapture(await source.fence(), signal);
  }

  /** The look within the hold. @returns why they are not equal, or could not be compared */
  async compare(move: Move, signal: AbortSignal): Promise<string | undefined> {
    if (this.#since === undefined) return "nothing was compared ahead of the hold";
    return await this.#look(move, { place: this.#since }, STREAMS_HELD_MAX, signal);
  }

  async #look(
    move: Move,
    since: Parameters<EventMarks["changedSince"]>[1],
    streamsMax: number,
    signal: AbortSignal,
  ): Promise<string | undefined> {
    const { store, pipeline } = this.#options;
    // What has yet to be read anew has no event since, and is not equal for that.
    const unfinished = await unfinishedNow(this.#options);
    if (unfinished !== undefined) return unfinished;
    const changed = await this.#marks.changedSince(move.type, since, streamsMax);
    if (changed === undefined) {
      return `more than ${count(streamsMax)} aggregates changed since the last verification; run banyan verify right before`;
    }
    const found = await store.parity.findings(pipeline);
    const open = found.map(({ stream }) => stream).filter((id) => streamTypeOf(id) === move.type);
    const wanted = [...new Set([...changed, ...open])].filter((id) => this.#moves(move, id));
    return wanted.length === 0 ? undefined : await this.#compareStreams(move.type, wanted, signal);
  }

  async #compareStreams(
    type: string,
    streams: readonly string[],
    signal: AbortSignal,
  ): Promise<string | undefined> {
    const { tables } = await discoverTables(this.#options);
    const { snapshot, comparison, mapping } = await openComparison(this.#options, tables, signal);
    try {
      const late = await this.#awaitCapture(snapshot.fence, signal);
      if (late !== undefined) return late;
      const plan = mapping.stream(type);
      if (plan === undefined) return `the config has no stream ${type}`;
      const hashes = hashesOf(mapping, plan, snapshot.tables);
      const quarantined = await quarantinedStreams(this.#options);
      const compared = await comparison.compareStreams(hashes, streams, quarantined, signal);
      const unfinished = await unfinishedNow(this.#options);
      if (unfinished !== undefined) return unfinished;
      const rewritten = await snapshot.rewritten();
      if (rewritten.length > 0) return `rewritten while they were read: ${rewritten.join(", ")}`;
      const [first, ...others] = comparison.differences;
      if (first !== undefined) {
        const more = others.length === 0 ? "" : `, and ${count(others.length)} more`;
        return `${first.stream} differs (${first.verdict} in ${first.table})${more}; run: banyan verify`;
      }
      const left = streams.length - compared.length;
      return left === 0
        ? undefined
        : `${count(left)} of the moving aggregates could not be compared`;
    } finally {
      await snapshot.close();
    }
  }

  /** @returns why the capture has not passed the fence */
  async #awaitCapture(fence: Position, signal: AbortSignal): Promise<string | undefined> {
    const late = await waitForFence(this.#options, fence, signal);
    return late === undefined ? undefined : `${late}; is banyan run running?`;
  }

  #moves({ from, to }: Move, stream: string): boolean {
    const range = movingBuckets(from, to);
    const bucket = bucketOf(keyTextOf(stream), this.#salt);
    return range !== undefined && bucket >= range.from && bucket < range.to;
  }
}
