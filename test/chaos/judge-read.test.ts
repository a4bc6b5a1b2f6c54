import { describe, expect, test } from "vitest";
import { at, change, commit, event, amended } from "./judge-fixture.ts";
import { judge, type Evidence, type TimedEvent } from "./judge.ts";

const TYPES = new Map([
  ["customers.id", "bigint"],
  ["customers.email", "text"],
  ["customers.updated_at", "timestamp with time zone"],
  ["orders.id", "bigint"],
  ["payments.id", "uuid"],
  ["payments.order_id", "bigint"],
]);
const WHOLE = new Map(["customers", "orders", "payments"].map((relation) => [relation, at(10)]));
const row = (email: string): { id: string; email: string } => ({ id: "1", email });
const update = (xid: string, was: string, now: string) =>
  change(xid, "customers", row(was), row(now));
const told = (version: number, xid: string, commitAt: number, was: string, now: string) =>
  amended("customer-1", version, xid, commitAt, 1, { ...row(now), $was: { email: was } });
const gap = (version: number, position: number, data: TimedEvent["data"]): TimedEvent =>
  event("customer-1", version, "CustomerHistoryGapped", null, position, 0, {
    $gap: { isGone: data["$root"] === null },
    ...data,
  });

describe("rows that are read anew", () => {
  const changes = [update("2", "a", "b"), update("3", "b", "c"), update("4", "c", "d")];
  const witnessed = ["2", "3", "4"].map((xid) => commit(xid, ["customers 1"]));
  const baseline = event("customer-1", 1, "CustomerBaselined", null, 10, 0, row("a"));
  const [first, last] = [told(2, "2", 20, "a", "b"), told(4, "4", 40, "c", "d")];
  const problemsOf = (events: readonly TimedEvent[]): readonly string[] =>
    judge({
      ...{ changes, witnessed, events, types: TYPES },
      read: { whole: WHOLE, joined: [] },
    }).problems;

  test("hold what no event tells, and what is told next follows from them", () => {
    expect(problemsOf([baseline, first, gap(3, 35, row("c")), last])).toEqual([]);
    const gaps = [gap(3, 25, row("b")), gap(4, 35, row("c"))];
    expect(problemsOf([baseline, first, ...gaps, { ...last, version: 5 }])).toEqual([]);
    expect(problemsOf([baseline, first, gap(3, 45, row("d"))])).toEqual([]);
  });

  test.each([
    ["are older than what follows", [baseline, first, gap(3, 35, row("b")), last]],
    ["never were so", [baseline, first, gap(3, 35, row("x")), last]],
    ["are not there", [baseline, first, { ...last, version: 3 }]],
    ["are said to be gone", [baseline, first, gap(3, 35, { $root: null }), last]],
    ["are told of once more", [baseline, first, gap(3, 35, row("d")), last]],
    [
      "are told of in full, and read in between as they were later",
      [
        ...[baseline, first, gap(3, 25, row("c"))],
        ...[told(4, "3", 30, "b", "c"), { ...last, version: 5 }],
      ],
    ],
    ["were read before what is not told in the end", [baseline, first, gap(3, 35, row("c"))]],
    [
      "are a second baseline",
      [
        ...[baseline, first],
        ...[event("customer-1", 3, "CustomerBaselined", null, 35, 0, row("c")), last],
      ],
    ],
  ])("are found when they %s", (_, events) => {
    expect(problemsOf(events)).not.toEqual([]);
  });
});

