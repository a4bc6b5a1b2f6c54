import { expect, test } from "vitest";
import { visibility } from "../../connectors/postgres/parity.ts";
import { explore, type Model } from "./explore.ts";

type Status = "idle" | "in progress" | "committed" | "rolled back";

/** Transactions in the order of their ids, which they get when they begin. */
type State = readonly (readonly [id: number, status: Status])[];

const TRANSACTIONS = 5;
const FIRST_ID = 9_999_999_998;

/** What `pg_current_snapshot()` says: it ends one past the newest transaction that is over. */
function currentSnapshot(state: State): string {
  const isOver = ([, status]: State[number]): boolean => status !== "in progress";
  const newest = state.findLastIndex(isOver);
  const running = state.slice(0, newest + 1).filter((one) => !isOver(one)).map(([id]) => id); // prettier-ignore
  const end = FIRST_ID + newest + 1;
  return `${running[0] ?? end}:${end}:${running.join(",")}`;
}

/** Transactions begin one after the other and end in any order. */
const transactions: Model<State> = {
  initial: [],
  steps: (state) => [
    ...(state.length < TRANSACTIONS
      ? [{ name: "begin", next: [...state, [FIRST_ID + state.length, "in progress"] as const] }]
      : []),
    ...state.flatMap(([id, status], i) =>
      status !== "in progress"
        ? []
        : (["committed", "rolled back"] as const).map((end) => ({
            name: `${end} ${id}`,
            next: state.with(i, [id, end]),
          })),
    ),
  ],
  broken(state) {
    const text = currentSnapshot(state);
    const sees = visibility(text);
    const wrong = state.find(
      ([id, status]) => status !== "rolled back" && sees(String(id)) !== (status === "committed"),
    );
    if (wrong !== undefined) return `${text} and ${wrong.join(" ")}`;
    return sees(String(FIRST_ID + state.length)) ? `${text} sees what has not begun` : undefined;
  },
};

/** The handover's model says of a snapshot that it sees what is visible; this is why it may. */
test("a snapshot is read to see exactly what has committed, whatever began and ended before", async () => {
  const { states, counterexample } = await explore(transactions, 10_000);
  expect(counterexample).toBeUndefined();
  // Each length of a list with three states for each place.
  expect(states).toBe((3 ** (TRANSACTIONS + 1) - 1) / 2);
});
