import { isDeepStrictEqual } from "node:util";
import type { ClientState, JudgeReport, ReadDifference } from "./judge-messages.ts";
import type { ReadJudge } from "./read-judge.ts";
import type { ReadQueue } from "./read-queue.ts";
import type { ShadowClient } from "./shadow-client.ts";
import { SAMPLES_PER_ROUTE_MAX } from "../rollout/shadow-log.ts";
import type { ShadowOutcome } from "../rollout/shadow-counts.ts";
import type { Side } from "../rollout/stage.ts";

/** While reads are under way, so often at most, */
const REPORT_MS = 25;
/** and so often at least, as a sign of life. */
const REPORT_MS_MAX = 1_000;

/** Says in batches what came of reads. */
export class JudgeReporter {
  readonly #judge: ReadJudge;
  readonly #clients: Readonly<Record<Side, ShadowClient>>;
  readonly #queues: Readonly<Record<Side, ReadQueue>>;
  readonly #post: (report: JudgeReport) => void;
  #counts = new Map<number, Partial<Record<ShadowOutcome, number>>>();
  /** By the key of their reads: the newest. */
  #differences = new Map<number, ReadDifference[]>();
  #timer: NodeJS.Timeout | undefined;
  #reportedMs = 0;
  #clientsBefore: JudgeReport["clients"] | undefined;

  constructor(
    judge: ReadJudge,
    clients: Readonly<Record<Side, ShadowClient>>,
    queues: Readonly<Record<Side, ReadQueue>>,
    post: (report: JudgeReport) => void,
  ) {
    this.#judge = judge;
    this.#clients = clients;
    this.#queues = queues;
    this.#post = post;
  }

  count(key: number, outcome: ShadowOutcome): void {
    let counts = this.#counts.get(key);
    if (counts === undefined) this.#counts.set(key, (counts = {}));
    counts[outcome] = (counts[outcome] ?? 0) + 1;
  }

  tell(difference: ReadDifference): void {
    const told = this.#differences.get(difference.key);
    if (told === undefined) this.#differences.set(difference.key, [difference]);
    else if (told.push(difference) > SAMPLES_PER_ROUTE_MAX) told.shift();
  }

  /** Something is under way. */
  wake(): void {
    this.#timer ??= setTimeout(() => this.#look(), REPORT_MS);
  }

  close(): void {
    clearTimeout(this.#timer);
    this.#report();
  }

  #look(): void {
    this.#timer = undefined;
    const isNews =
      this.#counts.size > 0 || !isDeepStrictEqual(this.#clientsNow(), this.#clientsBefore);
    if (isNews || performance.now() - this.#reportedMs >= REPORT_MS_MAX) this.#report();
    if (this.#judge.underWay > 0) this.wake();
  }

  #report(): void {
    const outcomes = [...this.#counts].flatMap(([key, counts]) =>
      Object.entries(counts).map(([outcome, times]) => ({
        key,
        outcome: outcome as ShadowOutcome,
        times,
      })),
    );
    const clients = this.#clientsNow();
    const report = {
      outcomes,
      differences: [...this.#differences.values()].flat(),
      noise: this.#judge.takeNoise(),
      clients,
    };
    this.#clientsBefore = clients;
    this.#counts = new Map();
    this.#differences = new Map();
    this.#reportedMs = performance.now();
    this.#post(report);
  }

  #clientsNow(): JudgeReport["clients"] {
    return { legacy: this.#stateOf("legacy"), new: this.#stateOf("new") };
  }

  #stateOf(side: Side): ClientState {
    const { inFlight, waiting, isLeftAlone } = this.#clients[side];
    return { inFlight, waiting: waiting + this.#queues[side].length, breakerOpen: isLeftAlone };
  }
}
