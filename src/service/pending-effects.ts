import { BanyanError } from "../model/errors.ts";

export type Effect = () => void | Promise<void>;

/** Effects of one request that wait for its events to be stored. */
export class PendingEffects {
  readonly #isLive: boolean;
  #waiting: Effect[] = [];
  #phase: "before" | "deciding" | "stored" | "not-stored" = "before";

  constructor(isLive: boolean) {
    this.#isLive = isLive;
  }

  async add(effect: Effect): Promise<void> {
    if (!this.#isLive || this.#phase === "not-stored") return;
    if (this.#phase === "stored") await effect();
    else this.#waiting.push(effect);
  }

  /**
   * What was asked for before belongs to the decision that begins.
   *
   * @returns puts back to that
   * @throws BanyanError `SERVICE_REQUEST_INVALID` while another one of the same request runs
   */
  begin(): () => void {
    if (this.#phase === "deciding") {
      throw new BanyanError("SERVICE_REQUEST_INVALID", "a decision of this request is under way", {
        hint: "Await it before the next one begins: effects of the one would run with the other's events.",
      });
    }
    this.#phase = "deciding";
    const before = [...this.#waiting];
    return () => {
      this.#waiting = [...before];
    };
  }

  async stored(): Promise<void> {
    this.#phase = "stored";
    const effects = this.#waiting;
    this.#waiting = [];
    for (const effect of effects) await effect();
  }

  notStored(): void {
    this.#phase = "not-stored";
    this.#waiting = [];
  }
}
