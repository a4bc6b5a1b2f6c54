import type { ServerResponse } from "node:http";

/** Requests that wait at once; further ones are refused. */
const HELD_MAX = 2_000;
/** A request that waits longer is refused. A hold is far shorter, unless one follows the other. */
const HELD_MS_MAX = 20_000;
/** While an upstream has no room for those that waited, it is looked at this often. */
const ROOM_MS = 2;

/** How a wait ends: the request is to be decided anew, or refused, or nobody waits for its answer any more. */
export type Released = "decide" | "held-too-long" | "too-many-held" | "gone";

export interface HeldRequestsOptions {
  /** Whether the upstreams take another request that has waited. All at once would be more than they take. */
  readonly hasRoom: () => boolean;
  /** For tests. */
  readonly heldMax?: number;
  /** For tests. */
  readonly heldMsMax?: number;
}

interface Waiting {
  readonly type: string;
  readonly release: (how: Released) => void;
}

/** Requests that wait because a move of their stream type is under way, in the order in which they came. */
export class HeldRequests {
  readonly #options: HeldRequestsOptions;
  readonly #waiting = new Set<Waiting>();
  /** Their hold is gone, and they are due. */
  readonly #due = new Set<Waiting>();
  #pump: NodeJS.Timeout | undefined;
  #total = 0;
  #longestMs = 0;

  constructor(options: HeldRequestsOptions) {
    this.#options = options;
  }

  /** That wait now. */
  get count(): number {
    return this.#waiting.size + this.#due.size;
  }

  /** That have waited, with those that do. */
  get total(): number {
    return this.#total;
  }

  /** Longest wait of one that has ended. */
  get longestMs(): number {
    return this.#longestMs;
  }

  /**
   * Waits until something has changed for the stream type.
   *
   * @param heldMs for how long it has waited already: one that is held again waits no longer for that
   * @param then called once, never before this returns
   */
  wait(
    response: ServerResponse,
    type: string,
    heldMs: number | undefined,
    then: (how: Released) => void,
  ): void {
    const { heldMax = HELD_MAX, heldMsMax = HELD_MS_MAX } = this.#options;
    if (response.destroyed) return void setImmediate(then, "gone");
    if (this.count >= heldMax) return void setImmediate(then, "too-many-held");
    if (heldMs === undefined) this.#total++;
    const sinceMs = performance.now() - (heldMs ?? 0);
    const leftMs = Math.max(heldMsMax - (heldMs ?? 0), 0);
    const timer = setTimeout(() => release("held-too-long"), leftMs);
    const onClose = (): void => release("gone");
    const release = (how: Released): void => {
      this.#waiting.delete(one);
      this.#due.delete(one);
      clearTimeout(timer);
      response.off("close", onClose);
      this.#longestMs = Math.max(this.#longestMs, performance.now() - sinceMs);
      then(how);
    };
    const one: Waiting = { type, release };
    this.#waiting.add(one);
    response.once("close", onClose);
  }

  /** Something has changed for a stream type: those that wait for it are decided anew, as there is room. */
  changed(type: string): void {
    for (const one of this.#waiting) {
      if (one.type !== type) continue;
      this.#waiting.delete(one);
      this.#due.add(one);
    }
    if (this.#pump === undefined) this.#release();
  }

  #release(): void {
    this.#pump = undefined;
    for (const one of this.#due) {
      if (!this.#options.hasRoom()) {
        this.#pump = setTimeout(() => this.#release(), ROOM_MS);
        return;
      }
      this.#due.delete(one);
      one.release("decide");
    }
  }
}
