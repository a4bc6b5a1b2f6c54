import { BanyanError } from "../../src/model/errors.ts";

/** unique_violation, exclusion_violation. */
const TAKEN: readonly string[] = ["23505", "23P01"];

/** A constraint that a row does not keep because of another row. */
export interface Taken {
  readonly constraint: string;
  /** Qualified name of the table that has it; a partition is named itself. */
  readonly table: string;
}

/** @returns undefined when a statement failed for another reason */
export function takenBy(error: unknown): Taken | undefined {
  if (error instanceof BanyanError) return takenBy(error.cause);
  const { code, constraint, schema, table } = (error ?? {}) as Readonly<Record<string, string>>;
  if (!TAKEN.includes(code ?? "")) return undefined;
  return { constraint: constraint ?? "", table: `${schema}.${table}` };
}

/** A reason of docs/7-rollout.md. */
export function takenReason(taken: Taken | undefined): string {
  const named = taken === undefined || taken.constraint === "" ? "" : ` (${taken.constraint})`;
  return `another row has a value that must be unique${named}`;
}
