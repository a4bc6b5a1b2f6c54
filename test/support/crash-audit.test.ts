import { describe, expect, test } from "vitest";
import { matchAudit, type AuditedChange } from "./crash-audit.ts";
import type { AuditedEvent } from "./crash-telling.ts";

/** A small true history: what the triggers recorded, and the events of it. */
const TYPES = new Map([
  ["orders.id", "bigint"],
  ["orders.status", "USER-DEFINED"],
  ["orders.total", "numeric"],
  ["order_lines.order_id", "bigint"],
  ["order_lines.line_no", "integer"],
  ["order_lines.sku", "text"],
]);
const order = (id: string, status: string, total: string) => ({ id, status, total });
const line = (order_id: string, line_no: string) => ({ order_id, line_no, sku: "tea" });

const CHANGES: readonly AuditedChange[] = [
  change("1", "orders", null, order("7", "placed", "0.00")),
  change("1", "orders", order("7", "placed", "0.00"), order("7", "placed", "1.50")),
  // Here lies the baseline.
  change("2", "orders", null, order("8", "placed", "0.00")),
  change("2", "order_lines", null, line("8", "1")),
  change("2", "orders", order("8", "placed", "0.00"), order("8", "placed", "9.00")),
  change("3", "orders", order("8", "placed", "9.00"), order("8", "paid", "9.50")),
  change("4", "orders", order("8", "paid", "9.50"), order("8", "paid", "9.50")),
  change("5", "order_lines", line("8", "1"), line("7", "1")),
  change("5", "orders", order("7", "placed", "1.50"), order("7", "placed", "10.50")),
  change("6", "orders", order("8", "paid", "9.50"), null),
];

const told = { order_id: "8", line_no: 1, sku: "tea" };
const EVENTS: readonly AuditedEvent[] = [
  event("order-7", 1, "OrderBaselined", null, "10/0", {
    ...order("7", "placed", "1.50"),
    lines: [],
  }),
  event("order-8", 1, "OrderPlaced", "2", "20/1", {
    ...order("8", "placed", "0.00"),
    lines: [told],
  }),
  event("order-8", 2, "OrderTotalChanged", "2", "20/3", {
    id: "8",
    total: "9.00",
    $was: { total: "0.00" },
  }),
  event("order-8", 3, "OrderPaid", "3", "30/1", {
    id: "8",
    status: "paid",
    $was: { status: "placed" },
  }),
  event("order-8", 4, "OrderTotalChanged", "3", "30/1", {
    id: "8",
    total: "9.50",
    $was: { total: "9.00" },
  }),
  event("order-8", 5, "LineRemoved", "5", "50/1", { order_id: "8", line_no: 1, $was: told }),
  event("order-7", 2, "LineAdded", "5", "50/1", { ...told, order_id: "7" }),
  event("order-7", 3, "OrderAmended", "5", "50/2", {
    $row: "order",
    $op: "update",
    id: "7",
    total: "10.50",
    $was: { total: "1.50" },
  }),
  event("order-8", 6, "OrderDeleted", "6", "60/1", {
    id: "8",
    $was: order("8", "paid", "9.50"),
  }),
];

function change(
  xid: string,
  relation: string,
  was: AuditedChange["was"],
  became: AuditedChange["became"],
): AuditedChange {
  return { xid, relation, was, became };
}

function event(
  stream: string,
  version: number,
  type: string,
  transaction: string | null,
  place: string,
  data: AuditedEvent["data"],
): AuditedEvent {
  const [commit, ordinal] = place.split("/");
  const position = `${commit!.padStart(16, "0")}/${ordinal!.padStart(8, "0")}`;
  return {
    id: `${stream}/${version}`,
    stream,
    version,
    type,
    origin: transaction === null ? "baseline" : "capture",
    transaction,
    position,
    causation: place === "50/1" ? "a move" : null,
    data,
  };
}

const problemsOf = (changes: readonly AuditedChange[], events: readonly AuditedEvent[]) =>
  matchAudit(changes, events, TYPES).problems;

describe("the match of audit and events", () => {
  test("finds nothing wrong with a true history", () => {
    expect(matchAudit(CHANGES, EVENTS, TYPES)).toEqual({
      problems: [],
      told: 7,
      unchanged: 1,
      before: 2,
    });
  });

  test.each(EVENTS)("misses $type of $stream ($version)", (lost) => {
    const renumbered = EVENTS.filter((each) => each !== lost).map((each) =>
      each.stream === lost.stream && each.version > lost.version
        ? { ...each, version: each.version - 1 }
        : each,
    );
    expect(problemsOf(CHANGES, renumbered)).not.toEqual([]);
  });

  test.each(EVENTS)("finds $type of $stream ($version) told twice", (repeated) => {
    const renumbered = EVENTS.flatMap((each) => {
      if (each === repeated) return [each, { ...each, version: each.version + 1 }];
      const isBehind = each.stream === repeated.stream && each.version > repeated.version;
      return [isBehind ? { ...each, version: each.version + 1 } : each];
    });
    expect(problemsOf(CHANGES, renumbered)).not.toEqual([]);
  });

  test("leaves rows that the audit says nothing of to the comparison of rows", () => {
    const [baseline, ...rest] = EVENTS;
    const data = { ...baseline!.data, lines: [{ ...told, order_id: "7", line_no: 4 }] };
    expect(problemsOf(CHANGES, [{ ...baseline!, data }, ...rest])).toEqual([]);
  });

  test.each(EVENTS)("finds a wrong value in $type of $stream ($version)", (wrong) => {
    for (const [key, value] of Object.entries(wrong.data)) {
      if (["$row", "$op"].includes(key) || (Array.isArray(value) && value.length === 0)) continue;
      const other = Array.isArray(value) ? [{ ...told, line_no: 4 }] : { ...told, total: "4" };
      const data = { ...wrong.data, [key]: typeof value === "object" ? other : "4" };
      const events = EVENTS.map((each) => (each === wrong ? { ...wrong, data } : each));
      expect({ key, isFound: problemsOf(CHANGES, events).length > 0 }).toEqual({
        key,
        isFound: true,
      });
    }
  });

  test.each(EVENTS.filter(({ transaction }) => transaction !== null))(
    "finds $type of $stream ($version) in another transaction",
    (moved) => {
      const transaction = moved.transaction === "2" ? "3" : "2";
      const events = EVENTS.map((each) => (each === moved ? { ...moved, transaction } : each));
      expect(problemsOf(CHANGES, events)).not.toEqual([]);
    },
  );

  test.each(EVENTS.slice(0, -1).map((first, i) => ({ first, second: EVENTS[i + 1]! })))(
    "finds $second.type before $first.type of $first.stream",
    ({ first, second }) => {
      const events = EVENTS.map((each) =>
        each === first ? second : each === second ? first : each,
      );
      // A baseline event has no place among the captured ones.
      const isHarmless = first.origin === "baseline";
      expect(problemsOf(CHANGES, events).length > 0).toBe(!isHarmless);
    },
  );

  test.each(CHANGES.filter(({ xid }) => xid !== "1" && xid !== "4"))(
    "finds events of a change that was not made: $relation in $xid",
    (unmade) => {
      const changes = CHANGES.filter((each) => each !== unmade);
      expect(problemsOf(changes, EVENTS)).not.toEqual([]);
    },
  );
});
