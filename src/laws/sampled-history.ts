import type { Assignments, History, Step } from "./history.ts";
import type { LawStream } from "./law-tables.ts";
import type { Material } from "./random-history.ts";
import { ANY_VALUES } from "./reachability.ts";

/** The life of one real row: inserted, changed column by column and as each rule wants it, deleted. */
export interface SampledHistory {
  readonly history: History;
  /** Where the row is from, in words. */
  readonly from: string;
}

export function* sampledHistories(
  { tables }: LawStream,
  materials: readonly Material[],
): Generator<SampledHistory> {
  for (const [table, about] of tables.entries()) {
    for (const row of about.samples) {
      if (row.includes(undefined)) continue;
      const cells = row as readonly (string | null)[];
      const insert: Step = { do: "insert", table, cells };
      const steps = [
        ...columnByColumn(materials[table]!, cells),
        ...ruleByRule(materials[table]!, cells),
      ];
      const updates = steps.map((set): Step[] => [{ do: "update", table, row: 0, set }]);
      yield {
        history: [[insert], ...updates, [{ do: "delete", table, row: 0 }]],
        from: `a real row of ${about.table.name}`,
      };
    }
  }
}

/** Each column to what another real row has in it, to a plain value, to NULL, and back. */
function columnByColumn(
  { about, cells }: Material,
  row: readonly (string | null)[],
): Assignments[] {
  const sets: Assignments[] = [];
  for (const [column, own] of row.entries()) {
    if (about.fixed.has(column)) continue;
    const { nullable } = about.table.columns[column]!;
    const other = about.samples
      .map((each) => each[column])
      .find((cell) => cell !== own && typeof cell === "string");
    const plain = cells[column]!.simple.find((cell) => cell !== own && cell !== null);
    const values = [other, plain, ...(nullable ? [null] : [])].filter((cell) => cell !== undefined);
    for (const value of values) sets.push([[column, value]]);
    if (values.length > 0) sets.push([[column, own]]);
  }
  return sets;
}

function ruleByRule({ about, aims }: Material, row: readonly (string | null)[]): Assignments[] {
  return aims.flatMap(({ witness: aim }) => {
    const sides = ([0, 1] as const).map((side): Assignments =>
      [...aim].flatMap(([column, pair]) => {
        const cell = pair[side];
        const isNamed = cell !== undefined && !(ANY_VALUES as readonly unknown[]).includes(cell);
        return isNamed && !about.fixed.has(column) ? [[column, cell] as const] : [];
      }),
    );
    const back: Assignments = [...aim.keys()].flatMap((column) =>
      about.fixed.has(column) ? [] : [[column, row[column]!] as const],
    );
    return [...sides, back].filter((set) => set.length > 0);
  });
}
