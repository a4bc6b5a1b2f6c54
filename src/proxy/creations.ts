import { AwaitedStreams } from "./awaited-streams.ts";
import { createdIdOf, type CreatedAnswer } from "./created-answer.ts";
import type { Decision } from "./decide.ts";
import type { RouteSettings } from "./settings.ts";
import { streamId } from "../mapping/stream-id.ts";
import { bucketOf } from "../rollout/bucket.ts";
import type { RolloutState } from "../rollout/rollout-state.ts";
import type { RolloutWatch } from "../rollout/rollout-watch.ts";
import type { Rollout } from "../rollout/stage.ts";

/** Settles when an answer that was looked at may go on. Told nothing when it is too long to be looked at. */
export type Look = (answer: CreatedAnswer | undefined) => Promise<void>;

/** What came of answers to creations that were looked at. */
export interface CreationCounts {
  /** Held back until the stream was in the store. */
  readonly seen: number;
  /** Passed on although it was not, because there was no more time or too many waited. */
  readonly late: number;
  /** Passed on because the id of what was made could not be read. */
  readonly unread: number;
}

/**
 * Answers of legacy to creations. Legacy gives any id, and may give one whose aggregate has moved: the
 * client's next request would meet it at new before capture has brought it there. So the answer waits until
 * the stream is in the store.
 */
export class Creations {
  readonly #watch: Pick<RolloutWatch, "known">;
  readonly #awaited: AwaitedStreams;
  readonly #counts = { seen: 0, late: 0, unread: 0 };

  /** @param awaitedMsMax for tests */
  constructor(
    state: Pick<RolloutState, "existing">,
    watch: Pick<RolloutWatch, "known">,
    awaitedMsMax?: number,
  ) {
    this.#watch = watch;
    this.#awaited = new AwaitedStreams(state, awaitedMsMax);
  }

  get counts(): CreationCounts {
    return this.#counts;
  }

  /** Answers that are held back now. */
  get waiting(): number {
    return this.#awaited.count;
  }

  /** Whether the answer to this request has to be looked at, once its status is there. */
  lookAt({ side, route: match }: Decision): ((status: number) => Look | undefined) | undefined {
    const route = match?.route;
    if (side !== "legacy" || route?.kind !== "create" || route.created === undefined)
      return undefined;
    return (status) => {
      const rollout = this.#watch.known.get(route.stream);
      const isMade = status >= 200 && status < 300;
      if (!isMade || rollout === undefined || !mayHaveMoved(rollout)) return undefined;
      return (answer) => this.#look(answer, route);
    };
  }

  async #look(answer: CreatedAnswer | undefined, route: RouteSettings): Promise<void> {
    const id = answer && createdIdOf(answer, route.created!, route.idForm);
    if (typeof id !== "string") {
      this.#counts.unread++;
      return;
    }
    const rollout = this.#watch.known.get(route.stream)!;
    if (!hasMoved(rollout, bucketOf(id, rollout.salt))) return;
    if (await this.#awaited.wait(streamId(route.stream, id))) this.#counts.seen++;
    else this.#counts.late++;
  }
}

function mayHaveMoved({ stage, hold }: Rollout): boolean {
  return hold !== undefined || (stage !== "legacy" && stage !== "shadow");
}

/** Or is about to: what is made during a hold may be behind the position up to which all is brought over. */
function hasMoved({ stage, share, hold }: Rollout, bucket: number): boolean {
  if (hold !== undefined && bucket >= hold.from && bucket < hold.to) return true;
  if (stage === "canary") return bucket < share;
  return stage === "new" || stage === "complete";
}
