import { describe, expect, test } from "vitest";
import { lawStreams } from "../../src/laws/law-tables.ts";
import { tryLaws } from "../../src/laws/try-laws.ts";
import { changed, child, inserted, stream, table, updated } from "../../src/mapping/rules.ts";
import type { TableMapper } from "../../src/mapping/table-mapper.ts";
import type { RowChange } from "../../src/model/change.ts";
import { compile, shape } from "../support/mapping-fixtures.ts";

/*
 * A mapper with one mistake in it is caught by the law that the mistake breaks, and the story names the
 * smallest history that shows it.
 */

const ORDERS = shape("public.orders", "*id:int8 status note");
const LINES = shape("public.lines", "*order_id:int8 *no:int4 sku");
const orders = table<{ id: string; status: string | null; note: string | null }>("orders");
const lines = table<{ order_id: string; no: number; sku: string | null }>("lines");
const STREAMS = {
  order: stream(orders, {
    children: { lines: child(lines, { order_id: "id" }) },
    events: {
      Placed: inserted(orders, { with: [lines] }),
      Moved: updated(orders, changed("status"), { data: ["note"] }),
    },
    otherwise: "Amended",
  }),
};

/** Tries the laws on a mapping of which the mapper of one table does something else. */
async function tryBroken(
  breaks: (mapper: TableMapper, right: TableMapper["map"]) => TableMapper["map"],
) {
  const mapping = compile(STREAMS, [ORDERS, LINES]);
  for (const { mapper } of lawStreams(mapping, [])[0]!.tables) {
    mapper.map = breaks(mapper, mapper.map.bind(mapper));
  }
  const { findings } = await tryLaws(mapping, lawStreams(mapping, []), {
    seed: 1,
    runs: 100,
    timeMsMax: 30_000,
    showValues: true,
  });
  return findings;
}

const REPORT = "This is a mistake of Banyan, not of the config: please report it with this story";

describe("a mapper", () => {
  test("that is right breaks no law", async () => {
    expect(await tryBroken((_, right) => right)).toEqual([]);
  });

  test("that leaves changes untold breaks totality", async () => {
    const found = await tryBroken((mapper, right) => (change, scope, out, absorbed) => {
      const from = out.length;
      const telling = right(change, scope, out, absorbed);
      if (change.kind === "update" && mapper.role === "order") out.truncate(from);
      return telling;
    });
    expect(found).toMatchObject([{ law: "totality", code: "change-untold", next: REPORT }]);
    expect(found[0]).toMatchObject({
      message:
        "a change (update) of public.orders becomes no event at all (on a generated history)",
      story: [
        "first INSERT into public.orders: id 0, status NULL and 1 more",
        "  becomes Placed of order-0",
        "then UPDATE public.orders where id 0: status NULL → a",
        "  a change (update) of public.orders becomes no event at all",
      ],
    });
  });

  test("that tells another value breaks the round trip", async () => {
    const found = await tryBroken((_, right) => (change, scope, out, absorbed) => {
      const from = out.length;
      const telling = right(change, scope, out, absorbed);
      for (let i = from; i < out.length; i++) {
        out.data[i] = out.data[i]!.replace(
          /"sku":"([^"\\]*)"/,
          (_all, sku: string) => `"sku":"${sku.trim()}"`,
        );
      }
      return telling;
    });
    expect(found).toMatchObject([
      {
        law: "round-trip",
        code: "fold-differs",
        table: "public.lines",
        column: "sku",
        next: REPORT,
      },
    ]);
    expect(found[0]!.story).toEqual([
      "first INSERT into public.lines: order_id 0, no 0, sku ' '",
      '  becomes Amended of order-0 {"$row":"lines","$op":"insert","order_id":"0","no":0,"sku":""}',
      "  the row has sku ' ', the fold gives ''",
    ]);
  });

  test("that loses the child rows that an insert takes along breaks the round trip", async () => {
    const found = await tryBroken(
      (_, right) => (change, scope, out) => right(change, scope, out, []),
    );
    expect(found).toMatchObject([
      { law: "round-trip", code: "fold-differs", table: "public.lines" },
    ]);
    expect(found[0]!.message).toContain("a row of public.lines is not in the fold of its events");
  });

  test("that leaves a deleted row standing breaks the round trip", async () => {
    const found = await tryBroken((mapper, right) => (change, scope, out, absorbed) => {
      const from = out.length;
      const telling = right(change, scope, out, absorbed);
      if (change.kind === "delete" && mapper.role === "lines") {
        out.data[from] = out.data[from]!.replace('"$op":"delete"', '"$op":"update"');
      }
      return telling;
    });
    expect(found).toMatchObject([
      { law: "round-trip", code: "fold-differs", table: "public.lines" },
    ]);
    expect(found[0]).toMatchObject({
      message:
        "the fold of the events has a row of public.lines that is not there (on a generated history)",
      story: [
        "first INSERT into public.lines: order_id 0, no 0 and 1 more",
        '  becomes Amended of order-0 {"$row":"lines","$op":"insert","order_id":"0","no":0,"sku":null}',
        "then DELETE from public.lines: order_id 0, no 0",
        '  becomes Amended of order-0 {"$row":"lines","$op":"update","order_id":"0","no":0,"$was":{"order_id":"0","no":0,"sku":null}}',
        "  the fold of the events has a row of public.lines that is not there",
      ],
    });
  });

  test("that numbers what it tells breaks determinism", async () => {
    let calls = 0;
    const found = await tryBroken((_, right) => (change, scope, out, absorbed) => {
      const telling = right(change, scope, out, absorbed);
      out.timesUs[out.length - 1] = ++calls;
      return telling;
    });
    expect(found.map(({ law }) => law)).toContain("determinism");
  });

  test("that makes other ids each time breaks determinism", async () => {
    let calls = 0;
    const found = await tryBroken((_, right) => (change, scope, out, absorbed) => {
      const telling = right(change, scope, out, absorbed);
      out.ids[out.length * 16 - 1] = ++calls;
      return telling;
    });
    expect(found.map(({ law }) => law)).toContain("determinism");
  });

  test("that looks at the change before, whosever it is, breaks independence", async () => {
    const found = await tryBroken((_, right) => {
      let last: { scope: unknown; change: RowChange } | undefined;
      return (change, scope, out, absorbed) => {
        const isSecond = last?.scope === scope && last.change !== change;
        last = { scope, change };
        const telling = right(change, scope, out, absorbed);
        if (isSecond && out.length > 0) out.timesUs[out.length - 1]! += 1;
        return telling;
      };
    });
    expect(new Set(found.map(({ law, code }) => `${law} ${code}`))).toEqual(
      new Set(["independence not-independent"]),
    );
    expect(found[0]!.message).toMatch(
      /^the events of order-\S+ are others when only its own changes are mapped/,
    );
  });
});
