import { describe, expect, test } from "vitest";
import {
  caseOf,
  contextOf,
  judge,
  LENIENT,
  noted,
  PLACED,
  STRICT,
  told,
  WRITE,
} from "./dual-fixtures.ts";
import { meaningOf, REASONS } from "../../../src/verify/dual/reasons.ts";
import { page } from "../../docs/markdown.ts";
import type { DualCase } from "../../../src/verify/dual/own-events.ts";
import type { Proposal } from "../../../src/store/dual-store.ts";

const LEGACY = told(2, "OrderNoted", noted("Ring twice"));
const SAME: Proposal = {
  stream: "order-7",
  decidedOn: 1,
  events: [{ type: "OrderNoted", data: noted("Ring twice", "2026-01-02T10:00:09Z") }],
};
const NOTHING: Proposal = { stream: "order-7", decidedOn: 1, events: [] };

function noting(note: string): Proposal {
  return { ...SAME, events: [{ type: "OrderNoted", data: noted(note) }] };
}

function placed(id: string, total: string, lines: number): Record<string, unknown> {
  return {
    id,
    status: "placed",
    total,
    note: null,
    updated_at: "2026-01-02T10:00:00Z",
    lines: Array.from({ length: lines }, (_, i) => ({
      order_id: id,
      line_no: i + 1,
      quantity: 1,
      price: total,
    })),
  };
}

const CREATION = { stream: undefined, route: "POST /orders" };
const CREATED = told(1, "OrderPlaced", placed("8", "5.00", 2), { stream: "order-8" });
function creating(total = "5.00", lines = 2): Proposal {
  const data = placed("90001", total, lines);
  return { stream: "order-90001", decidedOn: 0, events: [{ type: "OrderPlaced", data }] };
}

