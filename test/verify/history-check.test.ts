import { describe, expect, test } from "vitest";
import {
  changed,
  child,
  deleted,
  inserted,
  stream,
  table,
  updated,
} from "../../src/mapping/rules.ts";
import type { MappingDefinition } from "../../src/model/mapping-definition.ts";
import { Folder } from "../../src/projection/fold.ts";
import { foldStreams } from "../../src/projection/fold-streams.ts";
import type { FoldEvent } from "../../src/store/event-store.ts";
import { HistoryCheck, type Flaw } from "../../src/verify/history-check.ts";
import { compile, shape } from "../support/mapping-fixtures.ts";

const orders = table<{ id: string; note: string | null; total: string }>("orders");
const lines = table<{ id: string; order_id: string; sku: string }>("lines");
const streams = {
  order: stream(orders, {
    children: { lines: child(lines, { order_id: "id" }) },
    events: {
      OrderPlaced: inserted(orders, { with: [lines] }),
      OrderNoted: updated(orders, changed("note")),
      OrderRemoved: deleted(orders),
    },
    otherwise: "OrderAmended",
  }),
};
const ORDERS = "*id:int8 note total:numeric";
const LINES = "*id:int8 order_id:int8 sku";
const mappingOf = (ofOrders = ORDERS, ofLines = LINES) =>
  compile(streams, [shape("public.orders", ofOrders), shape("public.lines", ofLines)]);
const FIRST = mappingOf().definition();
const inverses = mappingOf().inverses();

type Told = Partial<FoldEvent> & Pick<FoldEvent, "type" | "data">;

async function flawsOf(
  events: readonly Told[],
  mappings: ReadonlyMap<number, MappingDefinition> = new Map([[1, FIRST]]),
): Promise<readonly Flaw[]> {
  const check = new HistoryCheck(mappings);
  const all = events.map((event, i): FoldEvent => ({
    stream: "order-7",
    version: i + 1,
    origin: "capture",
    mappingVersion: 1,
    sourceTransaction: String(i),
    time: "2026-01-01T00:00:00.000000Z",
    ...event,
  }));
  const found: Flaw[] = [];
  const pages = (async function* () {
    yield all;
  })();
  const include = (
    ...[event, state]: Parameters<NonNullable<Parameters<typeof foldStreams>[2]>>
  ) => {
    check.look(state, event);
    return event.mappingVersion !== undefined;
  };
  for await (const _ of foldStreams(pages, new Folder(mappings, inverses), include))
    found.push(...check.take());
  return found;
}

const placed = {
  type: "OrderPlaced",
  data: { id: "7", note: "a", total: "1.00", lines: [{ id: "1", order_id: "7", sku: "x" }] },
};
const noted = (now: string | null, was: string | null): Told => ({
  type: "OrderNoted",
  data: { id: "7", note: now, $was: { note: was } },
});
const repriced = (now: string, was: string): Told => ({
  type: "OrderAmended",
  data: { $row: "order", $op: "update", id: "7", total: now, $was: { total: was } },
});
const line = (op: "insert" | "delete", id: string): Told => ({
  type: "OrderAmended",
  data:
    op === "insert"
      ? { $row: "lines", $op: op, id, order_id: "7", sku: "y" }
      : { $row: "lines", $op: op, id, $was: { id, order_id: "7", sku: "y" } },
});
const removed: Told = {
  type: "OrderRemoved",
  data: { id: "7", $was: { id: "7", note: "a", total: "1.00" } },
};
const native: Told = { ...noted("decided", "?"), origin: "native", sourceTransaction: undefined };
const root = { stream: "order-7", table: "public.orders", key: "7" };
const ofLine = (id: string) => ({ stream: "order-7", table: "public.lines", key: id });

describe("what follows on from each other has no flaw", () => {
  test.each<[string, readonly Told[]]>([
    [
      "each event from the one before",
      [placed, noted("b", "a"), repriced("2.00", "1.00"), noted(null, "b")],
    ],
    [
      "rows that come and go and come again",
      [placed, line("insert", "2"), line("delete", "2"), line("insert", "2")],
    ],
    ["a root that is removed and placed again", [placed, removed, placed]],
    [
      "the same value back and forth in one transaction",
      [placed, noted("b", "a"), noted("a", "b"), noted("b", "a")].map((one) => ({
        ...one,
        sourceTransaction: "5",
      })),
    ],
    [
      "what comes behind what a service decided",
      [placed, native, noted("c", "as written back"), line("delete", "9")],
    ],
    [
      "an event of a service alone",
      [
        placed,
        { type: "Greeted", data: {}, origin: "native", mappingVersion: undefined },
        noted("b", "a"),
      ],
    ],
    [
      "a further part of a large aggregate",
      [
        { ...placed, type: "OrderBaselined", origin: "baseline" },
        {
          type: "OrderBaselined",
          origin: "baseline",
          data: { $root: null, lines: [{ id: "2", order_id: "7", sku: "y" }] },
        },
        line("delete", "2"),
      ],
    ],
  ])("%s", async (_name, events) => {
    expect(await flawsOf(events)).toEqual([]);
  });
});

