import { expect, test } from "vitest";
import { compileMapping } from "../../src/mapping/compile.ts";
import type { StreamPlan } from "../../src/mapping/stream-plan.ts";
import { child, stream, table, type StreamRef } from "../../src/mapping/rules.ts";
import type { Position } from "../../src/model/position.ts";
import { capturedAt, compareTables } from "../../src/pipeline/captured-tables.ts";
import type { CapturedTable } from "../../src/store/event-store.ts";
import { shape } from "../support/mapping-fixtures.ts";

const AT = "0000000000000005/00000000" as Position;
const orders = table<{ id: string }>("orders");
const lines = table<{ id: string; order_id: string }>("lines");
const shapes = [
  shape("public.orders", "*id:int8"),
  shape("public.lines", "*id:int8 order_id:int8"),
];

const rolesOf = (streams: Readonly<Record<string, StreamRef>>) =>
  compileMapping(streams, shapes).streams;
const order = stream(orders, { otherwise: "OrderAmended" });
const whole = stream(orders, {
  children: { lines: child(lines, { order_id: "id" }) },
  otherwise: "OrderAmended",
});
const compare = (
  streams: readonly StreamPlan[],
  captured: readonly CapturedTable[],
  at: Position = AT,
) => compareTables({ streams, shapeOf: () => undefined }, captured, at, new Map());
const captured = (streams: Readonly<Record<string, StreamRef>>) =>
  capturedAt(
    rolesOf(streams).flatMap(({ roles }) => roles),
    AT,
  );

test("a table of the config without a baseline joins, as a root or as a child", () => {
  const { joining, noted } = compare(rolesOf({ order: whole }), captured({ order }));
  expect(joining.map(({ tableRef, role }) => [tableRef.name, role])).toEqual([
    ["public.lines", "lines"],
  ]);
  expect(noted).toEqual([]);
});

test("one that the config no longer has is noted with the checkpoint, once", () => {
  const before = captured({ order: whole });
  const { joining, noted } = compare(rolesOf({ order }), before);
  expect([joining, noted.map(({ table, left }) => [table, left])]).toEqual([
    [],
    [["public.lines", AT]],
  ]);
  const after = [...before.filter((one) => one.table !== "public.lines"), ...noted];
  expect(compare(rolesOf({ order }), after)).toEqual({ joining: [], noted: [], renamed: [] });
  const later = "0000000000000006/00000000" as Position;
  expect(() => compare(rolesOf({ order: whole }), after, later)).toThrow(
    /public\.lines was captured until .* what happened to its rows since is not known/,
  );
});

test("one that is back at the very checkpoint at which it left has missed nothing", () => {
  const before = captured({ order: whole });
  const { noted } = compare(rolesOf({ order }), before);
  const after = [...before.filter((one) => one.table !== "public.lines"), ...noted];
  const back = compare(rolesOf({ order: whole }), after);
  expect(back).toEqual({
    joining: [],
    noted: before.filter((one) => one.table === "public.lines"),
    renamed: [],
  });
});

test("a table may not take the place of another, whose rows would stay in the streams", () => {
  const before = captured({ order: whole });
  const anew = stream(orders, {
    children: { lines: child(table<{ order_id: string }>("lines2"), { order_id: "id" }) },
    otherwise: "OrderAmended",
  });
  const shapesOfBoth = [...shapes, shape("public.lines2", "*id:int8 order_id:int8")];
  const roles = compileMapping({ order: anew }, shapesOfBoth).streams;
  const refused =
    /"lines" of stream order was public\.lines so far and cannot become public\.lines2/;
  expect(() => compare(roles, before)).toThrow(refused);
  const left = before.map((one) => (one.role === "lines" ? { ...one, left: AT } : one));
  expect(() => compare(roles, left)).toThrow(refused);
});

test("one that would move to another stream, or take another name there, is refused", () => {
  const before = captured({ order: whole });
  const apart = { order, line: stream(lines, { otherwise: "LineAmended" }) };
  expect(() => compare(rolesOf(apart), before)).toThrow(
    /public\.lines is captured as "lines" of stream order, but the config has it as "line" of line/,
  );
  const renamed = stream(orders, {
    children: { parts: child(lines, { order_id: "id" }) },
    otherwise: "OrderAmended",
  });
  expect(() => compare(rolesOf({ order: renamed }), before)).toThrow(/as "parts" of order/);
});

test("of a store that knows of no tables yet, those of its mappings are taken as captured", () => {
  const recorded = new Map([[1, compileMapping({ order }, shapes).definition()]]);
  const { joining, noted } = compareTables(
    compileMapping({ order: whole }, shapes),
    [],
    AT,
    recorded,
  );
  expect(noted.map(({ table }) => table)).toEqual(["public.orders"]);
  expect(joining.map(({ tableRef }) => tableRef.name)).toEqual(["public.lines"]);
});

test("a table that was renamed goes on in its place, with what its baseline saw", () => {
  const numbered = (name: string) => {
    const lines = shape(`public.${name}`, "*id:int8 order_id:int8");
    const columns = lines.columns.map((column, i) => ({ ...column, number: i + 1 }));
    return [shapes[0]!, { ...lines, columns }];
  };
  const recorded = new Map([[1, compileMapping({ order: whole }, numbered("lines")).definition()]]);
  const anew = stream(orders, {
    children: { lines: child(table<{ order_id: string }>("lines2"), { order_id: "id" }) },
    otherwise: "OrderAmended",
  });
  const before = captured({ order: whole }).map((one) => ({ ...one, seen: "1:2:" }));
  const mapping = compileMapping({ order: anew }, numbered("lines2"));
  const { joining, noted, renamed } = compareTables(mapping, before, AT, recorded);
  expect(joining).toEqual([]);
  expect(renamed).toEqual([{ from: "public.lines", to: "public.lines2" }]);
  expect(noted).toEqual([
    { ...before[1]!, table: "public.lines2" },
    { ...before[1]!, left: AT },
  ]);
  const later = [before[0]!, noted[0]!, noted[1]!];
  const next = "0000000000000009/00000000" as Position;
  expect(compareTables(mapping, later, next, recorded)).toEqual({
    joining: [],
    noted: [],
    renamed: [],
  });

  // Renamed once more, and back to what it was called first.
  const third = stream(orders, {
    children: { lines: child(table<{ order_id: string }>("lines3"), { order_id: "id" }) },
    otherwise: "OrderAmended",
  });
  const recordedToo = new Map([...recorded, [2, mapping.definition()]] as const);
  const on = compileMapping({ order: third }, numbered("lines3"));
  expect(compareTables(on, later, next, recordedToo).noted[0]).toMatchObject({
    table: "public.lines3",
  });
  const back = compileMapping({ order: whole }, numbered("lines"));
  const again = compareTables(back, later, next, recordedToo);
  expect([again.joining, again.noted.map(({ table, left }) => [table, left])]).toEqual([
    [],
    [["public.lines", undefined], ["public.lines2", next]], // prettier-ignore
  ]);
});
