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

  /** What was asked for before belongs to the decision that begins. @returns puts back to that */
  begin(): () => void {
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
