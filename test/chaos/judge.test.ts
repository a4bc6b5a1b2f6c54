import { describe, expect, test } from "vitest";
import { amended, at, change, commit, event, removedLine } from "./judge-fixture.ts";
import { judge, type Evidence, type TimedEvent } from "./judge.ts";
import { placeIn } from "./witness.ts";

/** A true history: a baseline, three transactions, and a column that was added before the last one. */
const TRUTH: Evidence = {
  types: new Map([
    ["customers.id", "bigint"],
    ["customers.email", "text"],
    ["customers.extra_1", "text"],
    ["orders.id", "bigint"],
    ["orders.note", "text"],
    ["order_lines.order_id", "bigint"],
    ["order_lines.line_no", "integer"],
  ]),
  changes: [
    change("1", "customers", null, { id: "1", email: "a@b" }),
    change("2", "customers", { id: "1", email: "a@b" }, { id: "1", email: "c@d" }),
    change("2", "customers", null, { id: "2", email: "e@f" }),
    change("3", "orders", null, { id: "7", note: null }),
    change("3", "order_lines", null, { order_id: "7", line_no: "1" }),
    change("3", "orders", { id: "7", note: null }, { id: "7", note: "x" }),
    change(
      "4",
      "customers",
      { id: "2", email: "e@f", extra_1: null },
      { id: "2", email: "e@f", extra_1: "new" },
    ),
    change("4", "customers", { id: "1", email: "c@d", extra_1: null }, null),
  ],
  read: {
    whole: new Map(["customers", "orders", "order_lines"].map((relation) => [relation, at(10)])),
    joined: [],
  },
  witnessed: [
    commit("1", ["customers 1"]),
    commit("2", ["customers 1", "customers 2"]),
    commit("3", ["orders 7", "order_lines 7, 1", "orders 7"]),
    commit("4", ["customers 2", "customers 1"]),
  ],
  events: [
    event("customer-1", 1, "CustomerBaselined", null, 10, 0, { id: "1", email: "a@b" }),
    amended("customer-1", 2, "2", 20, 1, { id: "1", email: "c@d", $was: { email: "a@b" } }),
    event("customer-2", 1, "CustomerRegistered", "2", 20, 2, { id: "2", email: "e@f" }),
    event("order-7", 1, "OrderPlaced", "3", 30, 1, {
      id: "7",
      note: null,
      lines: [{ order_id: "7", line_no: 1 }],
    }),
    amended("order-7", 2, "3", 30, 3, { id: "7", note: "x", $was: { note: null } }),
    amended("customer-2", 2, "4", 40, 1, { id: "2", extra_1: "new", $was: { extra_1: null } }),
    event("customer-1", 3, "CustomerErased", "4", 40, 2, {
      id: "1",
      $was: { id: "1", email: "c@d", extra_1: null },
    }),
  ],
};
const CAPTURED = TRUTH.events.slice(1);

