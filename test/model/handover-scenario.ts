/** One row that a transaction inserts (no `from`), deletes (no `to`), updates or moves to another root. */
export interface ModelChange {
  readonly row: string;
  readonly from?: number;
  readonly to?: number;
}

export interface ModelTransaction {
  readonly changes: readonly ModelChange[];
  readonly rollsBack?: boolean;
}

export interface Scenario {
  /** Rows that are there from the first: role and key of the root. */
  readonly rows: readonly (readonly [row: string, key: number])[];
  readonly transactions: readonly ModelTransaction[];
  /** Whether the log tells the former root of a child that moves or is deleted, as `full` does. */
  readonly identity: "full" | "default";
  /** How often the process or the source may die, or a chunk that is read be given up. */
  readonly mishapsMax: number;
  /** What is done meanwhile, if anything is. */
  readonly meanwhile?: Meanwhile;
  /** Whether a chunk is read while the one before is on its way to the store: many states more. */
  readonly isAhead?: boolean;
  /** Root of an aggregate that somebody wants to be read anew. */
  readonly anew?: number;
}

/**
 * `a table joins`: the roots were told before, and the table of the children joins now. `the source
 * crashes`: it shows commits before it has flushed them, and takes back those that it has not.
 */
export type Meanwhile = "a table joins" | "the source crashes";

export function isJoining({ meanwhile }: Scenario): boolean {
  return meanwhile === "a table joins";
}

export const KEYS = [1, 2, 3] as const;

/** The end of the last chunk, which is open. */
export const LAST_KEY = 9;

/** The role of a root; a change of its key moves it from one aggregate to another, as a child moves. */
export const ROOT = "root";

const update = (row: string, key: number): ModelChange => ({ row, from: key, to: key });

const TWO_ROOTS = [
  [ROOT, 1],
  [ROOT, 2],
] as const;

export interface ScenarioSource extends Pick<
  Scenario,
  "rows" | "transactions" | "isAhead" | "meanwhile" | "anew"
> {
  /** So many of the transactions are tried with every order of steps in a few seconds. */
  readonly usual: number;
}

/** What the source does while it is taken over. Each is tried with every order of steps. */
export const SCENARIOS = {
  "rows are updated": {
    usual: 2,
    rows: TWO_ROOTS,
    transactions: [
      { changes: [update(ROOT, 1)] },
      { changes: [update(ROOT, 2)] },
      { changes: [update(ROOT, 1), update(ROOT, 2)] },
    ],
  },
  "rows are inserted, deleted and inserted again": {
    usual: 2,
    rows: TWO_ROOTS,
    transactions: [
      { changes: [{ row: ROOT, from: 1 }] },
      { changes: [{ row: ROOT, to: 1 }] },
      { changes: [{ row: ROOT, to: 3 }] },
    ],
  },
  "a key changes, and changes back": {
    usual: 2,
    isAhead: true,
    rows: TWO_ROOTS,
    transactions: [
      { changes: [{ row: ROOT, from: 1, to: 3 }] },
      { changes: [{ row: ROOT, from: 3, to: 1 }] },
      { changes: [update(ROOT, 2)] },
    ],
  },
  "a child moves to another parent, and back": {
    usual: 2,
    isAhead: true,
    rows: [...TWO_ROOTS, ["line", 1]],
    transactions: [
      { changes: [{ row: "line", from: 1, to: 2 }] },
      { changes: [{ row: "line", from: 2, to: 1 }] },
      { changes: [update(ROOT, 2)] },
    ],
  },
  "a child moves twice and is deleted": {
    usual: 2,
    rows: [...TWO_ROOTS, [ROOT, 3], ["line", 3]],
    transactions: [
      { changes: [{ row: "line", from: 3, to: 1 }] },
      { changes: [{ row: "line", from: 1, to: 2 }] },
      { changes: [{ row: "line", from: 2 }] },
    ],
  },
  "a child is deleted and made anew under another parent": {
    usual: 3,
    rows: [...TWO_ROOTS, ["line", 1]],
    transactions: [
      { changes: [{ row: "line", from: 1 }] },
      { changes: [{ row: "line", to: 2 }, update(ROOT, 1)] },
      { changes: [update(ROOT, 1)], rollsBack: true },
    ],
  },
  "an aggregate is read anew": {
    usual: 2,
    anew: 1,
    rows: [
      [ROOT, 1],
      ["line", 1],
    ],
    transactions: [
      { changes: [update("line", 1)] },
      { changes: [update(ROOT, 1)] },
      { changes: [{ row: "line", from: 1 }] },
    ],
  },
  "a child moves to an aggregate that is read anew": {
    usual: 2,
    anew: 1,
    rows: [...TWO_ROOTS, ["line", 2]],
    transactions: [
      { changes: [{ row: "line", from: 2, to: 1 }] },
      { changes: [{ row: "line", from: 1, to: 2 }] },
      { changes: [update(ROOT, 1)] },
    ],
  },
  "the source crashes": {
    usual: 2,
    meanwhile: "the source crashes",
    rows: TWO_ROOTS,
    transactions: [
      { changes: [update(ROOT, 1)] },
      { changes: [update(ROOT, 1), update(ROOT, 2)] },
      { changes: [update(ROOT, 2)] },
    ],
  },
  "the source crashes while an aggregate is read anew": {
    usual: 2,
    anew: 1,
    meanwhile: "the source crashes",
    rows: [[ROOT, 1]],
    transactions: [
      { changes: [update(ROOT, 1)] },
      { changes: [update(ROOT, 1)] },
      { changes: [update(ROOT, 1)] },
    ],
  },
  "a table joins": {
    usual: 2,
    isAhead: true,
    meanwhile: "a table joins",
    rows: [...TWO_ROOTS, ["line", 1]],
    transactions: [
      { changes: [update(ROOT, 1), { row: "line", from: 1, to: 2 }] },
      {
        changes: [
          { row: ROOT, to: 3 },
          { row: "line", from: 2, to: 3 },
        ],
      },
      { changes: [update("line", 3), update(ROOT, 2)] },
    ],
  },
  "a table joins an aggregate that is read anew": {
    usual: 2,
    meanwhile: "a table joins",
    anew: 1,
    rows: [
      [ROOT, 1],
      ["line", 1],
    ],
    transactions: [
      { changes: [update("line", 1)] },
      { changes: [update(ROOT, 1), update("line", 1)] },
      { changes: [{ row: "line", from: 1 }] },
    ],
  },
} as const satisfies Readonly<Record<string, ScenarioSource>>;

/**
 * Whether the second writes what the first wrote, and so must wait until that is over. Scenarios name
 * such transactions in the order in which they get their turn.
 */
export function conflict(first: ModelTransaction, second: ModelTransaction): boolean {
  const cells = new Set(first.changes.flatMap(cellsOf));
  return second.changes.flatMap(cellsOf).some((cell) => cells.has(cell));
}

function cellsOf({ row, from, to }: ModelChange): string[] {
  // A child is one row wherever it hangs; of a root the key is the row.
  if (row !== ROOT) return [row];
  return [from, to].filter((key) => key !== undefined).map(String);
}