const TABLE: readonly (readonly [string, string, DualCase])[] = [
  // pass
  ["the same rows", "same-state", caseOf({}, [SAME], [PLACED, LEGACY])],
  [
    "the same rows told by other events",
    "same-state",
    caseOf(
      {},
      [
        {
          ...SAME,
          events: [
            {
              type: "OrderAmended",
              data: { $row: "order", $op: "update", ...noted("Ring twice") },
            },
          ],
        },
      ],
      [PLACED, LEGACY],
    ),
  ],
  ["two appends that go on", "same-state", caseOf({}, [SAME, NOTHING], [PLACED, LEGACY])],
  ["a creation with another id", "same-state", caseOf(CREATION, [creating()], [CREATED])],
  [
    "a change of another type that came along",
    "same-state",
    caseOf({}, [SAME], [PLACED, LEGACY, told(4, "Moved", {}, { stream: "customer-1" })]),
  ],
  ["nothing to do for both", "nothing-changed", caseOf({}, [NOTHING], [PLACED])],
  [
    "a refusal of both, told by the service",
    "both-refused",
    caseOf({ legacyStatus: 409, newStatus: 422 }, [NOTHING], [PLACED]),
  ],
  [
    "a refusal of both before anything was loaded",
    "both-refused",
    caseOf({ legacyStatus: 400, newStatus: 400 }, [], [PLACED]),
  ],
  [
    "a refusal of both, and a later write of the stream",
    "both-refused",
    caseOf(
      { legacyStatus: 409, newStatus: 409 },
      [NOTHING],
      [PLACED, told(2, "OrderNoted", noted("Later"), { correlationId: "c2", askedAtMs: 103_000 })],
    ),
  ],
  // fail
  ["another value", "state-differs", caseOf({}, [noting("Ring once")], [PLACED, LEGACY])],
  [
    "nothing where legacy changed something",
    "state-differs",
    caseOf({}, [NOTHING], [PLACED, LEGACY]),
  ],
  [
    "a lost line of a creation",
    "state-differs",
    caseOf(CREATION, [creating("5.00", 1)], [CREATED]),
  ],
  ["another total of a creation", "state-differs", caseOf(CREATION, [creating("5.01")], [CREATED])],
  [
    "a refusal of the service alone",
    "refused-by-new",
    caseOf({ newStatus: 409 }, [NOTHING], [PLACED, LEGACY]),
  ],
  [
    "a refusal of the service alone, without a version, but from before the change was known",
    "refused-by-new",
    caseOf({ newStatus: 404 }, [], [PLACED, LEGACY]),
  ],
  [
    "a refusal of the service alone, where legacy did nothing",
    "refused-by-new",
    caseOf({ newStatus: 409 }, [NOTHING], [PLACED]),
  ],
  [
    "a refusal of legacy alone",
    "refused-by-legacy",
    caseOf({ legacyStatus: 409 }, [SAME], [PLACED]),
  ],
  [
    "another stream",
    "wrong-stream",
    caseOf({}, [{ ...SAME, stream: "order-8" }], [PLACED, LEGACY]),
  ],
  [
    "an event that no mapping knows",
    "unfoldable",
    caseOf({}, [{ ...SAME, events: [{ type: "OrderBlessed", data: {} }] }], [PLACED, LEGACY]),
  ],
  [
    "an event of a row that no mapping knows",
    "unfoldable",
    caseOf({}, [{ ...SAME, events: [{ type: "OrderAmended", data: { $row: "hats" } }] }], [PLACED]),
  ],
  ["a service that fails", "shadow-failed", caseOf({ newStatus: 503 }, [], [PLACED, LEGACY])],
  // inconclusive
  [
    "the service decided too early",
    "version-moved",
    caseOf(
      {},
      [SAME],
      [
        PLACED,
        told(2, "LineRemoved", { order_id: "7", line_no: 1 }, { correlationId: undefined }),
        { ...LEGACY, version: 3 },
      ],
    ),
  ],
  [
    "the service decided too late",
    "version-moved",
    caseOf({}, [{ ...SAME, decidedOn: 2 }], [PLACED, LEGACY]),
  ],
  [
    "a refusal without a version that may have seen the change already",
    "version-moved",
    caseOf({ newStatus: 409 }, [], [PLACED, { ...LEGACY, recordedAtMs: 100_010 }]),
  ],
  [
    "a refusal of both, and a change of somebody else in between",
    "version-moved",
    caseOf(
      { legacyStatus: 409, newStatus: 409 },
      [NOTHING],
      [PLACED, told(2, "OrderNoted", noted("Else"), { correlationId: "c0", askedAtMs: 99_000 })],
    ),
  ],
  [
    "a write at the same time",
    "parallel",
    caseOf({}, [SAME], [PLACED, LEGACY], { isParallel: true }),
  ],
  [
    "somebody else's event between its own",
    "parallel",
    caseOf(
      {},
      [SAME],
      [
        PLACED,
        LEGACY,
        told(3, "LineRemoved", { order_id: "7", line_no: 1 }, { correlationId: "c9" }),
        { ...LEGACY, version: 4 },
      ],
    ),
  ],
  [
    "no correlation, and a neighbour",
    "several-candidates",
    caseOf({}, [SAME], [PLACED, { ...LEGACY, correlationId: undefined }], { hasNeighbours: true }),
  ],
  [
    "no correlation, and two transactions",
    "several-candidates",
    caseOf(
      {},
      [SAME],
      [
        PLACED,
        { ...LEGACY, correlationId: undefined },
        { ...LEGACY, version: 3, sourceTransaction: "t9", correlationId: undefined },
      ],
    ),
  ],
  ["a creation that is not found", "not-correlated", caseOf(CREATION, [creating()], [])],
  ["nothing captured in time", "never-arrived", caseOf({}, [SAME], [PLACED])],
  ["a service that proposes nothing", "no-proposal", caseOf({}, [], [PLACED, LEGACY])],
  ["a service that does nothing as legacy", "no-proposal", caseOf({}, [], [PLACED])],
  [
    "proposals that do not follow one another",
    "proposals-unclear",
    caseOf({}, [SAME, { ...SAME, decidedOn: 5 }], [PLACED, LEGACY]),
  ],
  ["no answer of the service", "shadow-unanswered", caseOf({ newStatus: undefined }, [], [PLACED])],
  [
    "no answer of legacy",
    "legacy-unanswered",
    caseOf({ legacyStatus: undefined }, [SAME], [PLACED]),
  ],
  ["a failure of legacy", "legacy-failed", caseOf({ legacyStatus: 500 }, [SAME], [PLACED])],
];

