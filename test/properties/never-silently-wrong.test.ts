import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { child, changed, stream, table, updated } from "../../src/mapping/rules.ts";
import { timestampUs } from "../../src/mapping/valid-time.ts";
import { BanyanError } from "../../src/model/errors.ts";
import { Folder, type StreamState } from "../../src/projection/fold.ts";
import { change, compile, mapAll, shape } from "../support/mapping-fixtures.ts";
import { budget } from "../support/random-budget.ts";
import {
  foldedRows,
  placedRows,
  randomMigration,
  runMigration,
} from "../support/random-migration.ts";

/*
 * What cannot be told right is refused with a reason when the mapping is compiled, or put into
 * quarantine when the change comes; it is never told wrong.
 */

test("whatever names tables, children and events have: the mapping refuses them, or the fold is the rows", async () => {
  let refused = 0;
  let told = 0;
  await fc.assert(
    fc.asyncProperty(randomMigration({ awkward: true }), async (migration) => {
      const run = await runMigration(migration).catch((error: unknown) => {
        if (error instanceof BanyanError && error.code === "MAPPING_INVALID") return undefined;
        throw error;
      });
      if (run === undefined) return void (refused += 1);
      await using _ = run.capture;
      told += 1;
      expect(await run.store.quarantine.list()).toEqual([]);
      const folded = await run.capture.fold(migration.schema.streamType);
      expect(foldedRows(migration.schema, folded)).toEqual(placedRows(migration));
    }),
    budget(150),
  );
  expect(Math.min(refused, told)).toBeGreaterThan(5);
});

const orders = table<{ id: string; total: string; note: string | null }>("orders");
const ordersShape = shape("public.orders", "*id:int8 total:numeric note");

describe("names that events need for themselves are refused", () => {
  const problemsOf = (streams: Parameters<typeof compile>[0], columns: string): string => {
    try {
      compile(streams, [shape("public.orders", columns), shape("public.lines", "*no order_id")]);
    } catch (error) {
      expect(error).toMatchObject({ code: "MAPPING_INVALID" });
      return (error as Error).message;
    }
    throw new Error("nothing was refused");
  };
  const lines = table<{ order_id: string }>("lines");

  test.each(["$row", "$was", "$op", "$data", "$root", "$", "__proto__"])("a column %s", (name) => {
    const streams = { order: stream(orders, { otherwise: "Amended" }) };
    expect(problemsOf(streams, `*id ${name}`)).toContain(`column "${name}"`);
  });

  test.each(["$was", "$root", "", "__proto__", "order", "note"])("a child %j", (role) => {
    const children = Object.fromEntries([[role, child(lines, { order_id: "id" })]]);
    const streams = { order: stream(orders, { children, otherwise: "Amended" }) };
    expect(problemsOf(streams, "*id note")).toContain(`"${role}"`);
  });

  test.each(["", "__proto__", "Amended", "OrderBaselined"])("an event %j", (name) => {
    const events = Object.fromEntries([[name, updated(orders, changed("note"))]]);
    const streams = { order: stream(orders, { events, otherwise: "Amended" }) };
    expect(problemsOf(streams, "*id note")).toMatch(/event cannot be called|has the name of/);
  });
});

test("an inverse that gives back more than its columns must be right about the rest too", () => {
  const repriced = (from: (data: Readonly<Record<string, unknown>>) => object) =>
    compile(
      {
        order: stream(orders, {
          events: {
            Repriced: updated(orders, changed("total"), {
              transform: { columns: ["total"], to: ({ total }) => ({ euros: total }), from },
            }),
          },
          otherwise: "Amended",
        }),
      },
      [ordersShape],
    );
  const update = [
    change("update", ordersShape, 1, ["7", "1.00", "kept"], ["7", "2.00", "kept"]),
  ] as const;
  const right = mapAll(
    repriced(({ euros }) => ({ total: euros, note: "kept" })),
    [update],
  );
  expect(right.parked).toEqual([]);
  const wrong = mapAll(
    repriced(({ euros }) => ({ total: euros, note: null })),
    [update],
  );
  expect(wrong.events.length).toBe(0);
  expect(wrong.parked).toMatchObject([
    { code: "VALUE_UNMAPPABLE", reason: expect.stringContaining('"note"') as unknown },
  ]);
});

describe("rows are told apart by their keys", () => {
  const definition = (codec: "int" | "text", type: string) =>
    ({
      streams: {
        order: {
          root: "order",
          roles: {
            lines: {
              table: "public.lines",
              columns: [
                { name: "no", codec, type },
                { name: "sub", codec: "text", type: "text" },
                { name: "sku", codec: "text", type: "text" },
              ],
              key: ["no", "sub"],
            },
            notes: {
              table: "public.notes",
              columns: [{ name: "code", codec: "text", type: "text" }],
              key: ["code"],
            },
          },
          events: { Amended: { kind: "any" } },
        },
      },
    }) as const;
  const folder = new Folder(
    new Map([
      [1, definition("int", "int4")],
      [2, definition("text", "int8")],
    ]),
    new Map(),
  );
  const fold = (
    ...events: { data: Record<string, unknown>; mappingVersion?: number }[]
  ): StreamState => {
    const state: StreamState = new Map();
    events.forEach(({ data, mappingVersion = 1 }, i) =>
      folder.apply(state, {
        stream: "order-7",
        type: "Amended",
        version: i + 1,
        data,
        mappingVersion,
      }),
    );
    return state;
  };

  test("a key that was a JSON number before its column became bigint is the same key", () => {
    const state = fold(
      { data: { $row: "lines", $op: "insert", no: 1, sub: "a", sku: "old" } },
      { data: { $row: "lines", $op: "update", no: "1", sub: "a", sku: "new" }, mappingVersion: 2 },
    );
    expect([...state.get("lines")!.values()]).toEqual([{ no: "1", sub: "a", sku: "new" }]);
  });

  test("NULL, the text null and the text of a backslash and 0 are three keys", () => {
    const keys = [null, "null", "\\0", "\\\\0", ""];
    const state = fold(...keys.map((code) => ({ data: { $row: "notes", $op: "insert", code } })));
    expect([...state.get("notes")!.values()].map(({ code }) => code)).toEqual(keys);
    const composite = fold(
      ...keys.map((sub) => ({ data: { $row: "lines", $op: "insert", no: 1, sub, sku: "" } })),
    );
    expect(composite.get("lines")!.size).toBe(keys.length);
  });
});

test("a text that is no time is not taken for one", () => {
  for (const text of [
    "zzzz-yy-xx",
    "2024-02-3x",
    "abcd-ef-gh ij:kl:mn",
    "2024-01-01T10:00:00",
    "1x24-01-01 10:00:00",
  ])
    expect(timestampUs(text)).toBeUndefined();
  expect(timestampUs("1970-01-01 00:00:00.000001+00")).toBe(1);
});
