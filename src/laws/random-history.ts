import fc from "fast-check";
import { cellSource, type CellSource } from "./cell-values.ts";
import type { Assignments, History, Step } from "./history.ts";
import { rulesOf, type LawStream, type LawTable } from "./law-tables.ts";
import { ANY_VALUES, rowReach, updateReach, type Pair } from "./reachability.ts";

/** What a table's rows are made of, and for each rule the change that makes it fire. */
export interface Material {
  readonly about: LawTable;
  readonly cells: readonly CellSource[];
  /** The rules that can fire, each with what its columns must be for it. */
  readonly aims: readonly Aim[];
}

export interface Aim {
  readonly rule: string;
  readonly witness: ReadonlyMap<number, Pair>;
}

export function materialOf({ tables }: LawStream): readonly Material[] {
  return tables.map((about) => ({
    about,
    cells: about.table.columns.map((_, column) => cellSource(about, column)),
    aims: (["insert", "update", "delete"] as const).flatMap((operation) => {
      const rules = rulesOf(about, operation);
      return rules.flatMap((rule, at) => {
        const reach = (operation === "update" ? updateReach : rowReach)(
          rule,
          rules.slice(0, at),
          about,
        );
        return reach.verdict === "fires" ? [{ rule: rule.type, witness: reach.witness }] : [];
      });
    }),
  }));
}

/** Histories of one stream's tables: rows inserted, changed, moved and deleted, and every rule aimed at. */
export function randomHistory(materials: readonly Material[]): fc.Arbitrary<History> {
  const steps = materials.map((material, table) => randomStep(material, table));
  const transaction = fc.array(
    fc.oneof(...steps.map((arbitrary, i) => ({ weight: i === 0 ? 2 : 1, arbitrary }))),
    {
      minLength: 1,
      maxLength: 6,
    },
  );
  const aimed = materials.flatMap((material, table) =>
    material.aims.map(({ witness }) => aimedSteps(material, table, witness)),
  );
  const plain: fc.Arbitrary<History> = transaction.map((one) => [one]);
  const families = materials.length === 1 ? [] : [family(materials)];
  const pieces = fc.oneof(
    { weight: 3, arbitrary: plain },
    ...families.map((arbitrary) => ({ weight: 1, arbitrary })),
    ...(aimed.length === 0 ? [] : [{ weight: 3, arbitrary: fc.oneof(...aimed) }]),
  );
  return fc.array(pieces, { minLength: 1, maxLength: 5 }).map((parts) => parts.flat());
}

const index = fc.nat(7);

function rowOf({ cells }: Material): fc.Arbitrary<(string | null)[]> {
  return fc.tuple(...cells.map(({ any }) => any));
}

function randomStep(material: Material, table: number): fc.Arbitrary<Step> {
  const at = fc.constant(table);
  const { isRoot } = material.about.mapper;
  const columns = material.cells.map((_, column) => column);
  const free = columns.filter((column) => !material.about.fixed.has(column));
  const insert: fc.Arbitrary<Step> = fc
    .record({ row: rowOf(material), parent: fc.option(index, { freq: 8, nil: undefined }) })
    .map(({ row, parent }) => ({
      do: "insert" as const,
      table,
      cells: row,
      ...(isRoot || parent === undefined ? {} : { parent }),
    }));
  const update = (some: readonly number[], sizeMax: number): fc.Arbitrary<Step> =>
    fc
      .shuffledSubarray([...some], { minLength: 1, maxLength: Math.min(sizeMax, some.length) })
      .chain((chosen) =>
        fc.record({
          do: fc.constant("update" as const),
          table: at,
          row: index,
          set: assignments(material, chosen),
        }),
      );
  const rest: { weight: number; arbitrary: fc.Arbitrary<Step> }[] = [
    {
      weight: 2,
      arbitrary: fc.record({ do: fc.constant("delete" as const), table: at, row: index }),
    },
    { weight: 1, arbitrary: update(columns, 3) },
  ];
  if (free.length > 0) rest.push({ weight: 6, arbitrary: update(free, 4) });
  if (!isRoot) {
    const adopt = fc.record({
      do: fc.constant("adopt" as const),
      table: at,
      row: index,
      parent: index,
    });
    rest.push({ weight: 1, arbitrary: adopt });
  }
  return fc.oneof({ weight: 4, arbitrary: insert }, ...rest);
}

/**
 * A root and its children in one transaction, where an insert takes rows with it: new ones, ones that
 * come from elsewhere, and ones that do not stay as they were.
 */
function family(materials: readonly Material[]): fc.Arbitrary<History> {
  const root = rowOf(materials[0]!).map((cells): Step => ({ do: "insert", table: 0, cells }));
  const members = materials.slice(1).map((material, i) => {
    const table = i + 1;
    const born = rowOf(material).map((cells): Step => ({ do: "insert", table, cells, parent: -1 }));
    const again = fc
      .record({ row: fc.oneof(fc.constant(-1), index), parent: fc.constantFrom(-1, undefined) })
      .map(({ row, parent }): Step => {
        const step = { do: "again" as const, table, row };
        return parent === undefined ? step : { ...step, parent };
      });
    const gone = fc.constant<Step>({ do: "delete", table, row: -1 });
    return fc.oneof(
      { weight: 4, arbitrary: born },
      { weight: 2, arbitrary: again },
      { weight: 1, arbitrary: gone },
    );
  });
  return fc
    .record({ root, rest: fc.array(fc.oneof(...members), { minLength: 1, maxLength: 5 }) })
    .map(({ root: first, rest }) => [[first, ...rest]]);
}

function assignments(material: Material, columns: readonly number[]): fc.Arbitrary<Assignments> {
  return fc.tuple(
    ...columns.map((column) => material.cells[column]!.any.map((cell) => [column, cell] as const)),
  );
}

/** A row as the rule wants it before, then the change that it waits for, then the row's end. */
function aimedSteps(
  material: Material,
  table: number,
  aim: ReadonlyMap<number, Pair>,
): fc.Arbitrary<History> {
  const wanted = (side: 0 | 1): fc.Arbitrary<Assignments> =>
    fc.tuple(
      ...[...aim].map(([column, pair]) =>
        valueLike(material, column, pair, side).map((cell) => [column, cell] as const),
      ),
    );
  const changing = [...aim]
    .filter(([, [before, after]]) => before !== after)
    .map(([column]) => column);
  return fc
    .record({
      row: rowOf(material),
      parent: index,
      before: wanted(0),
      after: wanted(1),
      ends: fc.boolean(),
    })
    .map(({ row, parent, before, after, ends }): History => {
      const cells = [...row];
      for (const [column, cell] of before) cells[column] = cell;
      const key = material.about.fixed;
      const set = after.filter(([column]) => changing.includes(column) && !key.has(column));
      // Where its key is taken it is not inserted, and another row is changed: no harm.
      const last = -1;
      return [
        [{ do: "insert", table, cells, ...(material.about.mapper.isRoot ? {} : { parent }) }],
        ...(set.length === 0 ? [] : [[{ do: "update" as const, table, row: last, set }]]),
        ...(ends ? [[{ do: "delete" as const, table, row: last }]] : []),
      ];
    });
}

/** The value that the aim names, or any other where it names none. */
function valueLike(
  { cells }: Material,
  column: number,
  pair: Pair,
  side: 0 | 1,
): fc.Arbitrary<string | null> {
  const cell = pair[side];
  if (cell === undefined || cell === ANY_VALUES[0] || cell === ANY_VALUES[1])
    return cells[column]!.any;
  return fc.constant(cell);
}
