import { expect, test } from "vitest";
import { compileMapping } from "../../src/mapping/compile.ts";
import { child, stream, table, type StreamRef } from "../../src/mapping/rules.ts";
import type { Position } from "../../src/model/position.ts";
import { capturedAt, compareTables } from "../../src/pipeline/captured-tables.ts";
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
const captured = (streams: Readonly<Record<string, StreamRef>>) =>
  capturedAt(
    rolesOf(streams).flatMap(({ roles }) => roles),
    AT,
  );

test("a table of the config without a baseline joins, as a root or as a child", () => {
  const { joining, noted } = compareTables(rolesOf({ order: whole }), captured({ order }), AT);
  expect(joining.map(({ tableRef, role }) => [tableRef.name, role])).toEqual([
    ["public.lines", "lines"],
  ]);
  expect(noted).toEqual([]);
});

test("one that the config no longer has is noted with the checkpoint, once", () => {
  const before = captured({ order: whole });
  const { joining, noted } = compareTables(rolesOf({ order }), before, AT);
  expect([joining, noted.map(({ table, left }) => [table, left])]).toEqual([
    [],
    [["public.lines", AT]],
  ]);
  const after = [...before.filter((one) => one.table !== "public.lines"), ...noted];
  expect(compareTables(rolesOf({ order }), after, AT)).toEqual({ joining: [], noted: [] });
  expect(() => compareTables(rolesOf({ order: whole }), after, AT)).toThrow(
    /public\.lines was captured until .* what happened to its rows since is not known/,
  );
});

test("one that would move to another stream, or take another name there, is refused", () => {
  const before = captured({ order: whole });
  const apart = { order, line: stream(lines, { otherwise: "LineAmended" }) };
  expect(() => compareTables(rolesOf(apart), before, AT)).toThrow(
    /public\.lines is captured as "lines" of stream order, but the config has it as "line" of line/,
  );
  const renamed = stream(orders, {
    children: { parts: child(lines, { order_id: "id" }) },
    otherwise: "OrderAmended",
  });
  expect(() => compareTables(rolesOf({ order: renamed }), before, AT)).toThrow(
    /as "parts" of order/,
  );
});

test("of a store that knows of no tables yet, all that the config names are taken as captured", () => {
  const { joining, noted } = compareTables(rolesOf({ order: whole }), [], AT);
  expect([joining, noted.map(({ table }) => table)]).toEqual([
    [],
    ["public.orders", "public.lines"],
  ]);
});
