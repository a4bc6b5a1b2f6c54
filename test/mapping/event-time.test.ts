import { expect, test } from "vitest";
import { changes, child, deleted, stream, table, updated } from "../../src/mapping/rules.ts";
import { change, compile, mapAll, shape, transaction } from "../support/mapping-fixtures.ts";

/*
 * An event's time is when the change happened in the business. The row says so in its valid-time
 * column, but only of the change that set it.
 */

interface OrderRow {
  id: string;
  total: string;
  updated_at: string;
}
interface NoteRow {
  id: string;
  order_id: string;
  written_at: string;
}
const orders = table<OrderRow>("orders");
const notes = table<NoteRow>("notes");
const ordersShape = shape("public.orders", "*id:int8 total:numeric updated_at:timestamptz");
const notesShape = shape("public.notes", "*id:int8 order_id:int8 written_at:timestamptz");
const mapping = compile(
  {
    order: stream(orders, {
      children: { notes: child(notes, { order_id: "id" }, { validTime: "written_at" }) },
      validTime: "updated_at",
      events: { Repriced: updated(orders, { total: changes() }), Gone: deleted(orders) },
      otherwise: "Amended",
    }),
  },
  [ordersShape, notesShape],
);

const EARLY = "2020-01-01 00:00:00+00";
const LATE = "2020-02-02 00:00:00+00";
const COMMIT = transaction(1).committedAtUs;
const us = (text: string): number => Date.parse(text.replace("+00", "Z")) * 1000;

function timesOf(...changed: Parameters<typeof mapAll>[1][number]): number[] {
  return mapAll(mapping, [changed]).events.timesUs;
}

test("an insert, and an update that sets the time, happen when the row says", () => {
  const before = ["1", "5.00", EARLY];
  expect(timesOf(change("insert", ordersShape, 1, undefined, before))).toEqual([us(EARLY)]);
  const after = ["1", "6.00", LATE];
  expect(timesOf(change("update", ordersShape, 1, before, after))).toEqual([us(LATE), us(LATE)]);
});

test("an update that leaves the time as it was happens at its commit", () => {
  const update = change("update", ordersShape, 1, ["1", "5.00", EARLY], ["1", "6.00", EARLY]);
  expect(timesOf(update)).toEqual([COMMIT]);
});

test("a deletion happens at its commit, of a root and of a child", () => {
  expect(timesOf(change("delete", ordersShape, 1, ["1", "5.00", EARLY], undefined))).toEqual([
    COMMIT,
  ]);
  expect(timesOf(change("delete", notesShape, 1, ["9", "1", EARLY], undefined))).toEqual([COMMIT]);
});

test("both events of a move have one time", () => {
  const kept = change("update", notesShape, 1, ["9", "1", EARLY], ["9", "2", EARLY]);
  expect(timesOf(kept)).toEqual([COMMIT, COMMIT]);
  const set = change("update", notesShape, 1, ["9", "1", EARLY], ["9", "2", LATE]);
  expect(timesOf(set)).toEqual([us(LATE), us(LATE)]);
});