describe("is found, at the event with which it shows", () => {
  test.each<[string, readonly Told[], readonly Flaw[]]>([
    [
      "a hole",
      [placed, { ...noted("b", "a"), version: 3 }],
      [{ verdict: "hole", stream: "order-7", version: 3, columns: [] }],
    ],
    [
      "a stream that does not begin with its first version",
      [{ ...placed, version: 2 }],
      [{ verdict: "hole", stream: "order-7", version: 2, columns: [] }],
    ],
    [
      "a hole behind what a service decided",
      [placed, native, { ...noted("b", "?"), version: 4 }],
      [{ verdict: "hole", stream: "order-7", version: 4, columns: [] }],
    ],
    [
      "a value that was another",
      [placed, noted("c", "b"), noted("d", "c")],
      [{ ...root, verdict: "broken", version: 2, columns: ["note"] }],
    ],
    [
      "NULL that was a value",
      [placed, noted("c", null)],
      [{ ...root, verdict: "broken", version: 2, columns: ["note"] }],
    ],
    [
      "a change of a row that is not there",
      [placed, removed, noted("b", "a")],
      [{ ...root, verdict: "broken", version: 3, columns: [] }],
    ],
    [
      "a removal of a row that is not there",
      [placed, line("delete", "2")],
      [{ ...ofLine("2"), verdict: "broken", version: 2, columns: [] }],
    ],
    [
      "a removal of a row that was otherwise",
      [placed, line("delete", "1")],
      [{ ...ofLine("1"), verdict: "broken", version: 2, columns: ["sku"] }],
    ],
    [
      "a new row that is there already",
      [placed, line("insert", "1")],
      [{ ...ofLine("1"), verdict: "broken", version: 2, columns: [] }],
    ],
    [
      "a root that is placed twice",
      [placed, { ...placed, sourceTransaction: "9" }],
      [{ ...root, verdict: "broken", version: 2, columns: [] }],
    ],
    [
      "an update told twice",
      [
        placed,
        ...[noted("b", "a"), noted("b", "a")].map((one) => ({ ...one, sourceTransaction: "5" })),
      ],
      [{ ...root, verdict: "doubled", version: 3, columns: [] }],
    ],
    [
      "a baseline told twice",
      [1, 2].map(() => ({
        ...placed,
        type: "OrderBaselined",
        origin: "baseline",
        sourceTransaction: undefined,
      })),
      [{ verdict: "doubled", stream: "order-7", version: 2, columns: [] }],
    ],
  ])("%s", async (_name, events, flaws) => {
    expect(await flawsOf(events)).toEqual(flaws);
  });
});

test("an event that restates its aggregate settles what was wrong before it, and not what is behind it", async () => {
  const restated: Told = {
    type: "OrderHistoryGapped",
    origin: "baseline",
    data: { $gap: {}, id: "7", note: "z", total: "1.00", lines: [] },
  };
  expect(
    await flawsOf([
      placed,
      noted("c", "b"),
      { ...restated, version: 5 },
      { ...noted("y", "z"), version: 6 },
    ]),
  ).toEqual([]);
  expect(await flawsOf([placed, native, restated, noted("y", "x")])).toEqual([
    { ...root, verdict: "broken", version: 4, columns: ["note"] },
  ]);
});

test("a column that any mapping has otherwise is not followed, and the others are", async () => {
  const mappings = new Map([
    [1, FIRST],
    [2, mappingOf("*id:int8 note total:text").definition()],
  ]);
  expect(await flawsOf([placed, repriced("2", "1.0000"), noted("c", "b")], mappings)).toEqual([
    { ...root, verdict: "broken", version: 3, columns: ["note"] },
  ]);
});

test("rows whose key any mapping has otherwise are not followed, and the others are", async () => {
  const mappings = new Map([
    [1, FIRST],
    [2, mappingOf(ORDERS, "*id:int8 order_id:int8 *sku").definition()],
  ]);
  expect(await flawsOf([placed, line("delete", "1"), noted("c", "b")], mappings)).toEqual([
    { ...root, verdict: "broken", version: 3, columns: ["note"] },
  ]);
});

test("an update that sets the valid time of its row has that time itself, to the microsecond", async () => {
  const timed = { order: stream(orders, { validTime: "at" as never, otherwise: "OrderAmended" }) };
  const definition = compile(timed, [
    shape("public.orders", "*id:int8 at:timestamptz"),
  ]).definition();
  const mappings = new Map([
    [1, definition],
    [2, definition],
  ]);
  const at = (text: string) => `2026-03-0${text}+00`;
  const amended = (op: string, data: Record<string, unknown>, time: string): Told => ({
    type: "OrderAmended",
    data: { $row: "order", $op: op, id: "7", ...data },
    time,
  });
  const told = [
    amended("insert", { at: at("1 10:00:00") }, "2026-03-09T00:00:00.000000Z"),
    amended(
      "update",
      { at: at("2 10:00:00.5"), $was: { at: at("1 10:00:00") } },
      "2026-03-02T10:00:00.500000Z",
    ),
    amended(
      "update",
      { at: "infinity", $was: { at: at("2 10:00:00.5") } },
      "2026-03-09T00:00:00.000000Z",
    ),
    amended(
      "update",
      { at: at("3 10:00:00"), $was: { at: "infinity" } },
      "2026-03-03T10:00:00.000001Z",
    ),
    amended("delete", { $was: { id: "7", at: at("3 10:00:00") } }, "2026-03-09T00:00:00.000000Z"),
  ];
  expect(await flawsOf(told, mappings)).toEqual([
    { ...root, verdict: "mistimed", version: 4, columns: ["at"] },
  ]);
});
