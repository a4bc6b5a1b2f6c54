import type { Assignments, History, Step } from "./history.ts";

const TRIES_MAX = 1_500;

/** Plain values of a column, the plainest first. */
export type PlainValues = (table: number, column: number) => readonly (string | null)[];

/**
 * A smaller history that still shows the same: with fewer transactions, steps and assignments, and with
 * plain values in place of others. It goes through all of it again until nothing gives way.
 *
 * @param shows whether a history shows it
 */
export function shrinkHistory(
  history: History,
  shows: (smaller: History) => boolean,
  plain: PlainValues,
): History {
  let smallest = history;
  let tries = 0;
  const attempt: Attempt = (smaller) => {
    if (tries >= TRIES_MAX) return false;
    tries += 1;
    if (!shows(smaller)) return false;
    smallest = smaller;
    return true;
  };
  let before: History;
  do {
    before = smallest;
    for (let i = smallest.length - 1; i >= 0; i--) attempt(smallest.toSpliced(i, 1));
    for (let i = smallest.length - 1; i >= 0; i--) {
      for (let j = smallest[i]!.length - 1; j >= 0 && smallest[i]!.length > 1; j--) {
        attempt(smallest.with(i, smallest[i]!.toSpliced(j, 1)));
      }
    }
    while (insertedAsUpdated(smallest).some(attempt));
    for (let i = 0; i < smallest.length; i++) {
      for (let j = 0; j < smallest[i]!.length; j++) {
        const step = smallest[i]![j]!;
        simplifyStep(step, plain, (simpler) =>
          attempt(smallest.with(i, smallest[i]!.with(j, simpler))),
        );
      }
    }
  } while (smallest !== before && tries < TRIES_MAX);
  return smallest;
}

/** Histories with one value of the given one in a plainer form. */
export function simplerHistories(history: History, plain: PlainValues): readonly History[] {
  return history.flatMap((steps, i) =>
    steps.flatMap((step, j) => {
      const simpler: Step[] = [];
      // Nothing is taken, so that each is offered.
      simplifyStep(step, plain, (one) => {
        simpler.push(one);
        return false;
      });
      return simpler.map((one) => history.with(i, steps.with(j, one)));
    }),
  );
}

/** Takes the smaller history when it still shows it. */
type Attempt = (smaller: History) => boolean;

/** Histories in which a row is inserted as it would be after the update that comes next. */
function insertedAsUpdated(history: History): readonly History[] {
  return history.flatMap((steps, i) =>
    steps.flatMap((update, j): History[] => {
      const [at, before] = j > 0 ? [i, j - 1] : [i - 1, (history[i - 1]?.length ?? 0) - 1];
      const insert = history[at]?.[before];
      if (update.do !== "update" || insert?.do !== "insert") return [];
      if (insert.table !== update.table) return [];
      const cells = [...insert.cells];
      for (const [column, cell] of update.set) cells[column] = cell;
      const inserted = history.with(at, history[at]!.with(before, { ...insert, cells }));
      const rest = inserted.with(i, inserted[i]!.toSpliced(j, 1));
      return [rest.filter((left) => left.length > 0)];
    }),
  );
}

function simplifyStep(step: Step, plain: PlainValues, attempt: (simpler: Step) => boolean): void {
  if (step.do === "insert") {
    let { cells } = step;
    const take = (simpler: readonly (string | null)[]): boolean => {
      const taken = attempt({ ...step, cells: simpler });
      if (taken) cells = simpler;
      return taken;
    };
    const plainest = cells.map((cell, column) => {
      const [first = cell] = plainer(cell, plain(step.table, column));
      return first;
    });
    const isPlain = plainest.every((cell, column) => cell === cells[column]);
    if (isPlain || take(plainest)) return;
    for (let column = 0; column < cells.length; column++) {
      plainer(cells[column]!, plain(step.table, column)).some((value) =>
        take(cells.with(column, value)),
      );
    }
  }
  if (step.do === "update") {
    let { set } = step;
    const take = (simpler: Assignments): boolean => {
      const taken = attempt({ ...step, set: simpler });
      if (taken) set = simpler;
      return taken;
    };
    for (let k = set.length - 1; k >= 0 && set.length > 1; k--) take(set.toSpliced(k, 1));
    for (let k = 0; k < set.length; k++) {
      const [column, cell] = set[k]!;
      plainer(cell, plain(step.table, column)).some((value) => take(set.with(k, [column, value])));
    }
  }
}

/** Only values before it in the list, so that this comes to an end. */
function plainer(
  cell: string | null,
  values: readonly (string | null)[],
): readonly (string | null)[] {
  const at = values.indexOf(cell);
  return at < 0 ? values : values.slice(0, at);
}
