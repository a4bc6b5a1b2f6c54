/** A value in its JSON form. */
export type Value = string | number | boolean | null;

/** One event of a drafted mapping: when it fires, what it holds, and why it was proposed. */
export interface DraftedRule {
  /** Stays the same as long as the column and value it is about, whatever the event is called. */
  readonly id: string;
  readonly event: string;
  readonly on: "insert" | "update" | "delete";
  readonly table: string;
  /** Conditions on columns: it becomes this value, or changes whatever to. */
  readonly when: readonly { readonly column: string; readonly becomes?: Value }[];
  /** At least one of these changes. In place of `when`. */
  readonly anyOf: readonly string[];
  readonly data: readonly string[];
  /** Tables of the children whose rows an insert takes with it. */
  readonly with: readonly string[];
  /** Fires only when this column is filled after the change. */
  readonly filled: string | undefined;
  /** A sentence for a person. */
  readonly why: string;
  /** What the rule itself does not say; stands above it in the file. */
  readonly note?: string;
}

/** A rule before its event has a name that no other has. */
export interface RuleSketch extends Omit<
  DraftedRule,
  "event" | "table" | "anyOf" | "data" | "with" | "filled"
> {
  /** Ends of the event's name behind its noun, the best first. */
  readonly phrases: readonly [string, ...string[]];
  readonly anyOf?: readonly string[];
  readonly data?: readonly string[];
  readonly with?: readonly string[];
  readonly filled?: string;
}