describe("a write is judged", () => {
  test.each(TABLE)("%s: %s", (_, reason, c) => {
    const judgement = judge(c);
    expect(judgement?.reason).toBe(reason);
    const verdict = Object.entries(REASONS).find(([, words]) => Object.hasOwn(words, reason))![0];
    expect(judgement?.verdict).toBe(verdict);
    expect(judgement?.detail === undefined).toBe(verdict !== "fail" || reason === "shadow-failed");
  });

  test("with a stream in quarantine: could not tell", () => {
    const context = contextOf({}, { quarantined: new Set(["order-7"]) });
    expect(judge(caseOf({}, [SAME], [PLACED, LEGACY]), context)?.reason).toBe("quarantined");
  });

  test("by other events only where that was asked for", () => {
    const other = { $row: "order", $op: "update", ...noted("Ring twice") };
    const proposal = { ...SAME, events: [{ type: "OrderAmended", data: other }] };
    const strict = contextOf({ compareEvents: true });
    expect(judge(caseOf({}, [proposal], [PLACED, LEGACY]), strict)?.reason).toBe("events-differ");
    const legacy = { ...LEGACY, data: { ...LEGACY.data, $was: { note: null } } };
    expect(judge(caseOf({}, [SAME], [PLACED, legacy]), strict)?.reason).toBe("same-state");
    expect(judge(caseOf(CREATION, [creating()], [CREATED]), strict)?.reason).toBe("same-state");
  });

  test("by order where legacy says no correlation id", () => {
    const unsaid = { ...LEGACY, correlationId: undefined };
    expect(judge(caseOf({}, [SAME], [PLACED, unsaid]))?.reason).toBe("same-state");
    expect(judge(caseOf({}, [noting("No")], [PLACED, unsaid]))?.reason).toBe("state-differs");
    // Where legacy says the ids of such requests, a change without one is of somebody else.
    const job = caseOf({}, [NOTHING], [PLACED, unsaid], { isSaid: true });
    expect(judge(job)?.reason).toBe("version-moved");
    // Of another request, of a service, or of much later.
    const others = [
      { correlationId: "c9" },
      { origin: "native" as const },
      { recordedAtMs: 150_000 },
    ];
    const reasons = others.map(
      (other) => judge(caseOf({}, [SAME], [PLACED, { ...unsaid, ...other }]))?.reason,
    );
    expect(reasons).toEqual(["version-moved", "version-moved", "version-moved"]);
  });
});

describe("nothing is said too early", () => {
  const found = caseOf({}, [SAME], [PLACED, LEGACY]);
  const absent = caseOf({ legacyStatus: 409, newStatus: 409 }, [NOTHING], [PLACED]);
  const at = (capturedToMs: number) => contextOf({}, { capturedToMs });

  test("before the capture has passed the answer, also where something is there", () => {
    expect(judge(found, at(WRITE.answeredAtMs + 999))).toBeUndefined();
    expect(judge(found, at(WRITE.answeredAtMs + 1_000))?.reason).toBe("same-state");
  });

  test("before the window is over, where nothing is there", () => {
    expect(judge(absent, at(WRITE.answeredAtMs + 10_999))).toBeUndefined();
    expect(judge(absent, at(WRITE.answeredAtMs + 11_000))?.reason).toBe("both-refused");
    const shorter = contextOf({ windowSeconds: 1 }, { capturedToMs: WRITE.answeredAtMs + 2_000 });
    expect(judge(absent, shorter)?.reason).toBe("both-refused");
  });
});

