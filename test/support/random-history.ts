import fc from "fast-check";
import { ModelDatabase } from "./random-database.ts";
import type { RandomSchema, RandomTable } from "./random-schema.ts";
import { randomStep, type StepOptions } from "./random-steps.ts";
import type { Change, Intent } from "../../src/model/change.ts";
import type { Cells } from "../../src/model/table.ts";

/** What a database did: the rows of its baseline, its transactions, and the rows it has in the end. */
export interface RandomHistory {
  readonly baseline: ReadonlyMap<RandomTable, readonly Cells[]>;
  readonly transactions: readonly ScriptedTransaction[];
  readonly rows: ReadonlyMap<RandomTable, readonly Cells[]>;
}

export interface ScriptedTransaction {
  readonly changes: readonly Change[];
  readonly intent: Intent | undefined;
}

export interface HistoryOptions extends StepOptions {
  readonly transactionsMax?: number;
}

export function randomHistory(
  schema: RandomSchema,
  options: HistoryOptions = {},
): fc.Arbitrary<RandomHistory> {
  const step = randomStep(schema, options);
  const transaction = fc.record({
    steps: fc.array(step, { minLength: 1, maxLength: 8 }),
    actor: fc.option(fc.constantFrom("anna", "bob"), { nil: undefined }),
  });
  return fc
    .record({
      before: fc.array(step, { maxLength: 10 }),
      transactions: fc.array(transaction, { maxLength: options.transactionsMax ?? 6 }),
    })
    .map(({ before, transactions }) => {
      const database = new ModelDatabase(schema);
      database.transaction(before);
      const baseline = database.rows();
      return {
        baseline,
        transactions: transactions
          .map(({ steps, actor }) => ({
            changes: database.transaction(steps),
            intent: actor === undefined ? undefined : { actor, metadata: {} },
          }))
          // As a source does not tell of transactions that changed nothing.
          .filter(({ changes }) => changes.length > 0),
        rows: database.rows(),
      };
    });
}
