import fc from "fast-check";
import type { RandomSchema } from "./random-schema.ts";
import { cellOf } from "./random-values.ts";

/** One step of a transaction. Numbers pick among what there is when the step is taken. */
export type Step =
  | {
      readonly do: "insert";
      readonly table: number;
      readonly cells: readonly (string | null)[];
      readonly parent: number;
    }
  | {
      readonly do: "update";
      readonly table: number;
      readonly row: number;
      readonly columns: readonly number[];
      readonly cells: readonly (string | null)[];
    }
  | { readonly do: "delete" | "touch" | "again"; readonly table: number; readonly row: number }
  | {
      readonly do: "rekey";
      readonly table: number;
      readonly row: number;
      readonly cells: readonly (string | null)[];
      readonly cascade: boolean;
    }
  | { readonly do: "truncate"; readonly table: number }
  /** Something happens to a table that is published and not mapped. */
  | { readonly do: "elsewhere"; readonly truncate: boolean }
  | { readonly do: "swap"; readonly table: number; readonly row: number; readonly other: number }
  | { readonly do: "adopt"; readonly table: number; readonly row: number; readonly parent: number };

export interface StepOptions {
  /** Tables are emptied now and then. */
  readonly truncates?: boolean;
}

export function randomStep(
  schema: RandomSchema,
  { truncates = false }: StepOptions = {},
): fc.Arbitrary<Step> {
  const index = fc.nat(7);
  const table = fc.nat(schema.tables.length - 1);
  // Cells for every table at once: a step uses those of its own.
  const cells = (tableIndex: number): fc.Arbitrary<(string | null)[]> =>
    fc.tuple(
      ...schema.tables[tableIndex]!.shape.columns.map(({ nullable }, i) => {
        const value: fc.Arbitrary<string | null> = cellOf(schema.tables[tableIndex]!.kinds[i]!);
        return nullable
          ? fc.oneof({ weight: 3, arbitrary: value }, { weight: 1, arbitrary: fc.constant(null) })
          : value;
      }),
    );
  return table.chain((at) =>
    fc.oneof(
      {
        weight: 4,
        arbitrary: fc.record({
          do: fc.constant("insert" as const),
          table: fc.constant(at),
          cells: cells(at),
          parent: index,
        }),
      },
      {
        weight: 4,
        arbitrary: fc.record({
          do: fc.constant("update" as const),
          table: fc.constant(at),
          row: index,
          columns: fc.array(fc.nat(10), { minLength: 1, maxLength: 3 }),
          cells: cells(at),
        }),
      },
      {
        weight: 2,
        arbitrary: fc.record({
          do: fc.constantFrom("delete" as const, "touch" as const, "again" as const),
          table: fc.constant(at),
          row: index,
        }),
      },
      {
        weight: 2,
        arbitrary: fc.record({
          do: fc.constant("rekey" as const),
          table: fc.constant(at),
          row: index,
          cells: cells(at),
          cascade: fc.boolean(),
        }),
      },
      {
        weight: truncates ? 1 : 0,
        arbitrary: fc.record({ do: fc.constant("truncate" as const), table: fc.constant(at) }),
      },
      {
        weight: 1,
        arbitrary: fc.record({
          do: fc.constant("elsewhere" as const),
          truncate: fc.integer({ min: 0, max: 7 }).map((n) => n === 0),
        }),
      },
      {
        weight: 1,
        arbitrary: fc.record({
          do: fc.constant("swap" as const),
          table: fc.constant(at),
          row: index,
          other: index,
        }),
      },
      {
        weight: 1,
        arbitrary: fc.record({
          do: fc.constant("adopt" as const),
          table: fc.constant(at),
          row: index,
          parent: index,
        }),
      },
    ),
  );
}
