/** An aggregate as its events tell it. */
export interface Loaded<State> {
  /** The root's key; of a key of several columns the text that follows the type in the stream's name. */
  readonly id: string;
  /** Of its last event; 0 when there is none. */
  readonly version: number;
  /** Undefined when the root row is not there: it never was, or is gone. */
  readonly state: State | undefined;
}

/** What a command led to. */
export interface Decided<State> extends Loaded<State> {
  /**
   * `stored`: its events are in the store. `repeated`: they were before, and nothing was decided.
   * `unchanged`: the decision was that nothing happens. `proposed`: in shadow, nothing was stored.
   */
  readonly outcome: "stored" | "repeated" | "unchanged" | "proposed";
  /** Completed, in order; none when repeated. */
  readonly events: readonly {
    readonly type: string;
    readonly data: Readonly<Record<string, unknown>>;
  }[];
}