describe("rows of a table that joins", () => {
  const payment = { id: "p", order_id: "7" };
  const evidence: Evidence = {
    changes: [
      change("2", "orders", null, { id: "7" }),
      change("2", "payments", null, payment),
      change("3", "payments", payment, null),
    ],
    witnessed: [commit("2", ["orders 7", "payments p"]), commit("3", ["payments p"])],
    types: TYPES,
    read: { whole: new Map([...WHOLE, ["payments", at(25)]]), joined: ["payments"] },
    events: [
      event("order-7", 1, "OrderPlaced", "2", 20, 1, { id: "7" }),
      event("order-7", 2, "OrderBaselined", null, 25, 0, { $root: null, payments: [payment] }),
      event("order-7", 3, "OrderAmended", "3", 30, 1, {
        ...{ $row: "payments", $op: "delete", ...payment },
        $was: payment,
      }),
    ],
  };
  const problemsOf = (part: Partial<Evidence>): readonly string[] =>
    judge({ ...evidence, ...part }).problems;

  test("have a baseline in streams that are there", () => {
    expect(judge(evidence)).toMatchObject({ problems: [], told: 2, before: 1 });
  });

  test("are found when the table did not join, and when they were read twice or are told of before", () => {
    const [placed, joined, removed] = evidence.events as [TimedEvent, TimedEvent, TimedEvent];
    expect(problemsOf({ read: { whole: WHOLE, joined: [] } })).not.toEqual([]);
    const twice = [placed, joined, { ...joined, version: 3 }, { ...removed, version: 4 }];
    expect(problemsOf({ events: twice })).not.toEqual([]);
    const captured = event("order-7", 2, "PaymentCaptured", "2", 20, 2, payment);
    const early = [placed, captured, { ...joined, version: 3 }, { ...removed, version: 4 }];
    expect(problemsOf({ events: early })).not.toEqual([]);
    const untold = { ...removed, version: 2 };
    expect(problemsOf({ events: [placed, untold] })).not.toEqual([]);
  });
});

describe("a row that moves between streams, of which one was read after that", () => {
  const [before, after] = [
    { id: "p", order_id: "1" },
    { id: "p", order_id: "2" },
  ];
  const left = event("order-1", 2, "OrderAmended", "2", 20, 1, {
    ...{ $row: "payments", $op: "delete", ...before },
    $was: before,
  });
  const baselines = (late: boolean): readonly TimedEvent[] => [
    event("order-1", 1, "OrderBaselined", null, 10, 0, { id: "1", payments: [before] }),
    event("order-2", 1, "OrderBaselined", null, 25, 0, {
      ...{ id: "2", payments: late ? [after] : [] },
    }),
  ];
  const problemsOf = (events: readonly TimedEvent[]): readonly string[] =>
    judge({
      ...{ events, types: TYPES, changes: [change("2", "payments", before, after)] },
      witnessed: [commit("2", ["payments p"])],
      read: { whole: new Map([...WHOLE, ["payments", at(25)]]), joined: [] },
    }).problems;

  test("is told where it left alone", () => {
    expect(problemsOf([...baselines(true), left])).toEqual([]);
  });

  test("is found when it is told nowhere, or came to nobody", () => {
    expect(problemsOf(baselines(true))).not.toEqual([]);
    expect(problemsOf([...baselines(false), left])).not.toEqual([]);
  });
});

describe("the time of an event", () => {
  const timed = (email: string, updated_at: string) => ({ ...row(email), updated_at });
  const [noon, later] = ["2026-01-31 12:00:00.5+00", "2026-01-31 13:00:00.000001+00"];
  const evidence = (now: string, timeUs: string): Evidence => ({
    changes: [change("2", "customers", timed("a", noon), timed("b", now))],
    witnessed: [commit("2", ["customers 1"])],
    types: TYPES,
    read: { whole: WHOLE, joined: [] },
    events: [
      event("customer-1", 1, "CustomerBaselined", null, 10, 0, timed("a", json(noon))),
      {
        ...amended("customer-1", 2, "2", 20, 1, {
          ...timed("b", json(now)),
          $was: { email: "a", ...(now === noon ? {} : { updated_at: json(noon) }) },
        }),
        timeUs,
      },
    ],
  });
  const json = (text: string): string => `${text.replace(" ", "T").slice(0, -3)}Z`;

  test("is that of the row where the change set it, otherwise that of the commit", () => {
    expect(judge(evidence(later, "1769864400000001")).problems).toEqual([]);
    expect(judge(evidence(noon, "2000000")).problems).toEqual([]);
  });

  test("is found when it is another one", () => {
    expect(judge(evidence(later, "2000000")).problems).toHaveLength(1);
    expect(judge(evidence(noon, "2000001")).problems).toHaveLength(1);
  });
});
