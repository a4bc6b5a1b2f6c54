import { bucketOf } from "./bucket.ts";
import type { RolloutState } from "./rollout-state.ts";
import { sideOf } from "./side.ts";
import type { Rollout } from "./stage.ts";
import { keyTextOf, streamTypeOf } from "../mapping/stream-id.ts";
import type { Authority } from "../store/authority.ts";
import { pause } from "../runtime/pause.ts";

/** Between two reads. */
const POLL_MS = 100;
/** For so long what is known is taken for true although it cannot be read again. */
const KEEP_MS = 10_000;

/** The authority over aggregates, by where their stream types stand in the rollout. */
export class MovedStreams implements Authority {
  readonly #state: Pick<RolloutState, "read">;
  readonly #known = new Map<string, Rollout>();
  #hasMoved = false;

  constructor(state: Pick<RolloutState, "read">) {
    this.#state = state;
  }

  get hasMoved(): boolean {
    return this.#hasMoved;
  }

  get hasBegun(): boolean {
    return this.#known.size > 0;
  }

  hasMovedOf(streamType: string): boolean {
    const rollout = this.#known.get(streamType);
    return rollout !== undefined && hasMoved(rollout);
  }

  epochOf(streamType: string): number {
    return this.#known.get(streamType)?.epoch ?? 0;
  }

  isMoved(stream: string): boolean {
    if (!this.#hasMoved) return false;
    const rollout = this.#known.get(streamTypeOf(stream));
    if (rollout === undefined || !hasMoved(rollout)) return false;
    const bucket = bucketIn(rollout, stream);
    return sideOf(rollout.stage, rollout.share, bucket, "write") === "new";
  }

  bucketOf(stream: string): number | undefined {
    const rollout = this.#known.get(streamTypeOf(stream));
    return rollout === undefined ? undefined : bucketIn(rollout, stream);
  }

  async refresh(): Promise<void> {
    for (const [type, rollout] of await this.#state.read()) {
      // Reads may overtake each other; the later decision stands.
      if (rollout.epoch >= (this.#known.get(type)?.epoch ?? 0)) this.#known.set(type, rollout);
    }
    this.#hasMoved = [...this.#known.values()].some(hasMoved);
  }

  async run(signal: AbortSignal): Promise<void> {
    let readMs = performance.now();
    while (!signal.aborted) {
      await pause(POLL_MS, signal);
      const startedMs = performance.now();
      try {
        await this.refresh();
        readMs = startedMs;
      } catch (error) {
        if (performance.now() - readMs > KEEP_MS) throw error;
      }
    }
  }
}

function bucketIn({ salt }: Rollout, stream: string): number {
  return bucketOf(keyTextOf(stream), salt);
}

function hasMoved({ stage }: Rollout): boolean {
  return stage !== "legacy" && stage !== "shadow";
}
