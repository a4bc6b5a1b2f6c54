import { describe, expect, test } from "vitest";
import { LogTally } from "../../../connectors/postgres/log-tally.ts";
import { commitTimeMs, parseChange } from "../../../connectors/postgres/test-decoding.ts";

const tuple = (text: string, operation = "INSERT") =>
  Object.fromEntries(parseChange(`table public.t: ${operation}:${text}`, false)?.now ?? []);

describe("a line of test_decoding", () => {
  test("tells table, operation and values as the server writes them", () => {
    expect(
      tuple(
        ` id[bigint]:-7 price[numeric]:1.50 ok[boolean]:true bits[bit varying]:B'0101' name[text]:'it''s [x]:''y'' ' nothing[text]:null tags[text[]]:'{a,"b c"}' at[timestamp with time zone]:'2026-01-01 00:00:00+00'`,
      ),
    ).toEqual({
      id: "-7",
      price: "1.50",
      ok: "true",
      bits: "0101",
      name: "it's [x]:'y' ",
      nothing: null,
      tags: '{a,"b c"}',
      at: "2026-01-01 00:00:00+00",
    });
  });

  test("tells names with anything in them", () => {
    const change = parseChange(
      `table "Lager.Nord"."odd ""name"": INSERT:": INSERT: "a b"["My.Schema"."ty]pe"]:'x' "new-tuple:"[text]:'y'`,
      false,
    )!;
    expect(change.tables).toEqual([String.raw`Lager\.Nord.odd "name": INSERT:`]);
    expect(Object.fromEntries(change.now!)).toEqual({ "a b": "x", "new-tuple:": "y" });
  });

  test("tells the old row beside the new one, and leaves out what the log does not repeat", () => {
    const line = `table public.t: UPDATE: old-key: id[bigint]:1 s[text]:'new-tuple: x' new-tuple: id[bigint]:1 s[text]:'b' big[text]:unchanged-toast-datum`;
    const change = parseChange(line, false)!;
    expect([...change.old!]).toEqual([
      ["id", "1"],
      ["s", "new-tuple: x"],
    ]);
    expect([...change.now!]).toEqual([
      ["id", "1"],
      ["s", "b"],
    ]);
  });

  test("tells a deletion by what the identity holds, and a TRUNCATE of several tables", () => {
    expect(parseChange("table public.t: DELETE: id[integer]:3", false)).toMatchObject({
      operation: "delete",
      old: new Map([["id", "3"]]),
    });
    expect(parseChange("table public.t: DELETE: (no-tuple-data)", false)!.old!.size).toBe(0);
    expect(
      parseChange(`table public.a, "B".c: TRUNCATE: restart_seqs cascade`, false),
    ).toMatchObject({ operation: "truncate", tables: ["public.a", "B.c"] });
  });

  test("that is cut off tells table and operation, another tells nothing", () => {
    expect(parseChange(`table public.t: INSERT: a[text]:'xxx`, true)).toEqual({
      operation: "insert",
      tables: ["public.t"],
      old: undefined,
      now: undefined,
    });
    for (const line of [
      "BEGIN 7",
      "COMMIT 7",
      "message: transactional: 1 prefix: x, sz: 5 content:table",
      "table",
      "table x",
    ])
      expect(parseChange(line, false)).toBeUndefined();
  });

  test("tells when a transaction was committed", () => {
    expect(commitTimeMs("COMMIT 734 (at 2026-01-31 10:00:00.123456+00)")).toBe(
      Date.UTC(2026, 0, 31, 10, 0, 0, 123),
    );
    expect(commitTimeMs("COMMIT 734 (at 2026-01-31 10:00:00+00)")).toBe(Date.UTC(2026, 0, 31, 10));
    expect(commitTimeMs("BEGIN 734")).toBeUndefined();
  });
});

test("the tally forgets a column that shows too many values, and counts on", () => {
  const tally = new LogTally(new Map([["public.t", { full: true, root: "public.t" }]]));
  for (let n = 0; n < 500; n++) {
    const line = `table public.t: UPDATE: old-key: id[int]:1 s[text]:'${n % 2 === 0 ? "off" : "on"}' v[int]:${n} new-tuple: id[int]:1 s[text]:'${n % 2 === 0 ? "on" : "off"}' v[int]:${n + 1}`;
    tally.add(parseChange(line, false)!, line.length);
    tally.commit();
  }
  const { tables, transactions } = tally.result(1);
  const seen = tables.get("public.t")!;
  expect(transactions).toBe(500);
  expect(seen.updated).toBe(500);
  expect([...seen.changedTogether]).toEqual([["s, v", 500]]);
  expect([...seen.transitions]).toEqual([
    [
      "s",
      new Map([
        ["off → on", 250],
        ["on → off", 250],
      ]),
    ],
  ]);
});