describe("the judge", () => {
  test("finds nothing wrong with a true history", () => {
    expect(judge(TRUTH)).toMatchObject({ problems: [], told: 7, before: 1 });
  });

  test.each(TRUTH.events)("finds $type of $stream dropped", (dropped) => {
    const events = TRUTH.events
      .filter((each) => each !== dropped)
      .map((each) => shifted(each, dropped, -1));
    expect(problemsOf({ events })).not.toEqual([]);
  });

  test.each(TRUTH.events)("finds $type of $stream told twice", (doubled) => {
    const events = TRUTH.events.flatMap((each) =>
      each === doubled
        ? [each, { ...each, version: each.version + 1 }]
        : [shifted(each, doubled, 1)],
    );
    expect(problemsOf({ events })).not.toEqual([]);
  });

  test.each(TRUTH.events)("finds a value of $type of $stream altered", (altered) => {
    const column = ["email", "note", "extra_1"].find((name) => name in altered.data) ?? "id";
    const data = { ...altered.data, [column]: "another" };
    const events = TRUTH.events.map((each) => (each === altered ? { ...each, data } : each));
    expect(problemsOf({ events })).not.toEqual([]);
  });

  test.each(TRUTH.changes)("finds that nobody made the change of $relation in $xid", (unmade) => {
    const changes = TRUTH.changes.filter((each) => each !== unmade);
    // Before the baseline there is nothing that would tell it but the row itself.
    const isEarly = unmade.xid === "1";
    expect(problemsOf({ changes }).length > 0).toBe(!isEarly);
  });

  test.each([
    [1, 2],
    [3, 4],
    [5, 6],
  ])("finds events %i and %i of one transaction in each other's place", (i, j) => {
    expect(problemsOf({ events: swapped(i, j) })).not.toEqual([]);
  });

  test("finds two transactions in each other's place, with all that is theirs", () => {
    const told = (xid: string, place: number): TimedEvent[] =>
      CAPTURED.filter(({ transaction }) => transaction === xid).map((each) => ({
        ...each,
        position: at(place, Number(each.position.slice(17))),
      }));
    const events = [TRUTH.events[0]!, ...told("3", 20), ...told("2", 30), ...told("4", 40)];
    const problems = problemsOf({ events });
    expect(problems).toEqual(["transaction 2 is told after a later one"]);
  });

  const emptied: Evidence = {
    ...TRUTH,
    changes: [
      ...TRUTH.changes,
      change("5", "order_lines", null, { order_id: "7", line_no: "2" }),
      change("5", "order_lines", { order_id: "7", line_no: "1" }, null),
      change("5", "order_lines", { order_id: "7", line_no: "2" }, null),
    ],
    witnessed: [...TRUTH.witnessed, commit("5", ["order_lines 7, 2", "order_lines *"])],
    events: [
      ...TRUTH.events,
      event("order-7", 3, "LineAdded", "5", 50, 1, { order_id: "7", line_no: 2 }),
      removedLine(4, 1),
      removedLine(5, 2),
    ],
  };

  test("takes the rows of a TRUNCATE for changes of their own", () => {
    expect(judge(emptied)).toMatchObject({ problems: [], told: 10 });
  });

  test.each([7, 8, 9])("finds event %i of a transaction with a TRUNCATE dropped", (at) => {
    const dropped = emptied.events[at]!;
    const events = emptied.events
      .filter((each) => each !== dropped)
      .map((each) => shifted(each, dropped, -1));
    expect(judge({ ...emptied, events }).problems).not.toEqual([]);
  });

  test("finds that a row came and went, and nobody told of it", () => {
    const changes = [
      ...TRUTH.changes,
      change("5", "orders", null, { id: "8", note: null }),
      change("5", "orders", { id: "8", note: null }, null),
    ];
    const witnessed = [...TRUTH.witnessed, commit("5", ["orders 8", "orders 8"])];
    expect(problemsOf({ changes, witnessed })).toEqual([
      "2 changes of transaction 5 are told as 0",
    ]);
    // Before the baseline there is nothing that could tell of it.
    expect(problemsOf({ changes, witnessed: [witnessed[4]!, ...TRUTH.witnessed] })).toEqual([]);
  });

  test("finds a transaction that the log never committed", () => {
    const witnessed = TRUTH.witnessed.filter(({ xid }) => xid !== "3");
    expect(problemsOf({ witnessed })).toEqual([
      "transaction 3 is told, and the log has no such commit",
    ]);
  });
});

test("the witness reads which row a line is about, as it was before", () => {
  expect(
    placeIn(
      "table public.order_lines: UPDATE: old-key: order_id[bigint]:3 line_no[integer]:2 new-tuple: order_id[bigint]:4 line_no[integer]:1 sku[text]:'x'",
    ),
  ).toBe("order_lines 3, 2");
  expect(
    placeIn("table public.products: INSERT: sku[text]:'SKU ''7''/1' name[text]:'id[bigint]:3'"),
  ).toBe("products SKU '7'/1");
  expect(placeIn("table public.payments: DELETE: id[uuid]:'0a-1'")).toBe("payments 0a-1");
  expect(() => placeIn("table public.others: INSERT: id[bigint]:1")).toThrow(/does not know/);
});

function problemsOf(part: Partial<Evidence>): readonly string[] {
  return judge({ ...TRUTH, ...part }).problems;
}

/** What two events say, each at the place of the other. */
function swapped(i: number, j: number): readonly TimedEvent[] {
  const [first, second] = [TRUTH.events[i]!, TRUTH.events[j]!];
  return TRUTH.events.map((each) => {
    if (each === first) return { ...second, position: first.position };
    if (each === second) return { ...first, position: second.position };
    return each;
  });
}

function shifted(each: TimedEvent, other: TimedEvent, by: number): TimedEvent {
  const isBehind = each.stream === other.stream && each.version > other.version;
  return isBehind ? { ...each, version: each.version + by } : each;
}