describe("what each side makes up by itself", () => {
  const paid = (id: string, at: string, amount = "10.00") => ({
    type: "PaymentCaptured",
    data: { id, order_id: "7", amount, captured_at: at },
  });
  const legacyPaid = (n: number, amount = "10.00") => {
    const { type, data } = paid(`L${n}`, "2026-01-02T10:00:00Z", amount);
    return told(n, type, data);
  };
  const proposing = (...events: Proposal["events"]) => ({ ...SAME, events });
  const reasonOf = (
    legacy: readonly ReturnType<typeof told>[],
    proposal: Proposal,
    normaliser = LENIENT,
  ) =>
    judge(
      caseOf({}, [proposal], [PLACED, ...legacy]),
      contextOf({ normalise: { order: normaliser } }),
    );

  test("is compared where nothing is declared", () => {
    const proposal = proposing(paid("N1", "2026-01-02T10:00:00Z"));
    expect(reasonOf([legacyPaid(2)], proposal, STRICT)?.reason).toBe("state-differs");
    expect(reasonOf([legacyPaid(2)], proposal)?.reason).toBe("same-state");
  });

  test("is matched by the rest of the row, in any order, and every row counts", () => {
    const at = "2026-01-02T10:00:00Z";
    const two = [legacyPaid(2, "10.00"), legacyPaid(3, "2.50")];
    expect(reasonOf(two, proposing(paid("a", at, "2.50"), paid("b", at)))?.reason).toBe(
      "same-state",
    );
    expect(reasonOf(two, proposing(paid("a", at)))?.reason).toBe("state-differs");
    expect(reasonOf(two, proposing(paid("a", at), paid("b", at)))?.reason).toBe("state-differs");
    const three = proposing(paid("a", at, "2.50"), paid("b", at), paid("c", at));
    expect(reasonOf(two, three)?.reason).toBe("state-differs");
  });

  test("keeps its key where it was there before", () => {
    const before = legacyPaid(2);
    const again = told(3, "OrderAmended", {
      $row: "payments",
      $op: "update",
      id: "L2",
      amount: "9.00",
    });
    const other = told(
      2,
      "PaymentCaptured",
      { ...before.data, id: "L0" },
      { correlationId: undefined },
    );
    const both = [other, told(3, before.type, before.data, { correlationId: undefined })];
    const change = { ...again, version: 4 };
    const right = { ...SAME, decidedOn: 3, events: [{ type: again.type, data: again.data }] };
    const wrong = { ...right, events: [{ type: again.type, data: { ...again.data, id: "L0" } }] };
    expect(reasonOf([...both, change], right)?.reason).toBe("same-state");
    expect(reasonOf([...both, change], wrong)?.reason).toBe("state-differs");
  });

  test("times may differ as far as is declared, and no further", () => {
    const near = proposing(paid("a", "2026-01-02T10:00:05Z"));
    const far = proposing(paid("a", "2026-01-02T10:00:05.001Z"));
    expect(reasonOf([legacyPaid(2)], near)?.reason).toBe("same-state");
    expect(reasonOf([legacyPaid(2)], far)?.reason).toBe("state-differs");
  });

  test("columns are left out in all tables or in one", () => {
    const far = proposing(paid("a", "2026-01-03T10:00:00Z"));
    const here = { ...LENIENT, ignore: ["updated_at", "payments.captured_at"] };
    const elsewhere = { ...LENIENT, ignore: ["lines.captured_at"] };
    expect(reasonOf([legacyPaid(2)], far, here)?.reason).toBe("same-state");
    expect(reasonOf([legacyPaid(2)], far, elsewhere)?.reason).toBe("state-differs");
  });
});

test("a failure says what both sides would have and where they part", () => {
  const { detail } = judge(caseOf({}, [noting("Ring once")], [PLACED, LEGACY]))!;
  expect(detail).toEqual({
    streams: [
      {
        stream: "order-7",
        proposed: "order-7",
        decidedOn: 1,
        legacyEvents: [{ type: "OrderNoted", data: LEGACY.data }],
        proposedEvents: [{ type: "OrderNoted", data: noted("Ring once") }],
      },
    ],
    partings: [
      {
        role: "order",
        key: "7",
        verdict: "different",
        columns: [{ column: "note", legacy: "Ring twice", proposed: "Ring once" }],
      },
    ],
  });
});

test("every reason is in the table above, and on the page", () => {
  const elsewhere = ["events-differ", "inputs-moved", "quarantined", "too-large"];
  const seen = new Set([...TABLE.map(([, reason]) => reason), ...elsewhere]);
  const all = Object.values(REASONS).flatMap((words) => Object.keys(words));
  expect(seen).toEqual(new Set(all));
  const { text } = page("docs/7-rollout.md");
  const told = all.filter((reason) => text.includes(`\`${reason}\` | ${meaningOf(reason)} |`));
  expect(told).toEqual(all);
});
