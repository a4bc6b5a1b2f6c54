import { describe, expect, test } from "vitest";
import { DAY, databaseFacts, type TableSketch } from "../support/database-facts.ts";
import { assess } from "../../src/assess/assess.ts";
import { assessmentHtml } from "../../src/cli/assess-html.ts";
import { assessmentText } from "../../src/cli/assess-text.ts";

const MADE_AT = new Date("2026-01-31T10:00:00Z");
const status = {
  type: "text",
  distinct: 2,
  common: [
    { value: "<b>open</b>", share: 0.5 },
    { value: "closed", share: 0.5 },
  ],
};
const ORDERS: TableSketch = {
  columns: { id: "int8", status, total: "numeric(12,2)", updated_at: "timestamptz" },
};

const hostile = assess(
  databaseFacts(
    {
      [`public.<script>alert("x")</script>`]: ORDERS,
      "public.order's & lines": { ...ORDERS, rows: undefined },
      countries: {
        columns: { type: "text" },
        rows: 10,
        changes: { inserted: 1, updated: 0, deleted: 0 },
      },
      keyless: { ...ORDERS, key: [], keyMend: `ALTER TABLE "<keyless>" ADD …;` },
    },
    [],
    { database: "<img src=x onerror=alert(1)>", countedSeconds: 30 * DAY },
  ),
);

describe("the page", () => {
  const page = assessmentHtml(hostile, MADE_AT);

  test("loads nothing and runs nothing, whatever names are in it", () => {
    const tags = [...page.matchAll(/<[^>]*>/g)].map(([tag]) => tag);
    expect(tags.length).toBeGreaterThan(100);
    expect(
      tags.filter((tag) => /^<(script|img|link|iframe|object)|\s(src|href|on\w+)=/i.test(tag)),
    ).toEqual([]);
    expect(page).not.toMatch(/url\(|@import|https?:/i);
    expect(page).toContain("default-src 'none'; style-src 'unsafe-inline'");
    expect(page).toContain("&lt;script&gt;");
    expect(page).toContain("&lt;b&gt;open&lt;/b&gt;");
  });

  test("is well formed", () => {
    const open: string[] = [];
    const single = new Set(["meta", "wbr", "rect/"]);
    for (const [, close, name, rest] of page
      .replace(/<!doctype html>|<style>.*?<\/style>/gis, "")
      .matchAll(/<(\/?)([a-z0-9]+)([^>]*)>/g)) {
      if (close === "/") expect(open.pop()).toBe(name);
      else if (!single.has(name!) && !rest!.endsWith("/")) open.push(name!);
    }
    expect(open).toEqual([]);
  });

  test("tells every table with its verdict, and every picture in words", () => {
    for (const { name } of hostile.tables) {
      const plain = page.replaceAll("<wbr>", "");
      expect(plain).toContain(
        name
          .replaceAll("&", "&amp;")
          .replaceAll("<", "&lt;")
          .replaceAll(">", "&gt;")
          .replaceAll('"', "&quot;")
          .replaceAll("'", "&#39;"),
      );
    }
    const pictures = [...page.matchAll(/<svg[^>]*>/g)].map(([tag]) => tag);
    expect(pictures.length).toBeGreaterThan(5);
    expect(pictures.filter((tag) => !/role="img" aria-label="[^"]+"/.test(tag))).toEqual([]);
    expect(page).toContain("ALTER TABLE &quot;&lt;keyless&gt;&quot; ADD …;");
  });

  test("of a database without tables says so", () => {
    const empty = assessmentHtml(assess(databaseFacts({})), MADE_AT);
    expect(empty).toContain("has no tables of an application");
    expect(empty).not.toMatch(/NaN|undefined|Infinity/);
  });
});

describe("page and text", () => {
  const large: Record<string, TableSketch> = { orders: ORDERS };
  const added = { inserted: 300, updated: 0, deleted: 0 };
  for (let n = 0; n < 200; n++) {
    large[`log_${n}`] = { columns: { id: "int8", at: "timestamptz" }, changes: added };
  }
  const assessments = [
    hostile,
    assess(databaseFacts(large)),
    assess(
      databaseFacts({ orders: { ...ORDERS, rows: 0, bytes: 0 } }, [], {
        countedSeconds: undefined,
      }),
    ),
  ];

  test("have no figure that is none", () => {
    for (const assessment of assessments) {
      for (const text of [assessmentHtml(assessment, MADE_AT), assessmentText(assessment)])
        expect(text).not.toMatch(/NaN|undefined|Infinity|\[object/);
    }
  });

  test("begin with what to do", () => {
    for (const assessment of assessments.slice(0, 2)) {
      const text = assessmentText(assessment);
      expect(text.indexOf("Begin with ")).toBeLessThan(text.indexOf("Aggregates"));
      expect(text.indexOf(": migrate first")).toBeLessThan(text.indexOf("Left as CRUD"));
    }
  });

  test("of a large database stay short where there is little to say", () => {
    const text = assessmentText(assessments[1]!);
    expect(text.split("\n").length).toBeLessThan(180);
    expect(text).toContain("and 170 more: see --json");
  });

  test("break their sentences to the width of a terminal", () => {
    const text = assessmentText(hostile).split("\n\nTables\n")[0]!;
    const prose = text.split("\n").filter((line) => /^( {2}[+·!]| {4}|[A-Z])/.test(line));
    expect(prose.length).toBeGreaterThan(10);
    expect(prose.filter((line) => line.length > 98)).toEqual([]);
  });
});
