/** What a person decided when asked; kept in the drafted file, so that the next draft goes by it. */
export interface DraftAnswers {
  /** Roots of the aggregates to draft; all that are worth it when absent. */
  readonly aggregates?: readonly string[];
  /** Table → the table that owns it; a table that owns itself is a root. */
  readonly owners?: Readonly<Record<string, string>>;
  /** Rule → name of its event, no two alike; see `DraftedRule.id`. */
  readonly events?: Readonly<Record<string, string>>;
}
