import { describe, expect, test } from "vitest";
import { emptyOutput } from "../../src/pipeline/event-writer.ts";
import { ChangeMapper, type MappedChanges } from "../../src/mapping/change-mapper.ts";
import {
  formatUuid,
  idPrefix,
  ORDINAL_MAX,
  pipelineTag,
  RULE_SLOTS_MAX,
  writeBaselineId,
  writeCaptureId,
} from "../../src/mapping/event-id.ts";
import { stream, table } from "../../src/mapping/rules.ts";
import type { Mapping } from "../../src/mapping/compile.ts";
import { change, compile, shape, transaction } from "../support/mapping-fixtures.ts";

const UUID_V8 = /^[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/;

function captureId(commit: string, slot: number, ordinal: number, tag: number): string {
  const out = new Uint8Array(16);
  writeCaptureId(out, 0, idPrefix(commit), slot, ordinal, tag);
  return formatUuid(out, 0);
}

function baselineId(commit: string, slot: number, ordinal: number, tag: number): string {
  const out = new Uint8Array(16);
  writeBaselineId(out, 0, idPrefix(commit), slot, ordinal, tag);
  return formatUuid(out, 0);
}

describe("the id of an event", () => {
  test("is a UUID of version 8 at every limit of its parts", () => {
    for (const commit of ["0000000000000000", "FFFFFFFFFFFFFFFF", "0123456789ABCDEF"]) {
      for (const slot of [0, RULE_SLOTS_MAX - 1]) {
        for (const tag of [0, 0xffff]) {
          for (const ordinal of [0, 1, 0xffff, 0x10000, ORDINAL_MAX])
            expect(captureId(commit, slot, ordinal, tag)).toMatch(UUID_V8);
          for (const ordinal of [0, 0xffff_ffff])
            expect(baselineId(commit, slot, ordinal, tag)).toMatch(UUID_V8);
        }
      }
    }
  });

  test("differs when any one of its parts differs, in any bit", () => {
    const base = ["0000000000000000", 0, 0, 0] as const;
    const ids = new Set([captureId(...base)]);
    let made = 1;
    const add = (id: string): void => {
      ids.add(id);
      made += 1;
    };
    for (let bit = 0n; bit < 64n; bit++)
      add(captureId((1n << bit).toString(16).padStart(16, "0"), 0, 0, 0));
    for (let bit = 0; bit < 14; bit++) add(captureId(base[0], 2 ** bit, 0, 0));
    for (let bit = 0; bit < 28; bit++) add(captureId(base[0], 0, 2 ** bit, 0));
    for (let bit = 0; bit < 16; bit++) add(captureId(base[0], 0, 0, 2 ** bit));
    expect(ids.size).toBe(made);
    const baseline = new Set<string>();
    for (let bit = 0; bit < 32; bit++) baseline.add(baselineId(base[0], 1, 2 ** bit, 0));
    for (let bit = 0; bit < 12; bit++) baseline.add(baselineId(base[0], 1, 0, 2 ** bit));
    expect(baseline.size).toBe(44);
  });

  test("sorts in the order of commits", () => {
    const commits = [
      "00000000000000FF",
      "0000000000000100",
      "00000000FFFFFFFF",
      "8000000000000000",
    ];
    const ids = commits.map((commit) => captureId(commit, 0, 5, 7));
    expect([...ids].sort()).toEqual(ids);
  });
});

/**
 * Two pipelines on one database, one store: each has a slot and a publication of its own, so a
 * transaction that both see has the same commit for both, and each counts its own changes from 1.
 */
test("two pipelines that share transactions never make the same id", () => {
  const orders = shape("public.orders", "*id:int8 note");
  const invoices = shape("public.invoices", "*id:int8 note");
  const refs = { orders: table("orders"), invoices: table("invoices") };
  const one = compile({ order: stream(refs.orders, { otherwise: "OrderAmended" }) }, [orders]);
  const two = compile({ invoice: stream(refs.invoices, { otherwise: "Amended" }) }, [invoices]);
  const source = "postgres://7301/1/shop";
  const mappers = [
    new ChangeMapper(one, pipelineTag(source, "orders")),
    new ChangeMapper(two, pipelineTag(source, "invoices")),
  ];
  const idsOf = ({ events }: MappedChanges): string[] =>
    Array.from({ length: events.length }, (_, i) => formatUuid(events.ids, i * 16));
  const shared: number[] = [];
  for (let i = 1; i <= 20_000; i++) {
    const [a, b] = [orders, invoices].map((shapeOf, which) => {
      const out = emptyOutput();
      const row = [String(i), "x"];
      mappers[which]!.map(
        transaction(i),
        [change("insert", shapeOf, 1, undefined, row)],
        undefined,
        out,
      );
      return idsOf(out);
    });
    if (a![0] === b![0]) shared.push(i);
  }
  expect(shared).toEqual([]);
});

test("the same change in another batch has the same id", () => {
  const orders = shape("public.orders", "*id:int8 note");
  const mapping: Mapping = compile(
    { order: stream(table("orders"), { otherwise: "OrderAmended" }) },
    [orders],
  );
  const idOf = (mapper: ChangeMapper, before: number): string => {
    const out = emptyOutput();
    for (let i = 1; i <= before; i++)
      mapper.map(
        transaction(i),
        [change("insert", orders, 1, undefined, [String(i), "x"])],
        undefined,
        out,
      );
    const update = change("update", orders, 3, ["9", "x"], ["9", "y"]);
    mapper.map(transaction(50), [update], undefined, out);
    return formatUuid(out.events.ids, 16 * (out.events.length - 1));
  };
  const tag = pipelineTag("postgres://7301/1/shop", "orders");
  const id = idOf(new ChangeMapper(mapping, tag), 0);
  expect(idOf(new ChangeMapper(mapping, tag), 7)).toBe(id);
  expect(id).toMatch(UUID_V8);
});
