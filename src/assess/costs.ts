import type { Cost, Sum } from "./assessment.ts";
import { totalPerDay } from "./change-rate.ts";
import type { TableReading } from "./judge-aggregate.ts";
import { BASELINE_ROWS_PER_SECOND, EVENT_BYTES } from "./store-cost.ts";

/** Of figures of which some may not be known. */
export function sumOf(values: readonly (number | undefined)[]): Sum {
  return {
    value: values.reduce<number>((sum, value) => sum + (value ?? 0), 0),
    atLeast: values.includes(undefined),
  };
}

export function addUp(sums: readonly Sum[]): Sum {
  return {
    value: sums.reduce((total, { value }) => total + value, 0),
    atLeast: sums.some(({ atLeast }) => atLeast),
  };
}

export function changesPerDay(tables: readonly TableReading[]): Sum {
  return addUp(
    tables.map(({ rate }) => {
      const { perDay, complete } = totalPerDay(rate);
      return { value: perDay, atLeast: !complete };
    }),
  );
}

export function aggregateCost(root: TableReading, children: readonly TableReading[]): Cost {
  const all = [root, ...children];
  const rows = sumOf(all.map(({ facts }) => facts.rows));
  const events = sumOf([root.facts.rows]);
  return {
    rows,
    baselineEvents: events,
    baselineBytes: addUp([
      { value: events.value * EVENT_BYTES, atLeast: events.atLeast },
      ...all.map(({ cost }) => sumOf([cost.baselineBytes, cost.imageBytes])),
    ]),
    baselineSeconds: { value: rows.value / BASELINE_ROWS_PER_SECOND, atLeast: rows.atLeast },
    bytesPerDay: addUp(
      all.map(({ cost }) => ({
        value: cost.bytesPerDay ?? 0,
        atLeast: cost.atLeast || cost.bytesPerDay === undefined,
      })),
    ),
  };
}

export function totalCost(costs: readonly Cost[]): Cost {
  return {
    rows: addUp(costs.map(({ rows }) => rows)),
    baselineEvents: addUp(costs.map(({ baselineEvents }) => baselineEvents)),
    baselineBytes: addUp(costs.map(({ baselineBytes }) => baselineBytes)),
    baselineSeconds: addUp(costs.map(({ baselineSeconds }) => baselineSeconds)),
    bytesPerDay: addUp(costs.map(({ bytesPerDay }) => bytesPerDay)),
  };
}
